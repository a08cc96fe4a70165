"""What keeps back an alert that has triggered: its notices and its incident.

The gates are asked in this order, and the first refusal counts: a hold, such as
a maintenance; a parent that is down; a silence; flapping. A refusal is not
final: it is asked again while the alert stays triggered.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from django.db.models import Q

from monitors.models import Monitor, MonitorState, Overlay, Status

from . import flapping
from .models import FlapDetection, Silence

HOLD, PARENT, SILENCE, FLAPPING = "maintenance", "parent", "silence", "flapping"
# So soon it is asked again whether the reason still holds.
AGAIN: Final = timedelta(seconds=10)
AGAIN_AT_LAST: Final = timedelta(seconds=30)


class Subject(NamedTuple):
    """The alert of a rule on a monitor that would be told of."""

    rule_id: int
    monitor_id: int


class Refusal(NamedTuple):
    """Which gate keeps it back, why, and when to ask again."""

    gate: str
    reason: str
    until: datetime


class Flap(NamedTuple):
    """How much a monitor turns to and fro, and since when it fails, if it does."""

    is_flapping: bool
    percent: float
    failing_since: datetime | None


def refusals(
    subjects: Sequence[Subject],
    *,
    at: datetime,
    flaps: Mapping[int, Flap] | None = None,
) -> dict[Subject, Refusal]:
    """Ask all gates about some alerts, in a number of queries that does not grow."""
    found: dict[Subject, Refusal] = {}
    for gate in (_held, _under_parents, _silenced, _flapping(flaps)):
        left = [subject for subject in subjects if subject not in found]
        if not left:
            break
        found |= gate(left, at)
    return found


def _monitors(subjects: Iterable[Subject]) -> list[int]:
    return sorted({subject.monitor_id for subject in subjects})


def _held(subjects: Sequence[Subject], at: datetime) -> dict[Subject, Refusal]:
    holding = Overlay.objects.filter(
        Q(ended_at=None) | Q(ended_at__gt=at),
        monitor__in=_monitors(subjects),
        holds_alerts=True,
        started_at__lte=at,
    )
    ends = dict(holding.values_list("monitor", "ended_at"))
    return {
        s: _until(HOLD, _for_how_long(ends[s.monitor_id]), at, ends[s.monitor_id])
        for s in subjects
        if s.monitor_id in ends
    }


def _for_how_long(end: datetime | None) -> str:
    until = f" until {end:%Y-%m-%d %H:%M} UTC" if end else ""
    return f"Maintenance, or another hold, keeps alerts back{until}"


def _under_parents(subjects: Sequence[Subject], at: datetime) -> dict[Subject, Refusal]:
    """Those with a parent that is down, or was seen to be and is not confirmed."""
    down = Q(parents__state__status=Status.DOWN) | Q(
        parents__state__raw_status=Status.DOWN
    )
    below = Monitor.objects.filter(
        down, pk__in=_monitors(subjects), parents__is_active=True
    )
    names = dict(below.values_list("pk", "parents__name"))
    return {
        s: _until(PARENT, f"Its parent {names[s.monitor_id]} is down", at)
        for s in subjects
        if s.monitor_id in names
    }


def _silenced(subjects: Sequence[Subject], at: datetime) -> dict[Subject, Refusal]:
    return {
        subject: _until(
            SILENCE,
            f"Silenced until {silence.until:%Y-%m-%d %H:%M} UTC: {silence.reason}",
            at,
            silence.until,
        )
        for subject, silence in Silence.over(subjects, at).items()
    }


class _flapping:
    """The gate for monitors that turn to and fro, unless they stay failing."""

    def __init__(self, flaps: Mapping[int, Flap] | None) -> None:
        self._flaps = flaps

    def __call__(
        self, subjects: Sequence[Subject], at: datetime
    ) -> dict[Subject, Refusal]:
        flaps = self._flaps
        if flaps is None:
            flaps = flaps_of(_monitors(subjects))
        if not any(flap.is_flapping for flap in flaps.values()):
            return {}
        escape = timedelta(minutes=FlapDetection.current().escape_minutes)
        found = {}
        for subject in subjects:
            flap = flaps.get(subject.monitor_id)
            if flap and flap.is_flapping and not _escapes(flap, escape, at):
                reason = f"Flapping: {flap.percent:.0f} % of its last results changed"
                found[subject] = _until(FLAPPING, reason, at)
        return found


def _escapes(flap: Flap, escape: timedelta, at: datetime) -> bool:
    return flap.failing_since is not None and at - flap.failing_since >= escape


def flaps_of(monitor_ids: Sequence[int]) -> dict[int, Flap]:
    rows = MonitorState.objects.filter(pk__in=monitor_ids).values_list(
        "pk", "is_flapping", "recent", "failing_since"
    )
    return {
        pk: Flap(flaps, flapping.percent(recent), since)
        for pk, flaps, recent, since in rows
    }


def _until(
    gate: str, reason: str, at: datetime, end: datetime | None = None
) -> Refusal:
    """Ask again when it ends or, since that may change, before long."""
    soonest = at + AGAIN
    latest = at + AGAIN_AT_LAST
    return Refusal(gate, reason, min(max(end, soonest), latest) if end else soonest)
