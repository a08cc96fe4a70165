"""Lines over time as drawings that a browser needs no script for.

The drawing stretches with the page, so all of its coordinates are hundredths of
its width and height, from the top left; its labels are text beside it.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple

# What is not known at a moment is None: there the line is broken.
Values = Sequence[float | None]
Say = Callable[[float], str]

# So far apart two labels at the ends of lines have to be to be read.
APART: Final = 10.0
# So wide a gap has to be for words to fit into it.
WORDS_FIT: Final = 12.0


class Mark(NamedTuple):
    """A word at some place along an edge."""

    at: str
    text: str


class Line(NamedTuple):
    look: str
    path: str


class Span(NamedTuple):
    """A stretch of time: where it begins, how wide it is, where its middle is."""

    left: str
    width: str
    middle: str


@dataclass(slots=True)
class Plot:
    """One drawing, and what it says in words to those who do not see it."""

    name: str
    title: str
    about: str
    summary: str
    levels: list[Mark] = field(default_factory=list)
    moments: list[Mark] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    labels: list[Mark] = field(default_factory=list)
    area: str = ""
    limit: str = ""
    limit_said: str = ""
    over: list[Span] = field(default_factory=list)
    gaps: list[Span] = field(default_factory=list)


def draw(
    plot: Plot,
    lines: dict[str, Values],
    moments: list[Mark],
    say: Say,
    limit: float | None = None,
) -> Plot:
    """Draw the lines, the lowest first; the last is the one the limit holds for."""
    *_, lower, upper = ([], *lines.values())
    top = nice(max(known(upper), default=0.0))
    plot.levels = [Mark(place(y, top), say(y)) for y in (0.0, top / 2, top)]
    plot.moments = moments
    plot.lines = [Line(look, path(values, top)) for look, values in lines.items()]
    plot.labels = ends(lines, top) if len(lines) > 1 else []
    plot.area = area(lower or [None if v is None else 0.0 for v in upper], upper, top)
    gaps = spans([v is None for v in upper])
    plot.gaps = [gap for gap in gaps if float(gap.width) >= WORDS_FIT]
    if limit is not None:
        plot.limit = place(limit, top) if limit <= top else ""
        plot.limit_said = say(limit)
        plot.over = spans([v is not None and v > limit for v in upper])
    return plot


def known(values: Values) -> list[float]:
    return [v for v in values if v is not None]


def nice(most: float) -> float:
    """Return the least number of one figure, or 10, whose half is no worse."""
    if most <= 0:
        return 1.0
    size = 10.0 ** math.floor(math.log10(most))
    return next(n * size for n in (1, 2, 4, 6, 8, 10, 20) if n * size >= most)


def place(value: float, top: float) -> str:
    """Where a value is, from above."""
    return f"{100 - 100 * value / top:.2f}"


def across(position: float, count: int) -> str:
    return f"{100 * position / count:.2f}"


def runs(wanted: Sequence[bool]) -> list[range]:
    """Return the stretches of positions that are wanted."""
    found: list[range] = []
    for n, is_wanted in enumerate(wanted):
        if is_wanted and found and found[-1].stop == n:
            found[-1] = range(found[-1].start, n + 1)
        elif is_wanted:
            found.append(range(n, n + 1))
    return found


def path(values: Values, top: float) -> str:
    """A line through what is known; a moment alone is as wide as it lasted."""
    pieces, step = [], across(1, len(values) or 1)
    for run in runs([v is not None for v in values]):
        if len(run) > 1:
            pieces.append("M" + "L".join(_points(run, values, top)))
        else:
            alone = values[run.start] or 0.0
            left = across(run.start, len(values))
            pieces.append(f"M{left} {place(alone, top)}h{step}")
    return "".join(pieces)


def area(lower: Values, upper: Values, top: float) -> str:
    """What lies between two lines."""
    pieces = []
    for run in runs([v is not None for v in upper]):
        there, back = _points(run, upper, top), _points(run, lower, top)[::-1]
        pieces.append(f"M{'L'.join([*there, *back])}z")
    return "".join(pieces)


def _points(run: Iterable[int], values: Values, top: float) -> list[str]:
    return [
        f"{across(n + 0.5, len(values))} {place(values[n] or 0.0, top)}" for n in run
    ]


def spans(wanted: Sequence[bool]) -> list[Span]:
    count = len(wanted)
    return [
        Span(
            across(run.start, count),
            across(len(run), count),
            across(run.start + len(run) / 2, count),
        )
        for run in runs(wanted)
    ]


def ends(lines: dict[str, Values], top: float) -> list[Mark]:
    """The name of each of two lines beside its end, one above the other."""
    last = {look: values[-1] for look, values in lines.items() if values}
    if len(last) < 2 or None in last.values():
        return []
    (low, low_value), (high, high_value) = last.items()
    below, above = (100 - 100 * (v or 0.0) / top for v in (low_value, high_value))
    lacking = max(0.0, APART - (below - above)) / 2
    below, above = below + lacking, above - lacking
    return [Mark(f"{below:.2f}", low), Mark(f"{above:.2f}", high)]


def clock(begin: datetime, end: datetime, every: int) -> list[Mark]:
    """The times of day between two moments, each so many whole minutes."""
    first = math.ceil(begin.timestamp() / (60 * every)) * 60 * every
    return [
        Mark(
            f"{100 * (at - begin.timestamp()) / (end - begin).total_seconds():.2f}",
            f"{datetime.fromtimestamp(at, begin.tzinfo):%H:%M}",
        )
        for at in range(first, int(end.timestamp()) + 1, 60 * every)
    ]
