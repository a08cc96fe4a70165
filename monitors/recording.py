"""Writing down what checks found: a number of statements that does not grow."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any

from django.db import transaction
from django.dispatch import Signal
from django.utils import timezone

from .checkers import Outcome
from .models import CheckResult, Claim, MonitorState, Status, StatusPeriod, Turn
from .signals import results_recorded, status_changed
from .statements import update_rows

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Observation:
    """What a claimed check found; `checked_at` is when its request started."""

    claim: Claim
    checked_at: datetime
    outcome: Outcome


def record(observations: Iterable[Observation]) -> list[CheckResult]:
    """Store what was observed, in a transaction of its own, then announce it.

    An observation whose claim has passed to another worker is dropped: the
    other one's is on its way.
    """
    results, changed = _store(sorted(observations, key=lambda o: o.checked_at))
    if changed:
        _announce(status_changed, monitor_ids=changed)
    if results:
        _announce(results_recorded, results=results)
    return results


def _announce(signal: Signal, **facts: Any) -> None:
    """Tell the listeners; what is recorded stands, whatever becomes of them."""
    try:
        signal.send(sender=CheckResult, **facts)
    except Exception:
        logger.exception("A listener failed; the sweep will see to it")


@transaction.atomic
def _store(observations: list[Observation]) -> tuple[list[CheckResult], set[int]]:
    states = {
        state.pk: state
        for state in MonitorState.objects.select_for_update()
        .filter(pk__in={o.claim.monitor.pk for o in observations})
        .order_by("pk")
    }
    held = [
        o
        for o in observations
        if (state := states.get(o.claim.monitor.pk)) and state.claim == o.claim.number
    ]
    results = CheckResult.objects.bulk_create(_result(o) for o in held)
    turns: list[Turn] = []
    for observation, result in zip(held, results, strict=True):
        turns += _advance(states[result.monitor_id], observation, result)
    _save(states[result.monitor_id] for result in results)
    StatusPeriod.turn(turns)
    return results, {t.monitor_id for t in turns}


_SAVED = (
    "monitor",
    "due_at",
    "claim",
    "lease_until",
    "status",
    "since",
    "fresh_until",
    "checked_at",
    "latency_ms",
    "error",
    "last_result",
)


def _save(states: Iterable[MonitorState]) -> None:
    values = attrgetter("monitor_id", *_SAVED[1:])
    update_rows(MonitorState, _SAVED, [values(state) for state in states])


def _result(observation: Observation) -> CheckResult:
    outcome = observation.outcome
    return CheckResult(
        monitor=observation.claim.monitor,
        checked_at=observation.checked_at,
        status=outcome.status,
        latency_ms=outcome.latency_ms,
        error=outcome.error[:500],
    )


def _advance(
    state: MonitorState, observation: Observation, result: CheckResult
) -> list[Turn]:
    """Bring the state up to its newest result; return the turns this makes."""
    monitor, turns = observation.claim.monitor, []
    if state.fresh_until and state.fresh_until < result.checked_at:
        # Nobody was looking in between; the time is neither good nor bad.
        turns.append(
            Turn(monitor.pk, state.fresh_until, Status.NO_DATA, "no result came")
        )
        state.status = Status.NO_DATA
    if state.status != result.status:
        turns.append(Turn(monitor.pk, result.checked_at, result.status, result.error))
        state.status, state.since = result.status, result.checked_at
    state.fresh_until = monitor.fresh_until(result.checked_at)
    state.checked_at = result.checked_at
    state.latency_ms, state.error = result.latency_ms, result.error
    state.last_result = result.pk
    state.due_at = monitor.next_due(timezone.now())
    state.claim = state.lease_until = None
    return turns


def expire(*, at: datetime) -> int:
    """Turn to no_data whatever no fresh result speaks for; return how many."""
    with transaction.atomic():
        stale = list(
            MonitorState.objects.select_for_update()
            .filter(fresh_until__lt=at)
            .exclude(status=Status.NO_DATA)
            .order_by("pk")
        )
        turns = []
        for state in stale:
            since = state.fresh_until or at
            turns.append(Turn(state.pk, since, Status.NO_DATA, "no result came"))
            state.status, state.since, state.fresh_until = Status.NO_DATA, since, None
        _save(stale)
        StatusPeriod.turn(turns)
    if stale:
        _announce(status_changed, monitor_ids={state.pk for state in stale})
    return len(stale)
