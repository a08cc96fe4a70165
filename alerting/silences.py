"""When a silence covers a moment: pure functions on plain values, without Django.

A silence that comes again each week goes by the clocks of its own zone: it begins
when they first show its time, or a later one because they leap over it, and ends
when they do so for the last time. So an hour that comes twice is covered twice,
and a night is covered whole, however long it is.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

_A_DAY: Final = timedelta(days=1)
# So many days ahead is looked for the end of what follows on each other.
_AHEAD: Final = 8
DAYS: Final = (
    *("Monday", "Tuesday", "Wednesday", "Thursday"),
    *("Friday", "Saturday", "Sunday"),
)


@dataclass(frozen=True, slots=True)
class Weekly:
    """From a time of day until another, on days of the week; 0 is Monday.

    With the end not after the beginning it lasts over midnight: the day is the
    one on which it begins.
    """

    weekdays: frozenset[int]
    begin: time
    end: time
    zone: str = "UTC"

    def until(self, at: datetime) -> datetime | None:
        """When what covers a moment ends, in UTC; None if nothing does.

        What follows without a gap is taken together, for a week at the most.
        """
        reached = at
        for begin, end in self._around(at):
            if begin <= reached < end:
                reached = end
        return reached if reached > at else None

    def _around(self, at: datetime) -> Iterator[tuple[datetime, datetime]]:
        """The times from the day before yesterday on, in their order."""
        zone = ZoneInfo(self.zone)
        today = at.astimezone(zone).date()
        for ahead in range(-2, _AHEAD):
            day = today + ahead * _A_DAY
            if day.weekday() in self.weekdays:
                yield self._on(day, zone)

    def _on(self, day: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
        last = day + _A_DAY if self.end <= self.begin else day
        begin = _shown(datetime.combine(day, self.begin), zone)
        return begin, _shown(datetime.combine(last, self.end), zone, for_good=True)


def _shown(local: datetime, zone: ZoneInfo, *, for_good: bool = False) -> datetime:
    """When clocks reach a time for the first time, or for the last; in UTC."""
    first, second = (
        local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)
    )
    if first <= second:
        return second if for_good else first
    return _leap(local, zone, second, first)


def _leap(
    local: datetime, zone: ZoneInfo, before: datetime, after: datetime
) -> datetime:
    """When clocks leap over a time that they never show, to the second."""
    early, late = int(before.timestamp()), int(after.timestamp())
    while late - early > 1:
        middle = (early + late) // 2
        wall = datetime.fromtimestamp(middle, zone).replace(tzinfo=None)
        early, late = (middle, late) if wall < local else (early, middle)
    return datetime.fromtimestamp(late, UTC)


@dataclass(frozen=True, slots=True)
class Times:
    """From when until when a silence holds, and when in that time, if not always."""

    starts_at: datetime
    ends_at: datetime | None = None
    weekly: Weekly | None = None
    ended_at: datetime | None = None

    def covers(self, at: datetime) -> bool:
        return self.until(at) is not None

    def until(self, at: datetime) -> datetime | None:
        """When the covering of a moment ends, in UTC; None if there is none."""
        ends = [end for end in (self.ends_at, self.ended_at) if end]
        if at < self.starts_at or any(end <= at for end in ends):
            return None
        if self.weekly:
            coming = self.weekly.until(at)
            if coming is None:
                return None
            ends.append(coming)
        return min(ends).astimezone(UTC) if ends else None


class Covering(NamedTuple):
    """A silence that covers a moment, whom it silences, and until when.

    Monitors and labels say where, rules say what: where both are given, only
    these rules on these monitors are silenced.
    """

    id: int
    reason: str
    silences_all: bool
    monitors: frozenset[int]
    rules: frozenset[int]
    labels: frozenset[int]
    until: datetime

    def covers(
        self, rule_id: int | None, monitor_id: int | None, label_ids: Collection[int]
    ) -> bool:
        """Whether it silences a rule on a monitor that bears these labels."""
        if self.silences_all:
            return True
        if not (self.rules or self.monitors or self.labels):
            return False
        is_anywhere = not self.monitors and not self.labels
        is_here = monitor_id in self.monitors or not self.labels.isdisjoint(label_ids)
        is_asked = not self.rules or rule_id in self.rules
        return is_asked and (is_anywhere or is_here)
