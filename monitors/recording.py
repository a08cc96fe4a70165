"""Writing down what checks found: a number of statements that does not grow."""

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any, Final, NamedTuple

from django.db import transaction
from django.dispatch import Signal
from django.utils import timezone

from .checkers import Outcome
from .checkers.base import kept
from .instants import instant, ms
from .models import (
    Certificate,
    CheckResult,
    Claim,
    FailureEpisode,
    MonitorState,
    Status,
    StatusPeriod,
    Turn,
)
from .models.result import microseconds, packed
from .models.status import CODES
from .observing import FAILING, Seen, Standing
from .plans import Plan
from .signals import results_recorded, status_changed
from .statements import insert_rows, select_rows, update_rows

logger = logging.getLogger(__name__)

# A result may be so much ahead of our clock, and still drives rules if it is no
# older than two intervals of its monitor or this, whichever is more.
MOST_AHEAD_MS: Final = 5 * 60_000
MOST_LATE_MS: Final = 10 * 60_000


@dataclass(frozen=True, slots=True)
class Observation:
    """What a claimed check found; `checked_at` is when its request started."""

    claim: Claim
    checked_at: datetime
    outcome: Outcome


class Recorded(NamedTuple):
    """A result that is stored and drives rules; positions grow as results come."""

    monitor_id: int
    position: int
    at: datetime
    status: str
    latency_ms: float | None
    error: str
    # When the certificate ends that the monitor showed last.
    expires_at: datetime | None = None


STANDING: Final = (
    "status",
    "since",
    "raw_status",
    "unconfirmed",
    "unconfirmed_since",
    "unconfirmed_count",
    "fresh_until",
    "checked_at",
    "failing_since",
)
VALUES: Final = attrgetter(*STANDING)
_READ: Final = ("monitor", "claim", "last_result", "certificate_expires_at", *STANDING)
_SAVED: Final = (
    *("monitor", "due_at", "claim", "lease_until"),
    *("last_result", "latency_ms", "error", "certificate_expires_at"),
    *STANDING,
)
_RESULT: Final = (
    *("monitor", "checked_at", "status", "latency_ms", "packed_phases"),
    *("position", "is_consequence", "checked_by", "error"),
)


def record(
    observations: Iterable[Observation], *, by: int | None = None
) -> list[Recorded]:
    """Store what was observed, in a transaction of its own, then announce it.

    `by` is the Prober that looked. An observation whose claim has passed to
    another worker is dropped: the other one's is on its way.
    """
    results, changed = _store(sorted(observations, key=lambda o: o.checked_at), by)
    announce(results, changed)
    return results


def announce(results: Sequence[Recorded], changed: set[int]) -> None:
    """Tell the listeners; what is recorded stands, whatever becomes of them."""
    for signal, facts in (
        (status_changed, {"monitor_ids": changed}),
        (results_recorded, {"results": results}),
    ):
        if all(facts.values()):
            _send(signal, **facts)


def _send(signal: Signal, **facts: Any) -> None:
    try:
        signal.send(sender=CheckResult, **facts)
    except Exception:
        logger.exception("A listener failed; the sweep will see to it")


class Flush:
    """What one flush writes, gathered while its observations are gone through."""

    def __init__(self, by: int | None, saved: Sequence[str]) -> None:
        self.by, self.saved = by, saved
        self.recorded: list[Recorded] = []
        self.rows: list[tuple[Any, ...]] = []
        self.states: list[tuple[Any, ...]] = []
        self.turns: list[Turn] = []
        self.begun: list[tuple[Any, ...]] = []
        self.continued: list[tuple[Any, ...]] = []
        self.certificates: list[tuple[int, int, int]] = []

    def observe(
        self, plan: Plan, standing: Standing, at: int, outcome: Outcome, parent: str
    ) -> None:
        """Go through one observation of a monitor that stands so before it."""
        began = standing.failing_since
        cause = caused(outcome.error[:500], parent)
        changes = standing.observe(Seen(at, outcome.status, cause), plan)
        self.turns += [Turn(plan.pk, *change) for change in changes]
        self._keep(plan, at, began, standing.failing_since, outcome)

    def certify(self, plan: Plan, at: int, outcome: Outcome, known: int | None) -> int:
        """Return when the certificate ends, in milliseconds, 0 if nobody knows;
        one that ends at another moment than the one before is noted."""
        if outcome.expires_at is None:
            return known or 0
        ends = outcome.expires_at * 1000
        if ends != known:
            self.certificates.append((plan.pk, at, ends))
        return ends

    def store(
        self,
        plan: Plan,
        position: int,
        at: int,
        outcome: Outcome,
        parent: str,
        ends: int = 0,
    ) -> None:
        """Have a result stored; one with a position drives rules."""
        latency, error = outcome.latency_ms, outcome.error[:500]
        if position:
            seen = instant(at), outcome.status, latency, error
            expires_at = instant(ends) if ends else None
            self.recorded.append(Recorded(plan.pk, position, *seen, expires_at))
        self.rows.append(
            (
                *(plan.pk, at, CODES[outcome.status], microseconds(latency)),
                *(packed(outcome.phases), position, bool(parent), self.by, error),
            )
        )

    def _keep(
        self, plan: Plan, at: int, began: int | None, begins: int | None, found: Outcome
    ) -> None:
        """Keep the first and the last answer of a run of failures."""
        if found.status not in FAILING or begins is None:
            return
        said = {"at": at, "status": found.status, "reason": found.error[:500]}
        answer = json.dumps({**said, **kept(plan.checker, found.answer)})
        if began == begins:
            self.continued.append((plan.pk, begins, at, answer))
        else:
            self.begun.append((plan.pk, begins, at, answer, answer))

    def write(self) -> None:
        insert_rows(CheckResult, _RESULT, self.rows)
        update_rows(MonitorState, self.saved, self.states)
        StatusPeriod.turn(self.turns)
        shown = ("monitor", "seen_at", "expires_at")
        insert_rows(Certificate, shown, self.certificates, ignore=True)
        names = ("monitor", "began_at", "last_at")
        insert_rows(FailureEpisode, (*names, "first", "last"), self.begun)
        update_rows(FailureEpisode, (*names, "last"), self.continued, keys=2)


