"""What stands below a monitor's form: how it is, and how it came to be so."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from access import desk, plots

from . import history, latency
from .checkers import Outcome
from .checkers.base import kept as what_is_kept
from .instants import instant
from .models import (
    CheckResult,
    Correction,
    FailureEpisode,
    Monitor,
    Status,
    StatusPeriod,
)

SHOWN: Final = 20
EPISODES: Final = 5
STEP: Final = timedelta(minutes=15)
STEPS: Final = 96


# Words


def shown_status(monitor: Monitor) -> SafeString:
    """The status as it is now, or why there is none."""
    return desk.state(*_shown(monitor))


def _shown(monitor: Monitor) -> tuple[str, str]:
    if monitor.retired_at:
        return "no_data", "Deleted"
    if not monitor.is_active:
        return "no_data", "Paused"
    return monitor.state.status, str(Status(monitor.state.status).label)


def status_of(status: str) -> SafeString:
    return desk.state(status, str(Status(status).label))


def unconfirmed(monitor: Monitor) -> str:
    """What the newest check saw, if that is not shown yet."""
    state = monitor.state
    if not state.unconfirmed_count or state.raw_status == state.status:
        return ""
    seen, needed = Status(state.raw_status).label, monitor.confirmations
    return f"{seen}, not yet confirmed: {state.unconfirmed_count} of {needed}"


def milliseconds(latency: float | None) -> str | SafeString:
    return desk.NOTHING if latency is None else f"{latency:,.0f} ms"


def short(latency: float) -> str:
    """Milliseconds where they may be few or many."""
    if latency >= 100_000:
        return f"{latency / 1000:,.0f} s"
    if latency >= 1000:
        return f"{latency / 1000:.3g} s"
    return f"{latency:.2g} ms" if latency < 10 else f"{latency:,.0f} ms"


def named(phase: str) -> str:
    return phase.replace("_", " ")


def in_words(phases: Mapping[str, float]) -> str:
    return ", ".join(f"{named(name)} {short(took)}" for name, took in phases.items())


def percent(uptime: float | None) -> str:
    if uptime is None:
        return "\N{EN DASH}"
    return f"{uptime:.3f}".rstrip("0").rstrip(".") + "%"


def explained_address(
    monitor: Monitor, begin: datetime | None = None, end: datetime | None = None
) -> str:
    """The page that explains a monitor's uptime, of this time if it is given."""
    page = reverse("admin:monitors_monitor_explained", args=[monitor.pk])
    if begin is None or end is None:
        return page
    return f"{page}?{urlencode({'begin': typed(begin), 'end': typed(end)})}"


def correct_address(
    monitor: Monitor, begin: datetime | None = None, end: datetime | None = None
) -> str:
    """The form that corrects a monitor's history, with this time filled in."""
    given = {"monitor": str(monitor.pk)}
    if begin and end:
        # Rounded to the outside: nothing of it may be left.
        end += timedelta(microseconds=999)
        given |= {"started_at": typed(begin), "ended_at": typed(end)}
    add = reverse("admin:monitors_correction_add")
    return f"{add}?{urlencode(given)}"


