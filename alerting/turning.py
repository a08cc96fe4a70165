"""From changes to alerts: many at once, in a number of statements that does not
grow, and one by one if they will not go together.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from django.db import transaction
from django.utils import timezone

from monitors.models import Monitor
from monitors.statements import select_rows, update_rows

from . import rules, safeguards
from .memories import SAVED, Memory
from .models import Alert, AlertRule, Closing, Opening, RuleState
from .safeguards import Flap, Subject

logger = logging.getLogger(__name__)

AT_ONCE: Final = 200


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """One change that is to be made: what remembers it, and the state after it."""

    memory: Memory
    state: rules.State
    change: rules.Change


@dataclass(slots=True)
class Turned:
    """What was made, and which monitors could not be turned, and why."""

    made: list[Turn] = field(default_factory=list)
    failures: dict[int, Exception] = field(default_factory=dict)


def turn(turns: Sequence[Turn], flaps: Mapping[int, Flap]) -> Turned:
    """Make changes. One that another worker has made, or that has become void, is
    left out; one that raises stops no other."""
    turned = Turned()
    for start in range(0, len(turns), AT_ONCE):
        some = turns[start : start + AT_ONCE]
        try:
            turned.made += _together(some, flaps)
        except Exception:
            logger.exception("%s alerts did not turn together", len(some))
            _apart(some, flaps, turned)
    return turned


def _apart(turns: Sequence[Turn], flaps: Mapping[int, Flap], turned: Turned) -> None:
    for one in turns:
        try:
            turned.made += _together([one], flaps)
        except Exception as error:
            logger.exception("Rule %s did not turn", one.memory.rule_id)
            turned.failures[one.memory.monitor_id] = error


@transaction.atomic
def _together(turns: Sequence[Turn], flaps: Mapping[int, Flap]) -> list[Turn]:
    """Lock in the order monitor, rule, state, the one in which pausing and
    switching off take theirs: nothing may open that nobody would ever close."""
    watched = Monitor.objects.active().select_for_update(no_key=True)
    active = AlertRule.objects.active().select_for_update(no_key=True)
    monitors = {m.pk: m for m in watched.filter(pk__in=_monitors(turns)).order_by("pk")}
    ruling = {r.pk: r for r in active.filter(pk__in=_rules(turns)).order_by("pk")}
    valid = [
        one
        for one in turns
        if one.memory.monitor_id in monitors and one.memory.rule_id in ruling
    ]
    mine = _take(valid)
    at = timezone.now()
    openings = [
        Opening(ruling[one.memory.rule_id], monitors[one.memory.monitor_id], one.change)
        for one in mine
        if one.change.to == rules.TRIGGERED
    ]
    if openings:
        subjects = [Subject(*o.key) for o in openings]
        refused = safeguards.refusals(subjects, at=at, flaps=flaps)
        Alert.open_all(openings, refused, at=at)
    _close([one for one in mine if one.change.to == rules.RESOLVED], at)
    return mine


def _monitors(turns: Sequence[Turn]) -> list[int]:
    return sorted({one.memory.monitor_id for one in turns})


def _rules(turns: Sequence[Turn]) -> list[int]:
    return sorted({one.memory.rule_id for one in turns})


def _take(turns: Sequence[Turn]) -> list[Turn]:
    """Save the states that nobody has changed since they were read."""
    by_pk = {one.memory.pk: one for one in turns}
    found = select_rows(RuleState, ("id", "version"), "id", sorted(by_pk), lock=True)
    mine = [by_pk[pk] for pk, version in found if by_pk[pk].memory.version == version]
    if mine:
        rows = [one.memory.row(one.state) for one in mine]
        update_rows(RuleState, SAVED, rows, version="version")
    for one in mine:
        one.memory.version += 1
        one.memory.state = one.state
    return mine


def _close(turns: Sequence[Turn], at: datetime) -> None:
    if not turns:
        return
    changes = {(t.memory.rule_id, t.memory.monitor_id): t.change for t in turns}
    alerts = Alert.objects.triggered().filter(
        rule__in=_rules(turns), monitor__in=_monitors(turns)
    )
    closings = [
        Closing(alert, change.reason, change.result.at, is_evaluated=True)
        for alert in alerts.select_for_update(no_key=True)
        if (change := changes.get((alert.rule_id or 0, alert.monitor_id or 0)))
    ]
    Alert.close_all(closings, at=at)
