"""From results to alerts: a constant number of queries a flush, changes together,
and nothing that one bad monitor can stop for the others.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from django.db.models import BigIntegerField, ExpressionWrapper, F, Q
from django.db.models.functions import Greatest
from django.utils import timezone

from monitors.instants import ms
from monitors.models import CheckResult, MonitorState, Overlay
from monitors.recording import MOST_AHEAD_MS, MOST_LATE_MS, Recorded
from monitors.statements import locked_in_order, update_rows

from . import attention, flapping, memories, rules
from .announcing import announce_all, announce_due, announce_some
from .memories import SAVED, Memory, Seen
from .models import (
    Alert,
    Decision,
    EvaluationFailure,
    FlapDetection,
    RuleState,
    Said,
    back_off,
)
from .safeguards import Flap
from .signals import alerts_still_failing
from .turning import Turn, turn

__all__ = ["announce_due", "evaluate", "evaluate_monitors", "sweep"]

logger = logging.getLogger(__name__)

MOST_MONITORS: Final = 500
MOST_RESULTS: Final = 20_000
LEFT_AFTER: Final = timedelta(seconds=2)


@dataclass(slots=True)
class Watched:
    """A monitor, with what has been seen of it and who asks."""

    pk: int
    evaluated_through: int
    last_result: int
    is_active: bool
    counts_from: datetime
    degraded: str
    recent: int
    is_flapping: bool
    failing_since: datetime | None
    certificate_expires_at: datetime | None
    memories: list[Memory] = field(default_factory=list)
    results: list[rules.Result] = field(default_factory=list)
    is_complete: bool = False
    # Whether another worker has interfered, or it cannot be evaluated.
    is_given_up: bool = False

    @property
    def flap(self) -> Flap:
        percent = flapping.percent(self.recent) if self.is_flapping else 0.0
        return Flap(self.is_flapping, percent, self.failing_since)


@dataclass(slots=True)
class Batch:
    """Everything that the evaluation of some monitors needs to know."""

    watched: dict[int, Watched]
    holds: dict[int, list[tuple[datetime, datetime | None]]]
    # What comes out of it.
    unchanged: list[tuple[Memory, rules.State]] = field(default_factory=list)
    still_failing: list[tuple[int, int]] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    failures: dict[int, Exception] = field(default_factory=dict)
    has_changed: bool = False

    def give_up(self, failures: Mapping[int, Exception]) -> None:
        self.failures.update(failures)
        for pk in failures:
            self.watched[pk].is_given_up = True


_READ: Final = (
    *("pk", "evaluated_through", "last_result"),
    *("monitor__is_active", "monitor__counts_from", "monitor__degraded_counts"),
    *("recent", "is_flapping", "failing_since", "certificate_expires_at"),
)

Fresh = Mapping[int, Sequence[rules.Result]]


def evaluate(results: Iterable[Recorded]) -> None:
    """Apply every rule to results that have just been recorded."""
    fresh: dict[int, list[rules.Result]] = defaultdict(list)
    for r in results:
        seen = (r.position, r.at, r.status, r.latency_ms, r.error, r.expires_at)
        fresh[r.monitor_id].append(rules.Result(*seen))
    _evaluate_all(sorted(fresh), fresh)


def evaluate_monitors(monitor_ids: Iterable[int]) -> None:
    """Apply every rule of these monitors to the results it has not seen yet."""
    _evaluate_all(sorted(set(monitor_ids)), {})


def _evaluate_all(ids: Sequence[int], fresh: Fresh) -> None:
    changed = False
    for start in range(0, len(ids), MOST_MONITORS):
        changed |= _evaluate(ids[start : start + MOST_MONITORS], fresh)
    if changed:
        announce_some()


def sweep() -> None:
    """Evaluate and announce whatever a killed worker left, and what is due again."""
    now = timezone.now()
    waiting = EvaluationFailure.objects.filter(due_at__gt=now).values("monitor")
    # What has only just been recorded is being evaluated by whoever recorded it.
    settled = Q(checked_at=None) | Q(checked_at__lt=now - LEFT_AFTER)
    left = MonitorState.objects.filter(
        settled, evaluated_through__lt=F("last_result")
    ).exclude(monitor__in=waiting)
    ids = list(left.values_list("monitor", flat=True)[:MOST_MONITORS])
    if ids:
        _evaluate(ids, {})
    _forget_mended()
    announce_all()
    attention.sweep(now)


def _evaluate(ids: Sequence[int], fresh: Fresh) -> bool:
    """Evaluate a batch of monitors; say whether any alert has changed."""
    batch = _load(ids, fresh)
    _see_flapping(batch)
    _apply(batch)
    lost = _save_unchanged(batch.unchanged)
    _advance([w for w in batch.watched.values() if w.pk not in lost])
    Decision.write(batch.said)
    if batch.failures:
        _note_failures(batch.failures)
    _tell_still_failing(batch)
    return batch.has_changed


def _load(ids: Sequence[int], fresh: Fresh) -> Batch:
    states = MonitorState.objects.filter(pk__in=ids).values_list(*_READ)
    watched = {row[0]: Watched(*row) for row in states}
    batch = Batch(watched, defaultdict(list))
    _load_results(watched, fresh)
    seen = {
        w.pk: Seen(w.counts_from, w.evaluated_through, w.degraded)
        for w in watched.values()
    }
    for memory in memories.load(seen):
        watched[memory.monitor_id].memories.append(memory)
    begins = [w.results[0].at for w in watched.values() if w.results and w.memories]
    if begins:
        _load_holds(batch, min(begins))
    return batch


def _load_results(watched: dict[int, Watched], fresh: Fresh) -> None:
    """Take the results given where nothing is missing before them; read the rest."""
    behind = []
    for pk, monitor in watched.items():
        results = fresh.get(pk, ())
        if results and results[0].id == monitor.evaluated_through + 1:
            monitor.results = list(results)
        elif monitor.evaluated_through < monitor.last_result:
            behind.append(monitor)
    if behind:
        _read_results(behind)


def _read_results(behind: Sequence[Watched]) -> None:
    by_pk = {monitor.pk: monitor for monitor in behind}
    newer = (
        CheckResult.objects.filter(
            Q(checked_at__gte=_OLDEST_LEFT) | ~Q(monitor__cron=""),
            monitor__in=list(by_pk),
            position__gt=F("monitor__state__evaluated_through"),
        )
        .order_by("monitor_id", "position")
        .values_list(
            *("monitor", "position", "checked_at", "status", "latency_ms", "error")
        )
    )
    rows = list(newer[:MOST_RESULTS])
    for pk, *values in rows:
        expires_at = by_pk[pk].certificate_expires_at
        by_pk[pk].results.append(rules.Result._make([*values, expires_at]))
    if len(rows) < MOST_RESULTS:
        for monitor in behind:
            monitor.is_complete = True


# What drives rules was at most so old when it came, and at most so much ahead
# of its time; without the bound, all that is kept would have to be read.
_OLDEST_LEFT: Final = ExpressionWrapper(
    F("monitor__state__evaluated_at")
    - Greatest(F("monitor__interval") * 2000, MOST_LATE_MS)
    - MOST_AHEAD_MS,
    output_field=BigIntegerField(),
)


def _load_holds(batch: Batch, begin: datetime) -> None:
    holding = Overlay.objects.filter(monitor__in=batch.watched, holds_alerts=True)
    holding = holding.filter(Q(ended_at=None) | Q(ended_at__gt=begin))
    for pk, start, end in holding.values_list("monitor", "started_at", "ended_at"):
        batch.holds[pk].append((start, end))


def _see_flapping(batch: Batch) -> None:
    """Add the new statuses to what is remembered of the last ones."""
    limits: flapping.Limits | None = None
    for watched in batch.watched.values():
        before = watched.recent
        watched.recent = flapping.pushed(before, (r.status for r in watched.results))
        if watched.recent != before or watched.is_flapping:
            limits = limits or FlapDetection.current().limits
            watched.is_flapping = flapping.is_flapping(
                watched.recent, watched.is_flapping, limits
            )


def _apply(batch: Batch) -> None:
    """Apply the rules, change after change, until there is none left to make."""
    waiting = [
        memory
        for watched in batch.watched.values()
        if watched.is_active
        for memory in watched.memories
    ]
    while waiting:
        turns = [one for memory in waiting if (one := _decided(batch, memory))]
        if not turns:
            return
        batch.has_changed = True
        flaps = {
            one.memory.monitor_id: batch.watched[one.memory.monitor_id].flap
            for one in turns
        }
        turned = turn(turns, flaps)
        batch.give_up(turned.failures)
        waiting = [one.memory for one in turned.made]
        for one in set(turns) - set(turned.made):
            batch.watched[one.memory.monitor_id].is_given_up = True


def _decided(batch: Batch, memory: Memory) -> Turn | None:
    """Let one rule see what it has not seen; return the change that is to be made."""
    watched = batch.watched[memory.monitor_id]
    results = watched.results
    if results and results[0].at < memory.counts_from:
        results = [r for r in results if r.at >= memory.counts_from]
    holds = batch.holds.get(watched.pk, ())
    try:
        decided = rules.decide(memory.rule, memory.state, results, holds)
    except Exception as error:
        logger.exception("Evaluating monitor %s failed", watched.pk)
        batch.give_up({watched.pk: error})
        return None
    for note in decided.notes:
        batch.said.append(_said(memory, note))
    if decided.change is not None:
        return Turn(memory, decided.state, decided.change)
    if not decided.state.says_the_same_as(memory.state):
        batch.unchanged.append((memory, decided.state))
    if decided.still_failing:
        batch.still_failing.append((memory.rule_id, watched.pk))
    return None


def _said(memory: Memory, note: rules.Note) -> Said:
    gate, began, at, reason, times = note
    return Said(memory.rule_id, memory.monitor_id, gate, began, reason, at, times=times)


def _save_unchanged(changed: Sequence[tuple[Memory, rules.State]]) -> set[int]:
    """Save states that made no change, in one statement, by compare-and-set.

    Returns the monitors of which another worker had some state first; the
    sweep looks at them again.
    """
    if not changed:
        return set()
    rows = [memory.row(state) for memory, state in changed]
    with locked_in_order(RuleState, "id", [row[0] for row in rows]):
        saved = update_rows(RuleState, SAVED, rows, version="version")
    if saved == len(changed):
        return set()
    known = RuleState.objects.filter(pk__in=[m.pk for m, _ in changed])
    through = dict(known.values_list("pk", "through"))
    return {
        memory.monitor_id
        for memory, state in changed
        if through.get(memory.pk, state.through) < state.through
    }


def _advance(evaluated: Sequence[Watched]) -> None:
    """Remember how far each monitor is evaluated, never going back."""
    rows = []
    for watched in evaluated:
        if not watched.is_given_up and (reached := _reached(watched)):
            position, at = reached
            seen = watched.recent, watched.is_flapping
            rows.append((watched.pk, position, ms(at), *seen))
    if not rows:
        return
    names = ("monitor", "evaluated_through", "evaluated_at", "recent", "is_flapping")
    with locked_in_order(MonitorState, "monitor", [row[0] for row in rows]):
        update_rows(MonitorState, names, rows, rising="evaluated_through")


def _reached(watched: Watched) -> tuple[int, datetime] | None:
    """The newest result of the monitor that is evaluated now: position and moment."""
    if watched.results:
        return watched.results[-1].id, watched.results[-1].at
    # What was left has been pruned, unless there was too much to read it all.
    return (watched.last_result, timezone.now()) if watched.is_complete else None


def _note_failures(failures: dict[int, Exception]) -> None:
    """Remember who failed, to be tried again after 2 s, 4 s … 5 min."""
    now = timezone.now()
    known = EvaluationFailure.objects.in_bulk(failures)
    for pk, error in failures.items():
        attempts = known[pk].attempts + 1 if pk in known else 1
        EvaluationFailure.objects.update_or_create(
            monitor_id=pk,
            defaults={
                "error": f"{type(error).__name__}: {error}"[:500],
                "attempts": attempts,
                "failed_at": now,
                "due_at": now + back_off(attempts),
            },
        )


def _forget_mended() -> None:
    """A monitor whose results are all evaluated fails no more."""
    if not EvaluationFailure.objects.exists():
        return
    done = Q(monitor__state__evaluated_through__gte=F("monitor__state__last_result"))
    EvaluationFailure.objects.filter(done).delete()


def _tell_still_failing(batch: Batch) -> None:
    if not batch.still_failing:
        return
    pairs = set(batch.still_failing)
    alerts = [
        alert
        for alert in Alert.objects.triggered()
        .filter(monitor__in={pk for _, pk in pairs})
        .select_related("rule", "monitor")
        if (alert.rule_id, alert.monitor_id) in pairs
    ]
    if not alerts:
        return
    try:
        alerts_still_failing.send(sender=Alert, alerts=alerts, at=timezone.now())
    except Exception:
        # The next failing result says it again.
        logger.exception("A listener of alerts_still_failing failed")
