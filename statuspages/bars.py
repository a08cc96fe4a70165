"""Ninety days of a monitor as one small drawing, and the same in words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby
from typing import Final, NamedTuple

from monitors.history import Day
from monitors.models import Status

from .words import LOOKS, short

# A day is 6 units wide, 4 of them drawn; a good day stands from 8 to 24 of 32.
STEP: Final = 6
HEIGHT: Final = 32
_FOOT: Final = 24
_GOOD: Final = 16
# The least and the greatest height of a day in which this was the worst.
_HEIGHTS: Final = {
    Status.DEGRADED: (18, 24),
    Status.MAINTENANCE: (18, 24),
    Status.PARTIAL: (20, 28),
    Status.DOWN: (22, 32),
}
_LETTERS: Final = {"up": "u", "degraded": "d", "down": "x", "maintenance": "m"}
# Unwatched time below this does not make a good day's bar shorter.
_A_GAP: Final = timedelta(minutes=30)


class Bar(NamedTuple):
    """One stroke of the drawing; `when` and `what` say it in words if it matters."""

    letter: str
    path: str
    when: str
    what: str


@dataclass(frozen=True, slots=True)
class Bars:
    strokes: list[Bar]
    width: int
    summary: str

    @property
    def told(self) -> list[Bar]:
        """What the table says, newest first."""
        return [bar for bar in reversed(self.strokes) if bar.what]


def draw(days: Sequence[Day]) -> Bars:
    """Draw the days: equal ones in a row are one stroke, any other has its own."""
    strokes: list[Bar] = []
    numbered = list(enumerate(days))
    for (kind, is_corrected), run in groupby(numbered, lambda pair: _kind(pair[1])):
        stretch = list(run)
        first, last = stretch[0], stretch[-1]
        if kind == "u" and not is_corrected:
            strokes.append(Bar("u", _line(first[0], last[0], 16), "", ""))
        elif kind == "n":
            when = _span(first[1].date, last[1].date)
            what = _marked("No data", first[1])
            strokes.append(Bar("n", _line(first[0], last[0], 22), when, what))
        else:
            strokes += [_bar(n, day) for n, day in stretch]
    return Bars(strokes, len(days) * STEP, _summary(days))


def _kind(day: Day) -> tuple[str, bool]:
    """What may be drawn as one with others; what was corrected never with the rest."""
    worst = day.worst
    if worst == Status.NO_DATA:
        return "n", day.is_corrected
    if worst != Status.UP:
        return "other", day.is_corrected
    is_whole = Status.NO_DATA not in day.seconds or _gap(day) < _A_GAP
    return "u" if is_whole else "other", day.is_corrected


def _marked(words: str, day: Day) -> str:
    return f"{words}, corrected" if day.is_corrected else words


def _gap(day: Day) -> timedelta:
    return timedelta(seconds=day.seconds.get(Status.NO_DATA, 0.0))


def _line(first: int, last: int, y: int) -> str:
    return f"M{first * STEP} {y}H{(last + 1) * STEP}"


def _bar(n: int, day: Day) -> Bar:
    x, look = n * STEP + 2, LOOKS[day.worst]
    when = _date(day.date)
    if look == Status.UP:
        # As much of a good day's bar as somebody was looking.
        is_whole = _gap(day) < _A_GAP
        share = 1 if is_whole else day.seconds[Status.UP] / sum(day.seconds.values())
        height = max(4, round(_GOOD * share))
        what = "Up" if is_whole else f"Up, no data for {short(_gap(day))}"
        path = f"M{x} {_FOOT - height}v{height}"
        return Bar("g", path, when, _marked(what, day))
    height = _height(day)
    top = (HEIGHT - height) // 2
    if look == Status.DEGRADED:
        half = height // 2 - 2
        path = f"M{x} {top}v{half}m0 4v{half}"
    else:
        path = f"M{x} {top}v{height}"
    return Bar(_LETTERS[look], path, when, _words(day))


def _height(day: Day) -> int:
    """Severity sets the range, and how long it lasted the place in it.

    The scale is logarithmic: six minutes and six hours are told apart.
    """
    least, most = _HEIGHTS[Status(day.worst)]
    minutes = day.seconds[day.worst] / 60
    share = min(1.0, math.log1p(minutes) / math.log1p(24 * 60))
    return least + 2 * round((most - least) / 2 * share)


def _words(day: Day) -> str:
    """Say what was wrong that day, the worst first."""
    told = []
    for status in (
        Status.DOWN,
        Status.PARTIAL,
        Status.DEGRADED,
        Status.MAINTENANCE,
        Status.NO_DATA,
    ):
        length = timedelta(seconds=day.seconds.get(status, 0.0))
        if status == Status.NO_DATA and length < _A_GAP:
            continue
        if length > timedelta(0):
            told.append(f"{status.label} {short(length)}")
    return _marked(", ".join(told) + (" so far" if day.ongoing else ""), day)


def _summary(days: Sequence[Day]) -> str:
    counts: dict[str, int] = {}
    for day in days:
        worst = day.worst
        counts[worst] = counts.get(worst, 0) + 1
    order = sorted(Status, key=lambda s: (s != Status.UP, s == Status.NO_DATA))
    told = [f"{counts[s]} {s.label.lower()}" for s in order if s in counts]
    if corrected := sum(day.is_corrected for day in days):
        told.append(f"{corrected} of them corrected")
    return ", ".join(told)


def _date(day: date) -> str:
    return f"{day.day} {day:%B}"


def _span(first: date, last: date) -> str:
    if first == last:
        return _date(first)
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day} to {_date(last)}"
    return f"{_date(first)} to {_date(last)}"
