"""The page that shows what a monitor's uptime is made of."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from access import desk

from . import history, timeline
from .forms import RangeForm
from .history import Explanation, Segment
from .models import Counts, Monitor, Status
from .panels import correct_address, percent, status_of
from .timeline import Timeline

MOST_ROWS: Final = 500
RANGES: Final = {
    "24h": ("24 hours", timedelta(hours=24)),
    "7d": ("7 days", timedelta(days=7)),
    "30d": ("30 days", timedelta(days=30)),
    "90d": ("90 days", timedelta(days=90)),
}
USUAL: Final = "24h"
# Whose doing it is, where that is a thing with a page of its own.
_TOPIC: Final = re.compile(r"[a-z]+:\d+")
_COUNTS_AS: Final = {
    Counts.UP: "as up",
    Counts.HALF: "half as up, half as down",
    Counts.DOWN: "as down",
}


class Share(NamedTuple):
    """How much there was of one status, and what that means for the percentage."""

    status: SafeString
    length: str
    seconds: str
    counts: str


class Page(NamedTuple):
    """What the page says of one stretch of time."""

    headline: str
    begin: datetime
    end: datetime
    formula: str
    drawing: Timeline
    shares: list[Share]
    intervals: str


class Choice(NamedTuple):
    """A usual stretch of time to look at."""

    where: str
    words: str
    is_chosen: bool


def context_of(request: HttpRequest, monitor: Monitor, at: datetime) -> dict[str, Any]:
    """Read what was asked for; nothing is explained if that makes no sense."""
    asked = request.GET.get("range", "")
    is_own = asked not in RANGES and ("begin" in request.GET or "end" in request.GET)
    length = RANGES[asked if asked in RANGES else USUAL][1]
    begin, end = at - length, at
    form = RangeForm(at=at, initial=_whole(begin, end))
    if is_own:
        form = RangeForm(request.GET, at=at)
        if not form.is_valid():
            return {"form": form, "choices": choices(""), "page": None}
        begin, end = form.cleaned_data["begin"], min(form.cleaned_data["end"], at)
    chosen = "" if is_own else (asked if asked in RANGES else USUAL)
    page = explain(request, monitor, begin, end, at)
    return {"form": form, "choices": choices(chosen), "page": page}


def _whole(begin: datetime, end: datetime) -> dict[str, datetime]:
    """To the second: nobody has asked for more yet."""
    said = {"begin": begin, "end": end}
    return {name: at.replace(microsecond=0) for name, at in said.items()}


def choices(chosen: str) -> list[Choice]:
    return [
        Choice(f"?range={key}", words, key == chosen)
        for key, (words, _) in RANGES.items()
    ]


def explain(
    request: HttpRequest, monitor: Monitor, begin: datetime, end: datetime, at: datetime
) -> Page:
    found = history.explain(monitor, begin, end, at=at)
    degraded = _COUNTS_AS[Counts(monitor.degraded_counts)]
    return Page(
        headline(monitor, found),
        begin,
        end,
        found.formula,
        timeline.draw(found.segments, begin, end),
        shares(found, degraded),
        intervals(request, monitor, found.segments, at),
    )


def headline(monitor: Monitor, found: Explanation) -> str:
    if found.uptime is None:
        return f"Nobody knows how {monitor} was"
    return f"{monitor} was up {percent(found.uptime)} of the time"


def shares(found: Explanation, degraded: str) -> list[Share]:
    counts = {
        Status.UP: "as up",
        Status.DEGRADED: degraded,
        Status.PARTIAL: degraded,
        Status.DOWN: "as down",
    }
    return [
        Share(
            status_of(status),
            desk.length(seconds),
            f"{seconds:,.3f}".rstrip("0").rstrip("."),
            counts.get(status, "not at all"),
        )
        for status in Status
        for seconds in [found.seconds.get(status, 0.0)]
    ]


def intervals(
    request: HttpRequest, monitor: Monitor, found: Sequence[Segment], at: datetime
) -> str:
    """All that the percentage is made of, newest first."""
    may_correct = request.user.has_perm("monitors.add_correction")
    newest = found[: -MOST_ROWS - 1 : -1]
    heads = ["From", "Until", "Length", "Status", "Because"]
    rows = [_row(segment, at) for segment in newest]
    if may_correct:
        heads.append(mark_safe('<span class="visually-hidden">Action</span>'))
        for segment, row in zip(newest, rows, strict=True):
            row.append(_correct(monitor, segment))
    left_out = len(found) - len(newest)
    note = f"Newest first; {len(found):,} in all"
    if left_out:
        note = f"The newest {MOST_ROWS}; {left_out:,} older ones are left out"
    return desk.table("Intervals", heads, rows, note=note)


def _row(segment: Segment, at: datetime) -> list[object]:
    return [
        desk.moment(segment.begin),
        desk.moment(segment.end) if segment.end < at else "now",
        _lasting(segment),
        _status(segment),
        _cause(segment.cause),
    ]


def _lasting(segment: Segment) -> SafeString:
    machine, words = f"PT{segment.seconds:.3f}S", desk.length(segment.seconds)
    return format_html('<time datetime="{}">{}</time>', machine, words)


def _status(segment: Segment) -> SafeString:
    marks = []
    if segment.counted != segment.shown:
        marks.append(f"counted as {Status(segment.counted).label}")
    if segment.is_corrected:
        marks.append("corrected")
    status = status_of(segment.shown)
    if not marks:
        return status
    return format_html("{}<small>{}</small>", status, ", ".join(marks))


def _cause(cause: str) -> str | SafeString:
    return desk.topic(cause) if _TOPIC.fullmatch(cause) else cause or desk.NOTHING


def _correct(monitor: Monitor, segment: Segment) -> SafeString:
    return format_html(
        '<a href="{}">Correct…<span class="visually-hidden"> what was from {}</span>'
        "</a>",
        correct_address(monitor, segment.begin, segment.end),
        desk.moment(segment.begin),
    )
