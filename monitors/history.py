"""Uptime, bars and explanations: interval arithmetic on periods and overlays."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, tzinfo
from itertools import pairwise
from typing import NamedTuple

from .models import BADNESS, Overlay, Status, StatusPeriod

_NO_DATA = Status.NO_DATA.value


class Segment(NamedTuple):
    """A stretch of time with one status.

    `shown` is what people see; `counted` is what enters uptime.
    """

    begin: datetime
    end: datetime
    shown: str
    counted: str
    cause: str


@dataclass(slots=True)
class Day:
    """One day of a monitor, in seconds per shown status."""

    date: date
    seconds: dict[str, float] = field(default_factory=dict)
    ongoing: bool = False

    @property
    def worst(self) -> str:
        """The worst status of the day; up only if there was nothing else but gaps."""
        return max(
            (s for s, seconds in self.seconds.items() if seconds > 0),
            key=lambda s: BADNESS[Status(s)],
            default=_NO_DATA,
        )


def segments(
    periods: Sequence[StatusPeriod],
    overlays: Sequence[Overlay],
    begin: datetime,
    end: datetime,
) -> list[Segment]:
    """Lay the overlays of one monitor over its periods.

    Maintenance lies over incident over what was checked; within one kind the
    worst wins. Time without a period is no_data.
    """
    base = _base(periods, begin, end)
    laid = [o for o in overlays if _touches(o, begin, end)]
    if not laid:
        return base
    cuts = {b for o in laid for b in (o.started_at, o.ended_at or end)}
    found: list[Segment] = []
    for segment in base:
        inner = sorted(c for c in cuts if segment.begin < c < segment.end)
        edges = [segment.begin, *inner, segment.end]
        for left, right in pairwise(edges):
            over = [o for o in laid if o.started_at <= left < (o.ended_at or end)]
            shown = _top(over, segment.shown)
            counted = _top([o for o in over if o.counts], segment.counted)
            cause = over[0].cause if over else segment.cause
            found.append(Segment(left, right, shown, counted, cause))
    return found


def _touches(overlay: Overlay, begin: datetime, end: datetime) -> bool:
    return overlay.started_at < end and (
        overlay.ended_at is None or overlay.ended_at > begin
    )


def shown(status: str, overlays: Iterable[Overlay]) -> str:
    """Return what people see of a status while these overlays lie over it."""
    return _top(overlays, status)


def _top(overlays: Iterable[Overlay], below: str) -> str:
    for kind in (Overlay.Kind.MAINTENANCE, Overlay.Kind.INCIDENT):
        statuses = [o.status for o in overlays if o.kind == kind]
        if statuses:
            return max(statuses, key=lambda s: BADNESS[Status(s)])
    return below


def _base(
    periods: Sequence[StatusPeriod], begin: datetime, end: datetime
) -> list[Segment]:
    found, reached = [], begin
    for period in periods:
        left = max(period.started_at, reached)
        right = min(period.ended_at or end, end)
        if right <= left:
            continue
        if left > reached:
            found.append(Segment(reached, left, _NO_DATA, _NO_DATA, "not watched"))
        status = str(period.status)
        found.append(Segment(left, right, status, status, period.cause))
        reached = right
    if reached < end:
        found.append(Segment(reached, end, _NO_DATA, _NO_DATA, "not watched"))
    return found


def midnights(first: date, days: int, zone: tzinfo) -> list[datetime]:
    """Return the `days` + 1 instants at which the days begin and the last ends.

    Each is computed in its own zone: a day may have 23 or 25 hours.
    """
    return [
        datetime.combine(first + timedelta(days=n), time(), tzinfo=zone)
        for n in range(days + 1)
    ]


def by_day(found: Sequence[Segment], edges: Sequence[datetime]) -> list[Day]:
    """Share segments out among the days between the edges."""
    days = [Day(edge.date()) for edge in edges[:-1]]
    stamps = [edge.timestamp() for edge in edges]
    n = 0
    for segment in found:
        left, end = segment.begin.timestamp(), segment.end.timestamp()
        while n < len(days) and stamps[n + 1] <= left:
            n += 1
        for m in range(n, len(days)):
            part = min(end, stamps[m + 1]) - max(left, stamps[m])
            if part <= 0:
                break
            seconds = days[m].seconds
            seconds[segment.shown] = seconds.get(segment.shown, 0.0) + part
    return days


def uptime(found: Iterable[Segment]) -> float | None:
    """Return the percentage of the time that counts in which it was up.

    Degraded and partial count as up; maintenance and no_data do not count at
    all. Rounded down to two digits, so that a failure never rounds to 100.
    None if no time counts.
    """
    seconds: dict[str, float] = {}
    for s in found:
        length = (s.end - s.begin).total_seconds()
        seconds[s.counted] = seconds.get(s.counted, 0.0) + length
    good = sum(
        seconds.get(s, 0.0) for s in (Status.UP, Status.DEGRADED, Status.PARTIAL)
    )
    counted = good + seconds.get(Status.DOWN, 0.0)
    if not counted:
        return None
    # A nudge below the resolution of a second over years keeps 99.99 from
    # becoming 99.98 through floating point alone.
    return math.floor(good / counted * 10_000 + 1e-9) / 100


class History(NamedTuple):
    """What a page needs of one monitor."""

    days: list[Day]
    uptime: float | None
    now: Segment


def of_monitors(
    ids: Iterable[int], *, at: datetime, zone: tzinfo, days: int = 90
) -> dict[int, History]:
    """Return the last days of each monitor, today included, in two queries."""
    today = at.astimezone(zone).date()
    edges = midnights(today - timedelta(days=days - 1), days, zone)
    ids = list(ids)
    periods: dict[int, list[StatusPeriod]] = {pk: [] for pk in ids}
    overlays: dict[int, list[Overlay]] = {pk: [] for pk in ids}
    touching = StatusPeriod.objects.filter(monitor__in=ids, started_at__lt=at).exclude(
        ended_at__lte=edges[0]
    )
    for period in touching.order_by("monitor", "started_at", "pk"):
        periods[period.monitor_id].append(period)
    for overlay in Overlay.objects.over(edges[0], at).filter(monitor__in=ids):
        overlays[overlay.monitor_id].append(overlay)
    found = {}
    for pk in ids:
        line = segments(periods[pk], overlays[pk], edges[0], at)
        spread = by_day(line, edges)
        if spread:
            spread[-1].ongoing = True
        found[pk] = History(spread, uptime(line), line[-1])
    return found
