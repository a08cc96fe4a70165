"""From results to alerts: a constant number of queries a flush, one short
transaction a change, and nothing that one bad monitor can stop for the others.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection, transaction
from django.db.models import BigIntegerField, ExpressionWrapper, F, Q
from django.db.models.functions import Greatest
from django.utils import timezone

from monitors.instants import instant, ms
from monitors.models import CheckResult, Monitor, MonitorState, Overlay
from monitors.recording import MOST_AHEAD_MS, MOST_LATE_MS, Recorded
from monitors.statements import insert_rows, locked_in_order, update_rows

from . import rules
from .models import (
    Alert,
    AlertRule,
    EvaluationFailure,
    RuleState,
    Transition,
    back_off,
)
from .signals import alerts_still_failing

logger = logging.getLogger(__name__)

MOST_MONITORS: Final = 500
MOST_RESULTS: Final = 20_000
LEFT_AFTER: Final = timedelta(seconds=2)


@dataclass(slots=True)
class Memory:
    """What one rule remembers of one monitor, and what the rule is."""

    rule_id: int
    rule: rules.Rule
    pk: int
    version: int
    counts_from: datetime
    state: rules.State


@dataclass(slots=True)
class Watched:
    """A monitor, with what has been seen of it and who asks."""

    pk: int
    evaluated_through: int
    last_result: int
    is_active: bool
    counts_from: datetime
    memories: list[Memory] = field(default_factory=list)
    results: list[rules.Result] = field(default_factory=list)
    is_complete: bool = False


@dataclass(slots=True)
class Batch:
    """Everything that the evaluation of some monitors needs to know."""

    watched: dict[int, Watched]
    holds: dict[int, list[tuple[datetime, datetime | None]]]
    # What comes out of it.
    unchanged: list[tuple[int, Memory, rules.State]] = field(default_factory=list)
    still_failing: list[tuple[int, int]] = field(default_factory=list)
    done: dict[int, tuple[int, datetime]] = field(default_factory=dict)
    has_changed: bool = False


Fresh = Mapping[int, Sequence[rules.Result]]


def evaluate(results: Iterable[Recorded]) -> None:
    """Apply every rule to results that have just been recorded."""
    fresh: dict[int, list[rules.Result]] = defaultdict(list)
    for r in results:
        seen = rules.Result(r.position, r.at, r.status, r.latency_ms, r.error)
        fresh[r.monitor_id].append(seen)
    _evaluate_all(sorted(fresh), fresh)


def evaluate_monitors(monitor_ids: Iterable[int]) -> None:
    """Apply every rule of these monitors to the results it has not seen yet."""
    _evaluate_all(sorted(set(monitor_ids)), {})


def _evaluate_all(ids: Sequence[int], fresh: Fresh) -> None:
    changed = False
    for start in range(0, len(ids), MOST_MONITORS):
        changed |= _evaluate(ids[start : start + MOST_MONITORS], fresh)
    if changed:
        announce_due()


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
    announce_due()


def announce_due() -> None:
    """Announce transitions, each in a transaction of its own, oldest first."""
    failed: set[int] = set()
    while True:
        due = Transition.objects.due(timezone.now()).exclude(pk__in=failed)
        batch = list(due.select_related("alert__rule", "alert__monitor")[:100])
        if not batch:
            return
        for transition in batch:
            try:
                transition.announce(at=timezone.now())
            except Exception as error:
                logger.exception("Announcing transition %s failed", transition.pk)
                failed.add(transition.pk)
                transition.postpone(error, at=timezone.now())


def _evaluate(ids: Sequence[int], fresh: Fresh) -> bool:
    """Evaluate a batch of monitors; say whether any alert has changed."""
    batch = _load(ids, fresh)
    failures: dict[int, Exception] = {}
    for pk, watched in batch.watched.items():
        try:
            if _apply(batch, watched) and (reached := _reached(watched)):
                batch.done[pk] = reached
        except Exception as error:
            logger.exception("Evaluating monitor %s failed", pk)
            failures[pk] = error
    lost = _save_unchanged(batch.unchanged)
    _advance({pk: done for pk, done in batch.done.items() if pk not in lost})
    if failures:
        _note_failures(failures)
    _tell_still_failing(batch)
    return batch.has_changed


def _reached(watched: Watched) -> tuple[int, datetime] | None:
    """The newest result of the monitor that is evaluated now: position and moment."""
    if watched.results:
        return watched.results[-1].id, watched.results[-1].at
    # What was left has been pruned, unless there was too much to read it all.
    return (watched.last_result, timezone.now()) if watched.is_complete else None


def _load(ids: Sequence[int], fresh: Fresh) -> Batch:
    states = MonitorState.objects.filter(pk__in=ids).values_list(
        *("pk", "evaluated_through", "last_result"),
        *("monitor__is_active", "monitor__counts_from"),
    )
    watched = {row[0]: Watched(*row) for row in states}
    batch = Batch(watched, defaultdict(list))
    _load_results(watched, fresh)
    _load_memories(watched)
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
        by_pk[pk].results.append(rules.Result(*values))
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

# One row for each monitor and rule that watches it, with what it remembers.
_MEMORIES: Final = """
SELECT watching.monitor_id, rule.id, rule.alert_for, rule.alert_value,
       rule.failure_threshold, rule.success_threshold, rule.counts_from,
       state.id, state.version, state.counts_from, state.failures,
       state.successes, state.first_failure_at, state.is_triggered, state.through