def typed(at: datetime) -> str:
    """A moment as browsers' own fields write it, to the millisecond, in UTC."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")


# How it stands


class Figure(NamedTuple):
    """One fact in large; `look` is the status it stands in, if any."""

    value: str
    words: str | SafeString
    small: str | SafeString = ""
    look: str = ""
    where: str = ""


def figures(monitor: Monitor, at: datetime) -> list[Figure]:
    """How a monitor is, above its form."""
    state = monitor.state
    look, word = _shown(monitor)
    since = format_html("since {}", desk.moment(state.since))
    checked = state.checked_at
    due = state.due_at
    day = history.explain(monitor, at - timedelta(days=1), at, at=at)
    return [
        Figure(
            word,
            since,
            unconfirmed(monitor),
            "degraded" if look == Status.PARTIAL else look,
        ),
        Figure(
            percent(day.uptime),
            "uptime in 24 hours",
            "Explain it",
            where=explained_address(monitor),
        ),
        Figure(milliseconds(state.latency_ms), "latency of the last check"),
        Figure(
            desk.since(checked) if checked else desk.NOTHING,
            "last check",
            desk.moment(checked) if checked else "",
        ),
        Figure(
            desk.due(due) if due else desk.NOTHING,
            "next check",
            desk.moment(due) if due else "",
        ),
    ]


# What depends on what


def relations(request: HttpRequest, monitor: Monitor) -> str:
    rows = [
        *_related(monitor.parents.all(), "a parent: it depends on that"),
        *_related(monitor.children.all(), "a child: that depends on it"),
    ]
    return desk.table(
        "Parents and children",
        ["Monitor", "Status", "Is"],
        rows,
        note="While a parent is down, failures of its children are its consequences",
    )


def _related(found: QuerySet[Monitor], role: str) -> Iterable[Sequence[object]]:
    near = list(found.select_related("state")[: SHOWN + 1])
    for other in near[:SHOWN]:
        yield [desk.link(other), shown_status(other), role]
    if len(near) > SHOWN:
        yield ["and others", "", role]


# Latency


def latencies(request: HttpRequest, monitor: Monitor) -> str:
    """The last 24 hours as a drawing, and as a table for whom that says nothing."""
    now = timezone.now()
    end = instant(_next_step(now))
    begin = end - STEPS * STEP
    seconds = int(STEP.total_seconds())
    try:
        points = latency.points(monitor, begin, end, seconds, at=now)
    except latency.StepInvalid:  # results are kept for less than a day
        return ""
    context = {
        "rows": [_latency_row(point) for point in reversed(points)],
        "plot": _plot(points, begin, end) if points else None,
    }
    return render_to_string("admin/monitors/monitor/latency.html", context)


def _latency_row(point: latency.Point) -> Sequence[object]:
    lengths = (short(value) for value in (point.p50, point.p95, point.max))
    return [desk.moment(point.at), point.count, *lengths]


def _next_step(at: datetime) -> int:
    """The end of the quarter of an hour that runs, in milliseconds since 1970."""
    width = int(STEP.total_seconds())
    return (int(at.timestamp()) // width + 1) * width * 1000


def _plot(
    points: Sequence[latency.Point], begin: datetime, end: datetime
) -> plots.Plot:
    p50: list[float | None] = [None] * STEPS
    p95: list[float | None] = [None] * STEPS
    for point in points:
        n = (point.at - begin) // STEP
        p50[n], p95[n] = point.p50, point.p95
    return plots.draw(
        plots.Plot("latency", "Latency", "", _said(p50, p95)),
        {"p50": p50, "p95": p95},
        plots.clock(begin, end, 180),
        short,
    )


def _said(p50: plots.Values, p95: plots.Values) -> str:
    told = []
    for words, values in (
        ("Half of the answers took no longer than", plots.known(p50)),
        ("95 of 100 no longer than", plots.known(p95)),
    ):
        told.append(f"{words} {short(min(values))} to {short(max(values))}")
    missing = sum(value is None for value in p50)
    without = f" There was no answer in {missing} of {STEPS} quarters of an hour."
    return ", ".join(told) + "." + (without if missing else "")


# Checks


def results(request: HttpRequest, monitor: Monitor) -> str:
    newest = list(monitor.results.select_related("checked_by")[:SHOWN])
    longest = max((r.latency_ms or 0.0 for r in newest), default=0.0)
    return desk.table(
        "Latest checks",
        ["At", "Status", "Latency", "By", "Phases, and what was wrong"],
        (result_row(result, longest) for result in newest),
        note=f"The last {SHOWN}; each bar is as long as its share of the slowest",
        empty="It has not been checked yet.",
    )


def result_row(result: CheckResult, longest: float) -> Sequence[object]:
    marked = {
        "history: no rule read it": not result.position,
        "a consequence of a parent": result.is_consequence,
    }
    marks = ", ".join(words for words, is_so in marked.items() if is_so)
    small = format_html("<small>{}</small>", marks) if marks else ""
    return [
        desk.moment(result.checked_at),
        format_html("{}{}", status_of(result.status), small),
        milliseconds(result.latency_ms),
        result.checked_by or desk.NOTHING,
        format_html("{}{}", result.error, phases(result.phases, longest)),
    ]


def phases(found: Mapping[str, float], longest: float) -> SafeString:
    """A bar, as long as its share of the longest check, and the same in words."""
    if not found or not longest:
        return SafeString()
    parts, reached = [], 0.0
    for name, took in found.items():
        width = 100 * took / longest
        parts.append((name, f"{reached:.4g}%", f"{width:.4g}%"))
        reached += width
    bar = format_html_join(
        "", '<rect class="{}" x="{}" width="{}" height="8"></rect>', parts
    )
    return format_html(
        '<svg class="phases" aria-hidden="true">{}</svg><small>{}</small>',
        bar,
        in_words(found),
    )


# Failures


class Answer(NamedTuple):
    """What is kept of one failing observation."""

    title: str
    at: datetime
    status: SafeString
    reason: str
    code: int | None
    headers: list[tuple[str, str]]
    body: str


class Episode(NamedTuple):
    began_at: datetime
    last_at: datetime
    lasted: str
    answers: list[Answer]
    is_open: bool


def episodes(request: HttpRequest, monitor: Monitor) -> str:
    """What targets answered; only for those who operate, it may say much."""
    if not request.user.has_perm("monitors.change_monitor"):
        return ""
    newest = monitor.episodes.all()[:EPISODES]
    since = monitor.state.failing_since
    told = [episode(one, is_open=one.began_at == since) for one in newest]
    if not told:
        return ""
    context = {"episodes": told}
    return render_to_string("admin/monitors/monitor/episodes.html", context)


def episode(found: FailureEpisode, *, is_open: bool) -> Episode:
    lasted = desk.length((found.last_at - found.began_at).total_seconds())
    answers = [answer("First answer", found.first, found.began_at)]
    if found.last_at > found.began_at:
        answers.append(answer("Last answer", found.last, found.last_at))
    return Episode(found.began_at, found.last_at, lasted, answers, is_open)


def answers(found: Sequence[tuple[Monitor, Outcome]]) -> str:
    """What targets have answered just now."""
    now = timezone.now()
    told = [
        answer(monitor.name, _said_now(monitor, outcome), now)
        for monitor, outcome in found
        if outcome.answer
    ]
    return render_to_string("admin/monitors/monitor/answers.html", {"answers": told})


def _said_now(monitor: Monitor, outcome: Outcome) -> dict[str, Any]:
    said = {"status": outcome.status, "reason": outcome.error}
    return {**said, **what_is_kept(monitor.checker, outcome.answer)}


def answer(title: str, kept: Mapping[str, Any], at: datetime) -> Answer:
    return Answer(
        title,
        at,
        status_of(kept.get("status", Status.DOWN)),
        kept.get("reason", ""),
        kept.get("code"),
        list(kept.get("headers", {}).items()),
        kept.get("body", ""),
    )


# History


def periods(request: HttpRequest, monitor: Monitor) -> str:
    newest = monitor.periods.order_by("-started_at", "-pk")[:SHOWN]
    return desk.table(
        "History of its status",
        ["From", "Until", "Status", "Because"],
        (period_row(period) for period in newest),
        note="What the checks found; incidents and corrections lie over it",
    )


def period_row(period: StatusPeriod) -> Sequence[object]:
    end = period.ended_at or timezone.now()
    lasted = desk.length((end - period.started_at).total_seconds())
    until = desk.moment(period.ended_at) if period.ended_at else "now"
    return [
        desk.moment(period.started_at),
        format_html("{}<small>{}</small>", until, lasted),
        status_of(period.status),
        period.cause or desk.NOTHING,
    ]


def corrections(request: HttpRequest, monitor: Monitor) -> str:
    """What people have said that its history really was; undone ones too."""
    newest = monitor.corrections.all()[:SHOWN]
    add = SafeString()
    if request.user.has_perm("monitors.add_correction"):
        address = correct_address(monitor)
        add = format_html('<a href="{}">Correct its history</a>', address)
    return desk.table(
        "Corrections",
        ["From", "Until", "What it was", "Why", "By", "Now"],
        (correction_row(correction) for correction in newest),
        note=add,
        empty=format_html("Nobody has corrected its history. {}", add),
    )


def correction_row(correction: Correction) -> Sequence[object]:
    return [
        desk.moment(correction.started_at),
        desk.ended(correction.ended_at, correction.started_at),
        desk.link(correction, verdict(correction)),
        correction.reason,
        correction.author,
        standing(correction),
    ]


def verdict(correction: Correction) -> SafeString:
    return desk.state(correction.status, correction.get_status_display())


def standing(correction: Correction) -> str | SafeString:
    """Whether it is in force, or who has taken it back."""
    if correction.undone_at is None:
        return "in force"
    return format_html(
        "undone<small>by {}, {}</small>",
        correction.undone_by,
        desk.moment(correction.undone_at),
    )


desk.add_panel(Monitor, relations)
desk.add_panel(Monitor, latencies)
desk.add_panel(Monitor, results)
desk.add_panel(Monitor, episodes)
desk.add_panel(Monitor, periods)
desk.add_panel(Monitor, corrections)
