"""How the engines of all workers are doing, from what they have written down."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from django.db.models import Q
from django.utils import timezone

from . import gauges
from .instants import instant, ms
from .metering import MINUTE, WRITE_SECONDS
from .models import EngineMinute, MonitorState
from .sketches import Sketch

# Over so many whole minutes the gauges look.
WINDOW: Final = timedelta(minutes=5)
# A worker writes the end of a minute when it next writes, or a little later.
_WRITTEN: Final = timedelta(seconds=WRITE_SECONDS + 2)


@dataclass(slots=True)
class Tally:
    """What engines did in some stretch of time; lateness and flushes in ms."""

    checks: int = 0
    lateness: Sketch = field(default_factory=Sketch)
    flushes: Sketch = field(default_factory=Sketch)

    def add(self, other: "Tally") -> None:
        self.checks += other.checks
        self.lateness.merge(other.lateness)
        self.flushes.merge(other.flushes)


class Row(NamedTuple):
    """One minute of one worker."""

    worker: str
    at: datetime
    tally: Tally


def whole_until(now: datetime) -> datetime:
    """Return the end of the last minute that every worker has written down."""
    return instant(ms(now - _WRITTEN) // MINUTE * MINUTE)


def rows(begin: datetime, end: datetime) -> Iterator[Row]:
    """Yield the minutes of all workers from begin until end, oldest first."""
    found = EngineMinute.objects.filter(at__gte=begin, at__lt=end).order_by("at")
    names = ("worker", "at", "checks", "lateness", "flushes")
    for worker, at, checks, lateness, flushes in found.values_list(*names):
        read = Sketch.from_bytes
        yield Row(worker, at, Tally(checks, read(lateness), read(flushes)))


@gauges.shared
def recent() -> Tally:
    """What all engines did in the last whole minutes."""
    end = whole_until(timezone.now())
    tally = Tally()
    for row in rows(end - WINDOW, end):
        tally.add(row.tally)
    return tally


def quantile(sketch: Sketch, q: float) -> float:
    """Return a quantile, or not a number if nothing was measured."""
    return sketch.quantile(q) if sketch.counts else math.nan


def oldest_due(at: datetime) -> float:
    """Return the seconds since when a monitor is due that nobody has taken."""
    free = Q(lease_until=None) | Q(lease_until__lte=at)
    due = MonitorState.objects.filter(free, due_at__lt=at).order_by("due_at")
    oldest = due.values_list("due_at", flat=True).first()
    return (at - oldest).total_seconds() if oldest else 0.0


def register() -> None:
    """Make the numbers of this app known."""
    add = gauges.register
    add(
        "lateness_p50_ms",
        "Lateness of checks, p50",
        "ms",
        lambda: quantile(recent().lateness, 0.5),
    )
    add(
        "lateness_p95_ms",
        "Lateness of checks, p95",
        "ms",
        lambda: quantile(recent().lateness, 0.95),
    )
    add("checks", "Checks in five minutes", "", lambda: recent().checks)
    add(
        "checks_per_second",
        "Checks a second",
        "",
        lambda: recent().checks / WINDOW.total_seconds(),
    )
    add(
        "oldest_due_monitor_seconds",
        "Oldest due monitor",
        "s",
        lambda: oldest_due(timezone.now()),
    )
    add(
        "flush_p50_ms",
        "Writing results down, p50",
        "ms",
        lambda: quantile(recent().flushes, 0.5),
    )
    add(
        "flush_p95_ms",
        "Writing results down, p95",
        "ms",
        lambda: quantile(recent().flushes, 0.95),
    )