FROM alerting_alertrule_monitors AS watching
JOIN alerting_alertrule AS rule ON rule.id = watching.alertrule_id
LEFT JOIN alerting_rulestate AS state
    ON state.rule_id = rule.id AND state.monitor_id = watching.monitor_id
WHERE watching.monitor_id IN ({}) AND rule.is_active AND rule.retired_at IS NULL
ORDER BY watching.monitor_id, rule.id
"""


_NEW: Final = (
    *("monitor", "rule", "counts_from", "through"),
    *("version", "failures", "successes", "is_triggered"),
)
_NOTHING: Final = (0, 0, 0, False)


def _load_memories(watched: dict[int, Watched]) -> None:
    """Load what the rules remember; a rule new to a monitor remembers nothing."""
    if not watched:
        return
    rows = _memory_rows(list(watched))
    new = [
        (pk, row[1], ms(watched[pk].counts_from), watched[pk].evaluated_through)
        for row in rows
        if row[7] is None and (pk := row[0])
    ]
    if new:
        insert_rows(RuleState, _NEW, [(*one, *_NOTHING) for one in new], ignore=True)
        rows = _memory_rows(list(watched))
    for row in rows:
        if row[7] is not None:
            watched[row[0]].memories.append(_memory(row, watched[row[0]]))


def _memory_rows(ids: Sequence[int]) -> list[tuple[Any, ...]]:
    # As plain values: the ORM would cost more than the whole evaluation.
    with connection.cursor() as cursor:
        cursor.execute(_MEMORIES.format(", ".join(["%s"] * len(ids))), ids)
        return cursor.fetchall()


def _memory(row: tuple[Any, ...], watched: Watched) -> Memory:
    """Read one row; what was counted before the rule or monitor began anew is void."""
    _, rule_id, alert_for, value, failing, passing, rule_from, *kept = row
    pk, version, known_from, failures, successes, first, triggered, through = kept
    counts_from = max(instant(rule_from), watched.counts_from)
    if counts_from > instant(known_from):
        failures, successes, first = 0, 0, None
    return Memory(
        rule_id=rule_id,
        rule=rules.Rule(alert_for, value, failing, passing),
        pk=pk,
        version=version,
        counts_from=counts_from,
        state=rules.State(
            failures=failures,
            successes=successes,
            first_failure_at=None if first is None else instant(first),
            is_triggered=bool(triggered),
            through=through,
        ),
    )


def _load_holds(batch: Batch, begin: datetime) -> None:
    holding = Overlay.objects.filter(monitor__in=batch.watched, holds_alerts=True)
    holding = holding.filter(Q(ended_at=None) | Q(ended_at__gt=begin))
    for pk, start, end in holding.values_list("monitor", "started_at", "ended_at"):
        batch.holds[pk].append((start, end))


def _apply(batch: Batch, watched: Watched) -> bool:
    """Apply the rules to one monitor; False if another worker interfered."""
    if not watched.is_active:
        return True
    undisturbed = True
    for memory in watched.memories:
        undisturbed &= _apply_rule(batch, watched, memory)
    return undisturbed


def _apply_rule(batch: Batch, watched: Watched, memory: Memory) -> bool:
    results = [r for r in watched.results if r.at >= memory.counts_from]
    state = memory.state
    while True:
        decided = rules.decide(
            memory.rule, state, results, batch.holds.get(watched.pk, ())
        )
        if decided.change is None:
            break
        if not _turn(watched.pk, memory, decided.state, decided.change):
            return False
        batch.has_changed = True
        state = decided.state
    if not decided.state.says_the_same_as(memory.state):
        batch.unchanged.append((watched.pk, memory, decided.state))
    if decided.still_failing:
        batch.still_failing.append((memory.rule_id, watched.pk))
    return True


@transaction.atomic
def _turn(
    monitor_id: int, memory: Memory, state: rules.State, change: rules.Change
) -> bool:
    """Make one change: state by compare-and-set, alert, transition and notices."""
    # Locks in the order monitor, rule, state: the one in which pausing and
    # switching off take theirs.
    watched = Monitor.objects.active().select_for_update(no_key=True)
    active = AlertRule.objects.active().select_for_update(no_key=True)
    monitor = watched.filter(pk=monitor_id).first()
    rule = active.filter(pk=memory.rule_id).first()
    if not (monitor and rule):
        return False  # nothing may open that nobody would ever close
    values: dict[str, Any] = {name: getattr(state, name) for name in RuleState.FIELDS}
    if not RuleState.objects.filter(pk=memory.pk, version=memory.version).update(
        **values, counts_from=memory.counts_from, version=memory.version + 1
    ):
        return False  # another worker got there first
    if change.to == rules.TRIGGERED:
        Alert.trigger(rule, monitor, change)
    else:
        for alert in Alert.objects.triggered().filter(rule=rule, monitor=monitor):
            alert.resolve(reason=change.reason, at=change.result.at)
            # resolve() starts over; put back what these results have counted.
            RuleState.objects.filter(pk=memory.pk).update(
                **values, version=memory.version + 1
            )
    memory.version += 1
    memory.state = state
    return True


def _values(state: rules.State) -> tuple[Any, ...]:
    first = state.first_failure_at
    began = None if first is None else ms(first)
    return state.failures, state.successes, began, state.is_triggered, state.through


def _save_unchanged(
    changed: Sequence[tuple[int, Memory, rules.State]],
) -> set[int]:
    """Save states that made no change, in one statement, by compare-and-set.

    Returns the monitors of which another worker had some state first; the
    sweep looks at them again.
    """
    if not changed:
        return set()
    names = ("id", "version", "counts_from", *RuleState.FIELDS)
    rows = [(m.pk, m.version, ms(m.counts_from), *_values(s)) for _, m, s in changed]
    with locked_in_order(RuleState, "id", [row[0] for row in rows]):
        saved = update_rows(RuleState, names, rows, version="version")
    if saved == len(changed):
        return set()
    known = RuleState.objects.filter(pk__in=[m.pk for _, m, _ in changed])
    through = dict(known.values_list("pk", "through"))
    return {
        pk
        for pk, memory, state in changed
        if through.get(memory.pk, state.through) < state.through
    }


def _advance(done: dict[int, tuple[int, datetime]]) -> None:
    """Remember how far each monitor is evaluated, never going back."""
    if not done:
        return
    names = ("monitor", "evaluated_through", "evaluated_at")
    rows = [(pk, position, ms(at)) for pk, (position, at) in done.items()]
    with locked_in_order(MonitorState, "monitor", list(done)):
        update_rows(MonitorState, names, rows, rising="evaluated_through")


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