def caused(error: str, parent: str) -> str:
    """Say why, and which parent's fault it is."""
    return f"{error} (a consequence: {parent} is down)" if parent else error


_GONE: Final[tuple[Any, int, Any, list[Any]]] = (None, 0, None, [])


@transaction.atomic
def _store(
    observations: list[Observation], by: int | None
) -> tuple[list[Recorded], set[int]]:
    ids = sorted({o.claim.plan.pk for o in observations})
    rows = select_rows(MonitorState, _READ, "monitor", ids, lock=True)
    states = {pk: (claim, last, ends, rest) for pk, claim, last, ends, *rest in rows}
    parents = Parents((o.claim.plan, o.outcome) for o in observations)
    flush, now = Flush(by, _SAVED), ms(timezone.now())
    for observation in observations:
        plan, outcome = observation.claim.plan, observation.outcome
        number, last, known, rest = states.get(plan.pk, _GONE)
        if number != observation.claim.number:
            continue
        # Its claim is used up: nothing else of it may come.
        states[plan.pk] = _GONE
        standing, parent = Standing(*rest), parents.down(plan, outcome)
        # Two clocks may disagree by a little; a moment is taken once.
        at = max(ms(observation.checked_at), (standing.checked_at or 0) + 1)
        flush.observe(plan, standing, at, outcome, parent)
        ends = flush.certify(plan, at, outcome, known)
        flush.store(plan, last + 1, at, outcome, parent, ends)
        due = plan.next_due(now, is_unconfirmed=standing.is_unconfirmed)
        said = (last + 1, outcome.latency_ms, outcome.error[:500], ends or None)
        flush.states.append((plan.pk, due, None, None, *said, *VALUES(standing)))
    flush.write()
    return flush.recorded, {t.monitor_id for t in flush.turns}


class Parents:
    """Which parents are down of what fails; one query, if any has parents."""

    def __init__(self, found: Iterable[tuple[Plan, Outcome]]) -> None:
        asked = {
            parent
            for plan, outcome in found
            if outcome.status in FAILING
            for parent in plan.parents
        }
        down = MonitorState.objects.filter(pk__in=asked, status=Status.DOWN)
        self._names = dict(down.values_list("pk", "monitor__name")) if asked else {}

    def down(self, plan: Plan, outcome: Outcome) -> str:
        """Return the name of a parent that is down while this fails, or nothing."""
        if outcome.status not in FAILING:
            return ""
        return next((self._names[p] for p in plan.parents if p in self._names), "")


def expire(*, at: datetime) -> int:
    """Turn to no_data whatever no fresh result speaks for; return how many."""
    stale = MonitorState.objects.filter(fresh_until__lt=at)
    ids = sorted(stale.values_list("pk", flat=True))
    if not ids:
        return 0
    turns: list[Turn] = []
    with transaction.atomic():
        names = ("monitor", *STANDING)
        rows = select_rows(MonitorState, names, "monitor", ids, lock=True)
        saved = []
        for pk, *rest in rows:
            standing = Standing(*rest)
            turns += [Turn(pk, *change) for change in standing.lapse(ms(at))]
            saved.append((pk, *VALUES(standing)))
        update_rows(MonitorState, names, saved)
        StatusPeriod.turn(turns)
    announce([], {t.monitor_id for t in turns})
    return len({t.monitor_id for t in turns})
