"""Uptime, bars and explanations: interval arithmetic on what is known."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import Any, Final, NamedTuple

from django.db import connection

from .instants import instant, ms
from .models import BADNESS, Correction, Counts, Monitor, Overlay, Status, StatusPeriod
from .models.period import SUMMED

_NO_DATA: Final = Status.NO_DATA.value
NOT_WATCHED: Final = "not watched"
_BADNESS: Final[dict[str, int]] = {str(s): n for s, n in BADNESS.items()}
# So many periods are read and gone through; of more, only the sums are.
MOST_PERIODS: Final = 1500

# What share of the time with a status is counted as good, and what not at all.
_SHARES: Final[dict[str, dict[str, float]]] = {
    Counts.UP: {"up": 1, "degraded": 1, "partial": 1, "down": 0},
    Counts.HALF: {"up": 1, "degraded": 0.5, "partial": 0.5, "down": 0},
    Counts.DOWN: {"up": 1, "degraded": 0, "partial": 0, "down": 0},
}


class Segment(NamedTuple):
    """A stretch of time with one status.

    `shown` is what people see; `counted` is what enters uptime, and `cause` why.
    """

    begin: datetime
    end: datetime
    shown: str
    counted: str
    cause: str
    is_corrected: bool = False

    @property
    def seconds(self) -> float:
        return (self.end - self.begin).total_seconds()


@dataclass(slots=True)
class Day:
    """One day of a monitor, in seconds per shown status."""

    date: date
    seconds: dict[str, float] = field(default_factory=dict)
    ongoing: bool = False
    is_corrected: bool = False

    @property
    def worst(self) -> str:
        """The worst status of the day; up only if there was nothing else but gaps."""
        # Asked for every day of every monitor: no enum and no lambda here.
        found, most = _NO_DATA, -1
        for status, length in self.seconds.items():
            if length > 0 and (bad := _BADNESS[status]) > most:
                found, most = status, bad
        return found


# Laying one thing over another


def segments(
    periods: Sequence[StatusPeriod],
    overlays: Sequence[Overlay],
    begin: datetime,
    end: datetime,
    corrections: Sequence[Correction] = (),
) -> list[Segment]:
    """Lay overlays and corrections of one monitor over its periods.

    Maintenance lies over incident over what was checked; within one kind the
    worst wins. Corrections lie over all, the last one given on top. Time
    without a period is no_data.
    """
    base = _base(periods, begin, end)
    laid: list[Overlay | Correction] = [
        *(o for o in overlays if _touches(o, begin, end)),
        *(c for c in corrections if _touches(c, begin, end)),
    ]
    if not laid:
        return base
    found: list[Segment] = []
    waiting = sorted(laid, key=lambda one: one.started_at, reverse=True)
    over: list[Overlay | Correction] = []
    for piece in _cut(base, {b for o in laid for b in (o.started_at, o.ended_at)}):
        while waiting and waiting[-1].started_at <= piece.begin:
            over.append(waiting.pop())
        over = [o for o in over if o.ended_at is None or o.ended_at > piece.begin]
        found.append(_covered(piece, over) if over else piece)
    return found


def _touches(one: Overlay | Correction, begin: datetime, end: datetime) -> bool:
    return one.started_at < end and (one.ended_at is None or one.ended_at > begin)


def _cut(base: Iterable[Segment], bounds: set[datetime | None]) -> Iterable[Segment]:
    """Cut the segments wherever something begins or ends."""
    cuts = sorted((b for b in bounds if b is not None), reverse=True)
    for segment in base:
        begin = segment.begin
        while cuts and cuts[-1] < segment.end:
            cut = cuts.pop()
            if cut > begin:
                yield segment._replace(begin=begin, end=cut)
                begin = cut
        yield segment._replace(begin=begin)


def _covered(piece: Segment, over: Sequence[Overlay | Correction]) -> Segment:
    corrections = [o for o in over if isinstance(o, Correction)]
    if corrections:
        top = max(corrections, key=lambda c: (c.created_at, c.pk or 0))
        status = str(top.status)
        return piece._replace(
            shown=status, counted=status, cause=top.cause, is_corrected=True
        )
    overlays = [o for o in over if isinstance(o, Overlay)]
    top_shown = _top(overlays)
    counting = _top([o for o in overlays if o.counts])
    return piece._replace(
        shown=str(top_shown.status) if top_shown else piece.shown,
        counted=str(counting.status) if counting else piece.counted,
        cause=(counting or piece).cause,
    )


def shown(status: str, overlays: Iterable[Overlay]) -> str:
    """Return what people see of a status while these overlays lie over it."""
    top = _top(list(overlays))
    return str(top.status) if top else status


def _top(overlays: Sequence[Overlay]) -> Overlay | None:
    for kind in (Overlay.Kind.MAINTENANCE, Overlay.Kind.INCIDENT):
        of_kind = [o for o in overlays if o.kind == kind]
        if of_kind:
            return max(of_kind, key=lambda o: BADNESS[Status(o.status)])
    return None


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
            found.append(Segment(reached, left, _NO_DATA, _NO_DATA, NOT_WATCHED))
        status = str(period.status)
        found.append(Segment(left, right, status, status, period.cause))
        reached = right
    if reached < end:
        found.append(Segment(reached, end, _NO_DATA, _NO_DATA, NOT_WATCHED))
    return found


# Days


def midnights(first: date, days: int, zone: tzinfo) -> list[datetime]:
    """Return the `days` + 1 instants at which the days begin and the last ends.

    Each is computed in its own zone: a day may have 23 or 25 hours.
    """
    return [
        datetime.combine(first + timedelta(days=n), time(), tzinfo=zone)
        for n in range(days + 1)
    ]


@lru_cache(maxsize=32)
def _read_edges(
    edges: tuple[datetime, ...], first: date
) -> tuple[list[date], list[float]]:
    """The dates that begin at the edges, and all edges in seconds since 1970.

    The same for every monitor of a page. `first` tells zones a day apart from each
    other, whose edges are the same moments.
    """
    return [edge.date() for edge in edges[:-1]], [edge.timestamp() for edge in edges]


def by_day(found: Sequence[Segment], edges: Sequence[datetime]) -> list[Day]:
    """Share segments out among the days between the edges."""
    dates, stamps = _read_edges(tuple(edges), edges[0].date())
    days = [Day(date) for date in dates]
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
            if segment.is_corrected:
                days[m].is_corrected = True
    return days


# Percentages


def counted_seconds(found: Iterable[Segment]) -> dict[str, float]:
    """Return the seconds of each status as they enter uptime, all six of them."""
    seconds = {str(status): 0.0 for status in SUMMED}
    for s in found:
        seconds[s.counted] += s.seconds
    return seconds


def uptime(found: Iterable[Segment], counts: str = Counts.UP) -> float | None:
    """Return the percentage of the time that counts in which it was up.

    See `percentage`; rounded down to two digits.
    """
    return percentage(counted_seconds(found), counts, digits=2)


def percentage(
    seconds: Mapping[str, float], counts: str = Counts.UP, *, digits: int
) -> float | None:
    """Return the percentage of the time that counts in which it was up.

    Degraded and partial count as the monitor says; maintenance and no_data do
    not count at all. Rounded down, so that a failure never rounds to 100. None
    if no time counts.
    """
    shares = _SHARES[counts]
    counted = sum(seconds.get(s, 0.0) for s in shares)
    if not counted:
        return None
    good = sum(seconds.get(s, 0.0) * share for s, share in shares.items())
    scale = 10**digits
    # A nudge below the resolution of a second over years keeps 99.99 from
    # becoming 99.98 through floating point alone.
    return math.floor(good / counted * 100 * scale + 1e-9) / scale


class Explanation(NamedTuple):
    """A percentage with everything that it was computed from."""

    uptime: float | None
    seconds: dict[str, float]
    formula: str
    segments: list[Segment]


def explain(
    monitor: Monitor, begin: datetime, end: datetime, *, at: datetime
) -> Explanation:
    """Return the uptime of a monitor from `begin` until `end`, and why it is so.

    What lies after `at` is left out: it has not been yet.
    """
    end = max(begin, min(end, at))
    lines = _Lines([monitor.pk], begin, end)
    periods = lines.periods([monitor.pk])
    found = _joined(lines.segments(monitor.pk, periods))
    seconds = counted_seconds(found)
    counts = monitor.degraded_counts
    known = percentage(seconds, counts, digits=3)
    return Explanation(known, seconds, formula(seconds, counts), found)


def formula(seconds: Mapping[str, float], counts: str) -> str:
    """Say in one line how the percentage comes from the seconds."""
    shares = _SHARES[counts]
    good = " + ".join(
        f"{share:g} * {name}" if share < 1 else name
        for name, share in shares.items()
        if share
    )
    counted = " + ".join(shares)
    top = sum(seconds[name] * share for name, share in shares.items())
    bottom = sum(seconds[name] for name in shares)
    return (
        f"({good}) / ({counted}) = {_number(top)} s / {_number(bottom)} s; "
        "maintenance and no_data are left out"
    )


def _number(seconds: float) -> str:
    return f"{seconds:.3f}".rstrip("0").rstrip(".")


def _joined(found: Sequence[Segment]) -> list[Segment]:
    """Put neighbours together that say the same."""
    joined: list[Segment] = []
    for segment in found:
        if joined and joined[-1][2:] == segment[2:]:
            joined[-1] = joined[-1]._replace(end=segment.end)
        else:
            joined.append(segment)
    return joined


# Many monitors at once


class History(NamedTuple):
    """What a page needs of one monitor."""

    days: list[Day]
    uptime: float | None
    now: Segment


def of_monitors(
    ids: Iterable[int], *, at: datetime, zone: tzinfo, days: int = 90
) -> dict[int, History]:
    """Return the last days of each monitor, today included, in five queries at most.

    What a monitor did in days on which nothing lies over its checks is the
    difference of two sums, however often its status changed.
    """
    today = at.astimezone(zone).date()
    edges = midnights(today - timedelta(days=days - 1), days, zone)
    lines = _Lines(list(ids), edges[0], at)
    counts = _counts(lines.ids)
    periods, is_all = lines.few_periods()
    summed = [] if is_all else [pk for pk in lines.ids if not lines.is_covered(pk)]
    told = [pk for pk in lines.ids if pk not in set(summed)]
    if not is_all:
        periods = lines.periods(told)
    found = _of_sums(summed, edges, at, counts)
    for pk in told:
        line = lines.segments(pk, periods)
        spread = by_day(line, edges)
        if spread:
            spread[-1].ongoing = True
        found[pk] = History(spread, uptime(line, counts.get(pk, Counts.UP)), line[-1])
    return found


def _counts(ids: Sequence[int]) -> dict[int, str]:
    unusual = Monitor.objects.filter(pk__in=ids).exclude(degraded_counts=Counts.UP)
    return dict(unusual.values_list("pk", "degraded_counts"))


Periods = Mapping[int, Sequence[StatusPeriod]]


class _Lines:
    """What lies over some monitors between two moments; two queries to make."""

    def __init__(self, ids: Sequence[int], begin: datetime, end: datetime) -> None:
        self.ids, self.begin, self.end = list(ids), begin, end
        self._overlays: dict[int, list[Overlay]] = defaultdict(list)
        self._corrections: dict[int, list[Correction]] = defaultdict(list)
        for overlay in Overlay.objects.over(begin, end).filter(monitor__in=self.ids):
            self._overlays[overlay.monitor_id].append(overlay)
        corrections = Correction.objects.over(begin, end).filter(monitor__in=self.ids)
        for correction in corrections:
            self._corrections[correction.monitor_id].append(correction)

    def is_covered(self, pk: int) -> bool:
        return pk in self._overlays or pk in self._corrections

    def few_periods(self) -> tuple[Periods, bool]:
        """Read the periods of all, if they are few; say whether these are all."""
        read = list(self._touching(self.ids)[: MOST_PERIODS + 1])
        return _by_monitor(read), len(read) <= MOST_PERIODS

    def periods(self, ids: Sequence[int]) -> Periods:
        return _by_monitor(self._touching(ids)) if ids else {}

    def _touching(self, ids: Sequence[int]) -> Any:
        touching = StatusPeriod.objects.filter(
            monitor__in=ids, started_at__lt=self.end
        ).exclude(ended_at__lte=self.begin)
        plain = touching.only("monitor", "status", "started_at", "ended_at", "cause")
        return plain.order_by("monitor_id", "started_at", "pk")

    def segments(self, pk: int, periods: Periods) -> list[Segment]:
        return segments(
            periods.get(pk, ()),
            self._overlays.get(pk, ()),
            self.begin,
            self.end,
            self._corrections.get(pk, ()),
        )


def _by_monitor(periods: Iterable[StatusPeriod]) -> dict[int, list[StatusPeriod]]:
    found: dict[int, list[StatusPeriod]] = defaultdict(list)
    for period in periods:
        found[period.monitor_id].append(period)
    return found


# The period in which each monitor was at each edge, with the sums before it.
_AT_EDGES: Final = """
WITH edges (number, at) AS (VALUES {edges})
SELECT monitor.id, edges.number, period.status, period.started_at, {sums}
FROM monitors_monitor AS monitor CROSS JOIN edges
JOIN monitors_statusperiod AS period ON period.id = (
    SELECT known.id FROM monitors_statusperiod AS known
    WHERE known.monitor_id = monitor.id AND known.started_at <= edges.at
    ORDER BY known.started_at DESC, known.id DESC LIMIT 1
)
WHERE monitor.id IN ({ids})
ORDER BY monitor.id, edges.number
"""
_NAMES: Final = tuple(str(status) for status in SUMMED)
_Sums = tuple[float, ...]


def _of_sums(
    ids: Sequence[int],
    edges: Sequence[datetime],
    at: datetime,
    counts: Mapping[int, str],
) -> dict[int, History]:
    if not ids:
        return {}
    moments = [min(ms(edge), ms(at)) for edge in edges]
    rows = _at_edges(ids, moments)
    return {
        pk: _from_sums(rows.get(pk, {}), edges, moments, counts.get(pk, Counts.UP))
        for pk in ids
    }


def _at_edges(
    ids: Sequence[int], moments: Sequence[int]
) -> dict[int, dict[int, tuple[str, _Sums]]]:
    """Return status and milliseconds of each status before, by monitor and edge."""
    sql = _AT_EDGES.format(
        edges=", ".join(f"({n}, {moment})" for n, moment in enumerate(moments)),
        sums=", ".join(f"period.before_{name}" for name in _NAMES),
        ids=", ".join(["%s"] * len(ids)),
    )
    found: dict[int, dict[int, tuple[str, _Sums]]] = defaultdict(dict)
    place = {name: n for n, name in enumerate(_NAMES)}
    with connection.cursor() as cursor:
        cursor.execute(sql, list(ids))
        for pk, number, status, started_at, *sums in cursor.fetchall():
            sums[place[status]] += moments[number] - started_at
            found[pk][number] = status, tuple(sums)
    return found


def _from_sums(
    known: Mapping[int, tuple[str, _Sums]],
    edges: Sequence[datetime],
    moments: Sequence[int],
    counts: str,
) -> History:
    nothing = (_NO_DATA, (0,) * len(_NAMES))
    days = []
    for n, edge in enumerate(edges[:-1]):
        before, after = known.get(n, nothing)[1], known.get(n + 1, nothing)[1]
        seconds = _difference(before, after, moments[n + 1] - moments[n])
        days.append(Day(edge.date(), seconds))
    days[-1].ongoing = True
    last = len(edges) - 1
    first, (status, end) = known.get(0, nothing)[1], known.get(last, nothing)
    whole = _difference(first, end, moments[last] - moments[0])
    now = instant(moments[last])
    return History(
        days,
        percentage(whole, counts, digits=2),
        Segment(now, now, status, status, ""),
    )


def _difference(before: _Sums, after: _Sums, length: int) -> dict[str, float]:
    """Return the seconds of each status; what nobody watched is no_data."""
    parts = [b - a for a, b in zip(before, after, strict=True)]
    found = {name: n / 1000 for name, n in zip(_NAMES, parts, strict=True) if n}
    if unwatched := length - sum(parts):
        found[_NO_DATA] = found.get(_NO_DATA, 0.0) + unwatched / 1000
    return found
