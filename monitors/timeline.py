"""What a monitor was, from when until when, as one drawing.

A browser needs no script for it and stretches nothing: all that lies across is
a share of the width. Height is severity, as in the bars of the status page.
"""

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Final, NamedTuple, TypeVar

from access import desk

from .history import Day, Segment, by_day
from .instants import EPOCH
from .models import BADNESS, Status

T = TypeVar("T")
# From where and how far something reaches down a lane.
Shapes = tuple[tuple[int, int], ...]

# So many parts are told apart. Each takes its worst status, so that an outage of
# a minute is seen in ninety days too.
PARTS: Final = 320
_LANE: Final = 32
_NAME: Final = 22
_MARK: Final = 10
_MOST_TICKS: Final = 8

_SHAPES: Final[dict[str, Shapes]] = {
    "up": ((8, 16),),
    "degraded": ((4, 10), (18, 10)),
    "down": ((0, 32),),
    "maintenance": ((4, 24),),
    "no_data": ((20, 4),),
}
KEY: Final = [(look, str(Status(look).label), _SHAPES[look]) for look in _SHAPES]
_STEPS: Final = (
    *(timedelta(minutes=n) for n in (1, 5, 15, 30)),
    *(timedelta(hours=n) for n in (1, 3, 6, 12)),
    *(timedelta(days=n) for n in (1, 2, 7, 14, 28)),
)


class Stroke(NamedTuple):
    """A stretch that looks the same; `says` is the same in words."""

    x: str
    width: str
    says: str
    look: str = ""
    shapes: Shapes = ()


class Lane(NamedTuple):
    """One line of strokes; `top` is where it begins."""

    name: str
    top: int
    strokes: list[Stroke]


class Tick(NamedTuple):
    x: str
    text: str


class Timeline(NamedTuple):
    """The drawing; `summary` is what it says in words."""

    lanes: list[Lane]
    corrected: list[Stroke]
    ticks: list[Tick]
    height: int
    summary: str
    key: Sequence[tuple[str, str, Shapes]] = KEY


def draw(found: Sequence[Segment], begin: datetime, end: datetime) -> Timeline:
    """Draw what entered uptime and, where people saw something else, that too."""
    part = (end - begin) / PARTS
    edges = [*(begin + n * part for n in range(PARTS)), end]
    counted = [s._replace(shown=s.counted) for s in found]
    told = {"": counted}
    if any(s.shown != s.counted for s in found):
        told = {"What counts": counted, "What people saw": list(found)}
    lanes, reached = [], 0
    for name, line in told.items():
        top = reached + (_NAME if name else 0)
        lanes.append(Lane(name, top, strokes(by_day(line, edges), edges)))
        reached = top + _LANE + _MARK
    marks = corrected(by_day(found, edges), edges)
    return Timeline(lanes, marks, ticks(begin, end), reached, summary(counted))


def strokes(parts: Sequence[Day], edges: Sequence[datetime]) -> list[Stroke]:
    found = []
    for status, run in _runs([_status(part) for part in parts]):
        length = desk.length(sum(parts[n].seconds.get(status, 0) for n in run))
        x, width, when = _place(run, edges)
        says = f"{Status(status).label} {length}, {when}"
        look = "degraded" if status == Status.PARTIAL else status
        found.append(Stroke(x, width, says, look, _SHAPES[look]))
    return found


def corrected(parts: Sequence[Day], edges: Sequence[datetime]) -> list[Stroke]:
    """Where something was corrected, as marks below the lanes."""
    found = []
    for is_corrected, run in _runs([part.is_corrected for part in parts]):
        if is_corrected:
            x, width, when = _place(run, edges)
            found.append(Stroke(x, width, f"Corrected, {when}"))
    return found


def _status(part: Day) -> str:
    """The worst status; whether somebody looked, by what there is more of."""
    seconds, worst = part.seconds, str(part.worst)
    if worst == "up" and seconds.get("no_data", 0.0) > seconds["up"]:
        return "no_data"
    return worst


def _runs(values: Sequence[T]) -> Iterable[tuple[T, range]]:
    """Return equal values in a row as one, with where they stand."""
    for value, run in groupby(range(len(values)), lambda n: values[n]):
        numbers = list(run)
        yield value, range(numbers[0], numbers[-1] + 1)


def _place(run: range, edges: Sequence[datetime]) -> tuple[str, str, str]:
    x, width = _share(run.start / PARTS), _share(len(run) / PARTS)
    return x, width, _span(edges[run.start], edges[run.stop])


def _share(part: float) -> str:
    return f"{100 * part:.6g}%"


def _span(begin: datetime, end: datetime) -> str:
    begin, end = begin.astimezone(UTC), end.astimezone(UTC)
    until = f"{end:%H:%M}" if begin.date() == end.date() else _moment(end)
    return f"{_moment(begin)} to {until} UTC"


def _moment(at: datetime) -> str:
    return f"{at.day} {at:%b %H:%M}"


def summary(found: Sequence[Segment]) -> str:
    """Say in words how much there was of each status, the worst first."""
    told = []
    for status in sorted(Status, key=lambda s: BADNESS[s], reverse=True):
        lengths = [s.seconds for s in found if s.shown == status]
        if lengths:
            times = "" if len(lengths) == 1 else f" in {len(lengths)} stretches"
            told.append(f"{status.label.lower()} {desk.length(sum(lengths))}{times}")
    return ", ".join(told)


def ticks(begin: datetime, end: datetime) -> list[Tick]:
    """Round moments between the two, few enough to be read."""
    step = _step(end - begin)
    first = math.ceil((begin - EPOCH) / step)
    found = []
    for n in range(first, first + _MOST_TICKS + 1):
        at = EPOCH + n * step
        share = (at - begin) / (end - begin)
        # What would hang over an edge is left out.
        if 0.02 <= share <= 0.98:
            found.append(Tick(_share(share), _tick(at, step)))
    return found


def _step(length: timedelta) -> timedelta:
    fit = (step for step in _STEPS if length / step <= _MOST_TICKS)
    return next(fit, timedelta(days=math.ceil(length.days / _MOST_TICKS) + 1))


def _tick(at: datetime, step: timedelta) -> str:
    if step < timedelta(days=1) and (at.hour or at.minute):
        return f"{at:%H:%M}"
    return f"{at.day} {at:%b}" if step <= timedelta(days=28) else f"{at:%b %Y}"
