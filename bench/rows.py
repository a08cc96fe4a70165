"""What is in the database of a stage: filled before a run, read after it.

To be imported within a stage only, when Django is set up.
"""

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from django.db.models import F
from django.utils import timezone

from alerting.models import Alert, AlertRule, Transition
from monitors.models import CheckResult, Monitor, MonitorState
from outbox.models import Message

from .figures import lateness

AT_ONCE: Final = 500
LOOK_EVERY: Final = 0.05
# A clock that was set back by a hair has not made a check late by an interval.
HAIR: Final = timedelta(milliseconds=5)


class Readings(NamedTuple):
    """What became of the slots of a while: lateness in seconds, and counts."""

    late: list[float]
    due: int
    missed: int
    not_up: int


# Before a run


def make_monitors(urls: Sequence[str], interval: int) -> list[Monitor]:
    """Make a monitor for each address, due at its own first slot."""
    made = Monitor.objects.bulk_create(
        [
            Monitor(tag=f"m{n}", name=f"M{n}", interval=interval, config={"url": url})
            for n, url in enumerate(urls, Monitor.objects.count())
        ],
        batch_size=AT_ONCE,
    )
    MonitorState.begin(made)
    now = timezone.now()
    due = [MonitorState(monitor=m, due_at=m.next_due(now)) for m in made]
    MonitorState.objects.bulk_update(due, ["due_at"], batch_size=AT_ONCE)
    return made


def watch(monitors: list[Monitor], **more: Any) -> AlertRule:
    """Make one rule that watches all of these, and opens incidents if not told."""
    asked = {"name": "Down", "create_incident": True, **more}
    rule = AlertRule.objects.create(**asked)
    rule.watch(monitors)
    return rule


def phases(monitors: Iterable[Monitor]) -> list[float]:
    """When each is due, in seconds after any multiple of its interval."""
    now = timezone.now()
    return [m.next_due(now).timestamp() % m.interval for m in monitors]


def make_due(monitors: Collection[Monitor]) -> None:
    """Have all of these checked now, whatever their slots."""
    now = timezone.now()
    MonitorState.objects.filter(monitor__in=monitors).update(due_at=now)


def rest(monitors: Collection[Monitor]) -> bool:
    """Have none of these checked any more; False while one is still in hand."""
    mine = MonitorState.objects.filter(monitor__in=monitors)
    # Whoever records a check sets the next moment.
    mine.filter(claim=None).update(due_at=None)
    return not mine.exclude(claim=None).exists()


# After it


def has_begun() -> bool:
    return CheckResult.objects.exists()


def all_have_begun() -> bool:
    return not MonitorState.objects.filter(checked_at=None).exists()


def all_is_told() -> bool:
    """Whether nothing of any alert is still to be announced or delivered."""
    untold = Transition.objects.filter(announced_at=None)
    return not (untold.exists() or Message.objects.waiting().exists())


def read(begin: datetime, end: datetime, monitors: Sequence[Monitor]) -> Readings:
    """Compare the results with the slots that lie between two moments."""
    slots = {m.pk: _Slots(m, begin, end) for m in monitors}
    # Whoever comes late to the last slot comes after the end.
    longest = timedelta(seconds=max(m.interval for m in monitors))
    not_up = 0
    for pk, at, status in results(begin, end + longest):
        if pk in slots and slots[pk].take(at):
            not_up += status != "up"
    late = [one for found in slots.values() for one in found.late]
    due = sum(found.due for found in slots.values())
    kept = sum(len(found.kept) for found in slots.values())
    return Readings(late, due, due - kept, not_up)


class _Slots:
    """The slots of a monitor from … to …, numbered from 0, and who came to them."""

    def __init__(self, monitor: Monitor, begin: datetime, end: datetime) -> None:
        self._first = monitor.next_due(begin)
        self._interval = timedelta(seconds=monitor.interval)
        left = end - self._first
        self.due = max(0, left // self._interval + 1)
        self.kept: set[int] = set()
        self.late: list[float] = []

    def take(self, checked_at: datetime) -> bool:
        """Count a result to the slot before it; False if it is none of these."""
        number = (checked_at + HAIR - self._first) // self._interval
        if not 0 <= number < self.due:
            return False
        slot = self._first + number * self._interval
        self.kept.add(number)
        self.late.append(max(0.0, (checked_at - slot).total_seconds()))
        return True


def results(begin: datetime, end: datetime) -> Iterator[tuple[int, datetime, str]]:
    """Monitor, moment and status of each result from … to …, oldest first."""
    return (
        CheckResult.objects.filter(checked_at__gte=begin, checked_at__lt=end)
        .order_by("checked_at")
        .values_list("monitor", "checked_at", "status")
        .iterator()
    )


def unevaluated(before: datetime) -> int:
    """How many monitors have a newest result, older than this, that no rule has seen."""
    waiting = MonitorState.objects.filter(evaluated_through__lt=F("last_result"))
    return waiting.filter(checked_at__lt=before).count()


def summary(readings: Readings) -> dict[str, Any]:
    """The readings as fields."""
    return {
        "due": readings.due,
        "checks": len(readings.late),
        "missed": readings.missed,
        "not_up": readings.not_up,
        **lateness(readings.late),
    }


def commit_lags(pks: Collection[int], begin: datetime, seconds: float) -> list[float]:
    """Watch for alerts of these monitors since a moment, for at most so many seconds.

    Returns, for each that has come, the seconds from the start of the check that
    triggered it to when its row was seen, some 50 ms after its commit at most.
    """
    until = time.monotonic() + seconds
    seen: dict[int, float] = {}
    triggered = Alert.objects.filter(monitor__in=pks, triggered_at__gte=begin)
    while len(seen) < len(pks) and time.monotonic() < until:
        known = list(triggered.values_list("pk", "triggered_at"))
        now = timezone.now()
        for pk, at in known:
            seen.setdefault(pk, (now - at).total_seconds())
        time.sleep(LOOK_EVERY)
    return list(seen.values())
