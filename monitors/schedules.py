"""When a monitor is due: every so many seconds, or as a cron expression says.

All moments here are milliseconds since 1970.
"""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from .instants import instant, ms


class ScheduleInvalid(ValueError):
    """The cron expression or the zone cannot be used; the message says why."""


def spread(tag: str) -> float:
    """Return a number from 0 to 1 that is always the same for a tag."""
    digest = hashlib.blake2s(tag.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


class Schedule(ABC):
    @abstractmethod
    def next(self, after: int) -> int:
        """Return the first slot after a moment."""

    @abstractmethod
    def holds(self, at: int) -> int:
        """Return until when a result speaks: two intervals on."""


@dataclass(frozen=True, slots=True)
class Every(Schedule):
    """Slots one interval apart, shifted by a stable hash of the tag.

    So monitors spread evenly over the interval, and a restart does not bunch
    them.
    """

    interval: int
    phase: int

    def next(self, after: int) -> int:
        return ((after - self.phase) // self.interval + 1) * self.interval + self.phase

    def holds(self, at: int) -> int:
        return at + 2 * self.interval


@dataclass(frozen=True, slots=True)
class Cron(Schedule):
    """Slots in the local time of a zone, right across its changes of the clock.

    As cron does it: what runs at any hour or minute goes on through the change.
    A fixed time that does not exist has the offset before the gap (02:30
    becomes 03:30), one that happens twice is the first of the two.
    """

    expression: str
    zone: ZoneInfo

    def next(self, after: int) -> int:
        local = instant(after).astimezone(self.zone)
        if not self._is_fixed:
            return ms(next(CronSim(self.expression, local)))
        # From before any change of the clock that may have just been.
        begin = local.replace(tzinfo=None, fold=0) - timedelta(hours=3)
        slots = CronSim(self.expression, begin)
        return next(
            at for slot in slots if (at := ms(slot.replace(tzinfo=self.zone))) > after
        )

    @property
    def _is_fixed(self) -> bool:
        minute, hour, *_ = self.expression.split()
        return "*" not in minute + hour

    def holds(self, at: int) -> int:
        return self.next(self.next(at))


def every(seconds: int, tag: str) -> Every:
    interval = seconds * 1000
    return Every(interval, int(spread(tag) * interval))


def cron(expression: str, zone: str) -> Cron:
    """Return the schedule, or raise ScheduleInvalid saying what is wrong."""
    try:
        schedule = Cron(expression, ZoneInfo(zone))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ScheduleInvalid(
            f"There is no time zone {zone}; give one such as Europe/Berlin."
        ) from None
    try:
        CronSim(expression, datetime(2000, 1, 1))
        schedule.next(0)
    except (CronSimError, StopIteration) as error:
        raise ScheduleInvalid(
            f"This is no cron expression ({error or 'it names no moment'}); "
            "give five fields such as 0 6 * * 1-5."
        ) from None
    return schedule
