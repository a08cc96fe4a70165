"""Results written down as the product writes them, of answers made up here.

To be imported within a stage only.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Final

from django.db import transaction

from egress.client import Response
from monitors.checkers import HTTPLike, Outcome
from monitors.instants import ms
from monitors.models import Monitor, MonitorState, Prober, StatusPeriod, Turn
from monitors.recording import Observation, record

# One check in a hundred fails, and failures come in outages of ten checks.
OUTAGE_EVERY: Final = 1000
OUTAGE: Final = 10
# Milliseconds of each part of an exchange, at least and at most.
PARTS: Final = {
    "dns": (0.2, 4),
    "connect": (5, 20),
    "tls": (10, 40),
    "first_byte": (20, 120),
    "transfer": (0.1, 3),
}


class Answers:
    """What a web server in the distance might answer; the same in every run."""

    def __init__(self, monitor: Monitor) -> None:
        checker = monitor.checker
        assert isinstance(checker, HTTPLike)
        self._checker, self._random = checker, Random(1)

    def outcome(self, *, failing: bool) -> Outcome:
        phases = self._phases()
        return self._checker.judge(
            Response(
                status=503 if failing else 200,
                headers={"content-type": "text/plain", "server": "nginx"},
                body=b"Service Unavailable" if failing else b"ok",
                latency_ms=sum(phases.values()),
                phases=phases,
            )
        )

    def _phases(self) -> dict[str, float]:
        return {name: self._random.uniform(*span) for name, span in PARTS.items()}


def fails(number: int) -> bool:
    """Whether the check of this number, counted from 0, finds an outage."""
    return number % OUTAGE_EVERY >= OUTAGE_EVERY - OUTAGE


def turn(monitor: Monitor, turns: Iterable[tuple[datetime, str]]) -> None:
    """Have a monitor turn to each status at its moment, as if it always had."""
    StatusPeriod.objects.filter(monitor=monitor).delete()
    with transaction.atomic():
        StatusPeriod.turn(
            [Turn(monitor.pk, ms(at), status, "") for at, status in turns]
        )


def periods(monitors: Iterable[Monitor]) -> int:
    return StatusPeriod.objects.filter(monitor__in=monitors).count()


def flush(monitors: Sequence[Monitor], at: datetime, outcomes: list[Outcome]) -> None:
    """Claim a check of each monitor at a moment, and record what each found."""
    record(claimed(monitors, at, outcomes), by=prober())


def prober() -> int:
    """Who has looked, as a worker names itself."""
    return Prober.named("bench")


def claimed(
    monitors: Sequence[Monitor], at: datetime, outcomes: list[Outcome]
) -> list[Observation]:
    MonitorState.objects.update(due_at=None, claim=None, lease_until=None)
    ours = MonitorState.objects.filter(pk__in=[m.pk for m in monitors])
    ours.update(due_at=at)
    until = at + timedelta(seconds=1)
    claims = MonitorState.claim_due(at=at, until=until, limit=len(monitors))
    return [
        Observation(claim, at, outcome)
        for claim, outcome in zip(claims, outcomes, strict=True)
    ]
