"""What rules remember of monitors, read in two statements as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from django.db import connection

from monitors.instants import instant, ms
from monitors.statements import insert_rows

from .conditions import Rule
from .models import RuleState
from .rules import State


@dataclass(slots=True)
class Memory:
    """What one rule remembers of one monitor, and what the rule is."""

    monitor_id: int
    rule_id: int
    rule: Rule
    pk: int
    version: int
    counts_from: datetime
    state: State

    def row(self, state: State) -> tuple[Any, ...]:
        """The row with another state, as `SAVED` names its values."""
        return (
            *(self.pk, self.version, ms(self.counts_from)),
            *(state.failures, state.successes, _ms(state.first_failure_at)),
            *(state.is_triggered, state.through, _ms(state.first_success_at)),
            state.window or None,
        )


SAVED: Final = (
    *("id", "version", "counts_from"),
    *("failures", "successes", "first_failure_at"),
    *("is_triggered", "through", "first_success_at"),
    "window",
)


class Seen(NamedTuple):
    """What has to be known of a monitor to read what rules remember of it."""

    counts_from: datetime
    evaluated_through: int
    degraded: str


# One row for each monitor and rule that watches it: chosen itself, by a label, or
# because the rule watches all.
_MEMORIES: Final = """
SELECT watching.monitor_id, rule.id, rule.alert_for, rule.alert_value,
       rule.failure_threshold, rule.success_threshold, rule.unit,
       rule.includes_worse, rule.window_minutes, rule.counts_from,
       state.id, state.version, state.counts_from, state.failures,
       state.successes, state.first_failure_at, state.is_triggered, state.through,
       state.first_success_at, state."window"
FROM (
    SELECT monitor_id, alertrule_id AS rule_id
    FROM alerting_alertrule_monitors WHERE monitor_id IN ({ids})
    UNION
    SELECT labelled.monitor_id, asked.alertrule_id
    FROM monitors_monitor_labels AS labelled
    JOIN alerting_alertrule_labels AS asked ON asked.label_id = labelled.label_id
    WHERE labelled.monitor_id IN ({ids})
    UNION
    SELECT monitor.id, rule.id
    FROM alerting_alertrule AS rule CROSS JOIN monitors_monitor AS monitor
    WHERE rule.watches_all AND monitor.id IN ({ids})
) AS watching
JOIN alerting_alertrule AS rule ON rule.id = watching.rule_id
LEFT JOIN alerting_rulestate AS state
    ON state.rule_id = rule.id AND state.monitor_id = watching.monitor_id
WHERE rule.is_active AND rule.retired_at IS NULL
ORDER BY watching.monitor_id, rule.id
"""
_RULE: Final = slice(2, 9)
_STATE: Final = 10

_NEW: Final = (
    *("monitor", "rule", "counts_from", "through"),
    *("version", "failures", "successes", "is_triggered"),
)
_NOTHING: Final = (0, 0, 0, False)


def load(seen: Mapping[int, Seen]) -> list[Memory]:
    """Return what the rules remember; one new to a monitor remembers nothing."""
    if not seen:
        return []
    rows = _rows(list(seen))
    new = [
        (pk, row[1], ms(seen[pk].counts_from), seen[pk].evaluated_through, *_NOTHING)
        for row in rows
        if row[_STATE] is None and (pk := row[0])
    ]
    if new:
        insert_rows(RuleState, _NEW, new, ignore=True)
        rows = _rows(list(seen))
    return [_memory(row, seen[row[0]]) for row in rows if row[_STATE] is not None]


def _rows(ids: Sequence[int]) -> list[tuple[Any, ...]]:
    # As plain values: the ORM would cost more than the whole evaluation.
    holes = ", ".join(["%s"] * len(ids))
    with connection.cursor() as cursor:
        cursor.execute(_MEMORIES.format(ids=holes), [*ids] * 3)
        return cursor.fetchall()


def _memory(row: tuple[Any, ...], seen: Seen) -> Memory:
    """Read one row; what was counted before the rule or monitor began anew is void."""
    monitor_id, rule_id, *_ = row
    alert_for, value, failing, passing, unit, worse, window_minutes = row[_RULE]
    rule = Rule(
        *(alert_for, value, failing, passing, unit, bool(worse)),
        *(window_minutes, seen.degraded),
    )
    counts_from = max(instant(row[9]), seen.counts_from)
    pk, version, known_from, *kept = row[_STATE:]
    is_void = counts_from > instant(known_from)
    return Memory(
        monitor_id, rule_id, rule, pk, version, counts_from, _state(kept, is_void)
    )


def _state(kept: Sequence[Any], is_void: bool) -> State:
    failures, successes, first_failure, triggered, through, first_success, window = kept
    if is_void:
        return State(is_triggered=bool(triggered), through=through)
    return State(
        failures=failures,
        successes=successes,
        first_failure_at=None if first_failure is None else instant(first_failure),
        is_triggered=bool(triggered),
        through=through,
        first_success_at=None if first_success is None else instant(first_success),
        window=bytes(window or b""),
    )


def _ms(at: datetime | None) -> int | None:
    return None if at is None else ms(at)
