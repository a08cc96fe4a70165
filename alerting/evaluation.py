"""From results to alerts: a constant number of queries a flush, one short
transaction a change, and nothing that one bad monitor can stop for the others.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, Final

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from monitors.models import CheckResult, Monitor, MonitorState, Overlay
from monitors.statements import locked_in_order, update_rows

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
class Batch:
    """Everything that the evaluation of some monitors needs to know."""

    states: dict[int, MonitorState]
    results: dict[int, list[rules.Result]]
    watching: dict[int, list[AlertRule]]
    rule_states: dict[tuple[int, int], RuleState]
    holds: dict[int, list[tuple[datetime, datetime | None]]]
    # What comes out of it.
    unchanged: list[tuple[RuleState, rules.State]] = field(default_factory=list)
    still_failing: list[tuple[int, int]] = field(default_factory=list)
    done: dict[int, int] = field(default_factory=dict)
    has_changed: bool = False


def evaluate(monitor_ids: Iterable[int]) -> None:
    """Apply every rule of these monitors to the results it has not seen yet."""
    ids = sorted(set(monitor_ids))
    changed = False
    for start in range(0, len(ids), MOST_MONITORS):
        changed |= _evaluate(ids[start : start + MOST_MONITORS])
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
        _evaluate(ids)
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


def _evaluate(ids: Sequence[int]) -> bool:
    """Evaluate a batch of monitors; say whether any alert has changed."""
    batch = _load(ids)
    failures: dict[int, Exception] = {}
    for pk in batch.states:
        try:
            if _apply(batch, pk):
                batch.done[pk] = _reached(batch, pk)
        except Exception as error:
            logger.exception("Evaluating monitor %s failed", pk)
            failures[pk] = error
    lost = _save_unchanged(batch.unchanged)
    _advance({pk: n for pk, n in batch.done.items() if pk not in lost})
    if failures:
        _note_failures(failures)
    _tell_still_failing(batch)
    return batch.has_changed


def _reached(batch: Batch, pk: int) -> int:
    """The newest result of the monitor that is evaluated now."""
    if results := batch.results.get(pk):
        return results[-1].id
    if sum(map(len, batch.results.values())) < MOST_RESULTS:
        return batch.states[pk].last_result  # what was left has been pruned
    return 0


def _load(ids: Sequence[int]) -> Batch:
    states = {
        state.pk: state
        for state in MonitorState.objects.filter(pk__in=ids).select_related("monitor")
    }
    results: dict[int, list[rules.Result]] = defaultdict(list)
    newer = (
        CheckResult.objects.filter(
            monitor__in=ids, id__gt=F("monitor__state__evaluated_through")
        )
        .order_by("id")
        .values_list("monitor", "id", "checked_at", "status", "latency_ms", "error")
    )
    for pk, number, at, status, latency, error in newer[:MOST_RESULTS]:
        results[pk].append(rules.Result(number, at, status, latency, error))
    through = AlertRule.monitors.through.objects
    pairs = list(
        through.filter(
            monitor__in=ids,
            alertrule__is_active=True,
            alertrule__retired_at=None,
        ).values_list("monitor", "alertrule")
    )
    by_pk = AlertRule.objects.in_bulk({rule for _, rule in pairs})
    of_monitor: dict[int, list[AlertRule]] = defaultdict(list)
    for pk, rule in sorted(pairs):
        of_monitor[pk].append(by_pk[rule])
    batch = Batch(states, results, of_monitor, {}, defaultdict(list))
    if pairs:
        begin = min((r[0].at for r in results.values() if r), default=timezone.now())
        _load_holds(batch, ids, begin)
        _load_rule_states(batch, pairs)
    return batch


def _load_holds(batch: Batch, ids: Sequence[int], begin: datetime) -> None:
    holding = Overlay.objects.filter(monitor__in=ids, holds_alerts=True)
    holding = holding.filter(Q(ended_at=None) | Q(ended_at__gt=begin))
    for pk, start, end in holding.values_list("monitor", "started_at", "ended_at"):
        batch.holds[pk].append((start, end))


def _load_rule_states(batch: Batch, pairs: Iterable[tuple[int, int]]) -> None:
    """Load what the rules remember; a rule new to a monitor remembers nothing."""
    wanted = set(pairs)
    known = _known_states(wanted)
    new = [
        RuleState(
            rule_id=rule,
            monitor_id=pk,
            through=batch.states[pk].evaluated_through,
            counts_from=batch.states[pk].monitor.counts_from,
        )
        for pk, rule in sorted(wanted - known.keys())
    ]
    if new:
        RuleState.objects.bulk_create(new, ignore_conflicts=True)
        known = _known_states(wanted)
    batch.rule_states = known


def _known_states(pairs: set[tuple[int, int]]) -> dict[tuple[int, int], RuleState]:
    found = RuleState.objects.filter(
        monitor__in={pk for pk, _ in pairs}, rule__in={rule for _, rule in pairs}
    )
    return {(s.monitor_id, s.rule_id): s for s in found}


def _apply(batch: Batch, pk: int) -> bool:
    """Apply the rules to one monitor; False if another worker interfered."""
    monitor = batch.states[pk].monitor
    undisturbed = True
    if not monitor.is_active:
        return True
    for rule in batch.watching[pk]:
        row = batch.rule_states[pk, rule.pk]
        undisturbed &= _apply_rule(batch, rule, monitor, row)
    return undisturbed


def _apply_rule(
    batch: Batch, rule: AlertRule, monitor: Monitor, row: RuleState
) -> bool:
    counts_from = max(rule.counts_from, monitor.counts_from)
    if counts_from > row.counts_from:
        row.counts_from = counts_from
        row.failures = row.successes = 0
        row.first_failure_at = None
    results = [r for r in batch.results[monitor.pk] if r.at >= counts_from]
    state = row.plain
    while True:
        decided = rules.decide(
            rule.plain, state, results, batch.holds.get(monitor.pk, ())
        )
        if decided.change is None:
            break
        if not _turn(rule, monitor, row, decided.state, decided.change):
            return False
        batch.has_changed = True
        state = decided.state
    if decided.state != row.plain:
        batch.unchanged.append((row, decided.state))
    if decided.still_failing:
        batch.still_failing.append((rule.pk, monitor.pk))
    return True


@transaction.atomic
def _turn(
    rule: AlertRule,
    monitor: Monitor,
    row: RuleState,
    state: rules.State,
    change: rules.Change,
) -> bool:
    """Make one change: state by compare-and-set, alert, transition and notices."""
    # Locks in the order monitor, rule, state: the one in which pausing and
    # switching off take theirs.
    watched = Monitor.objects.active().select_for_update(no_key=True)
    active = AlertRule.objects.active().select_for_update(no_key=True)
    if not (watched.filter(pk=monitor.pk) and active.filter(pk=rule.pk)):
        return False  # nothing may open that nobody would ever close
    values: dict[str, Any] = {name: getattr(state, name) for name in RuleState.FIELDS}
    if not RuleState.objects.filter(pk=row.pk, version=row.version).update(
        **values, counts_from=row.counts_from, version=row.version + 1
    ):
        return False  # another worker got there first
    if change.to == rules.TRIGGERED:
        Alert.trigger(rule, monitor, change)
    else:
        for alert in Alert.objects.triggered().filter(rule=rule, monitor=monitor):
            alert.resolve(reason=change.reason, at=change.result.at)
            # resolve() starts over; put back what these results have counted.
            RuleState.objects.filter(pk=row.pk).update(
                **values, version=row.version + 1
            )
    row.version += 1
    for name, value in values.items():
        setattr(row, name, value)
    return True


def _save_unchanged(pairs: Sequence[tuple[RuleState, rules.State]]) -> set[int]:
    """Save states that made no change, in one statement, by compare-and-set.

    Returns the monitors of which another worker had some state first; the
    sweep looks at them again.
    """
    if not pairs:
        return set()

    names = ("id", "version", "counts_from", *RuleState.FIELDS)
    values = attrgetter(*RuleState.FIELDS)
    rows = [(r.pk, r.version, r.counts_from, *values(state)) for r, state in pairs]
    with locked_in_order(RuleState, "id", [row[0] for row in rows]):
        saved = update_rows(RuleState, names, rows, version="version")
    if saved == len(pairs):
        return set()
    through = dict(
        RuleState.objects.filter(pk__in=[row.pk for row, _ in pairs]).values_list(
            "pk", "through"
        )
    )
    return {
        row.monitor_id
        for row, state in pairs
        if through.get(row.pk, state.through) < state.through
    }


def _advance(done: dict[int, int]) -> None:
    """Remember how far each monitor is evaluated, never going back."""
    done = {pk: n for pk, n in done.items() if n}
    if not done:
        return
    names = ("monitor", "evaluated_through")
    with locked_in_order(MonitorState, "monitor", list(done)):
        update_rows(MonitorState, names, list(done.items()), rising="evaluated_through")


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
