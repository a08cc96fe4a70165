"""Builds pages, so that a visit costs one read."""

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

from django.db.models import Case, F, Q, Value, When
from django.template.loader import render_to_string
from django.utils import timezone

from monitors import history
from monitors.models import Monitor, Status

from . import bars, maintenance, words
from .models import Snapshot, StatusPage
from .stories import Story, by_day, on_page

logger = logging.getLogger(__name__)

PAST_DAYS: Final = 7
# A page that takes long to build is built less often: this much of the time.
LONG_SECONDS: Final = 0.5
MOST_OF_THE_TIME: Final = 0.1
_rests_until: dict[int, float] = {}


def build_due() -> None:
    """Build what is due; a page that cannot be built stops no other."""
    if not Snapshot.objects.filter(page__is_default=True).exists():
        Snapshot.objects.get_or_create(page=StatusPage.default())
    for due in Snapshot.due(timezone.now()).select_related("page").defer("body"):
        began = time.monotonic()
        if began < _rests_until.get(due.page_id, 0.0):
            continue
        try:
            build(due.page)
        except Exception:
            logger.exception("The page %s could not be built", due.page)
        took = time.monotonic() - began
        if took > LONG_SECONDS:
            _rests_until[due.page_id] = began + took / MOST_OF_THE_TIME


def build(page: StatusPage) -> Snapshot:
    """Build the page anew and return what is now served.

    A mark made while building stays. Whoever finds that another has built
    meanwhile leaves that standing: it may know more, and if it knows less, the
    mark it has not seen is still there.
    """
    snapshot, _ = Snapshot.objects.get_or_create(page=page)
    at, seen = timezone.now(), snapshot.dirty_at
    with timezone.override(page.zone):
        context = context_of(page, at=at)
        body = render(context)
    changes: dict[str, Any] = {
        "body": body,
        "look": context["look"],
        "headline": context["headline"].title[:500],
        "etag": hashlib.sha256(body).hexdigest()[:40],
        "built_at": at,
    }
    if seen:
        unmarked = When(dirty_at=seen, then=Value(None))
        changes["dirty_at"] = Case(unmarked, default=F("dirty_at"))
    Snapshot.objects.filter(page=page, built_at=snapshot.built_at).update(**changes)
    snapshot.refresh_from_db()
    return snapshot


def render(context: Mapping[str, Any]) -> bytes:
    """Return the page at the root."""
    return render_to_string("statuspages/page.html", {**context}).encode()


@dataclass(frozen=True, slots=True)
class Row:
    """A monitor's line on the page."""

    monitor: Monitor
    look: str
    word: str
    since: datetime | None
    uptime: str
    down: str
    bars: bars.Bars

    @property
    def is_paused(self) -> bool:
        return not self.monitor.is_active


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    rows: list[Row]

    @property
    def up(self) -> int:
        return sum(row.look == Status.UP for row in self.rows)


def context_of(page: StatusPage, *, at: datetime) -> dict[str, Any]:
    """Gather what the page says, in a number of queries that does not grow."""
    now = at.astimezone(page.zone)
    listed = page.rows()
    monitors = [monitor for _, some in listed for monitor in some]
    lines = history.of_monitors([m.pk for m in monitors], at=at, zone=page.zone)
    rows = {m.pk: _row(m, lines[m.pk]) for m in monitors}
    sections = [
        Section(title or ("Other services" if len(listed) > 1 else "Services"), some)
        for title, some in ((t, [rows[m.pk] for m in ms]) for t, ms in listed)
        if some
    ]
    names, shown = {m.pk: m.name for m in monitors}, _shown(page)
    open_now, past = _stories(page, now, names, shown)
    ends = [story.incident.ended_at for story in past if story.incident.ended_at]
    standings = [
        words.Standing(m.name, lines[m.pk].now.shown, rows[m.pk].since, not m.is_active)
        for m in monitors
    ]
    said = words.headline(
        standings,
        [story.incident for story in open_now],
        now=now,
        last_end=max(ends, default=None),
    )
    return {
        "page": page,
        "now": now,
        "headline": said,
        "look": said.look,
        "here": "status",
        "pace": _pace(monitors),
        "sections": sections,
        "open": open_now,
        "maintenances": maintenance.listed(page, now, names, shown),
        "days": by_day(past),
        "quiet_days": _quiet_days([*open_now, *past], now),
        "past_days": PAST_DAYS,
    }


def _row(monitor: Monitor, line: history.History) -> Row:
    status = Status(line.now.shown)
    # The state row knows since when; an overlay is told of by its incident.
    agrees = monitor.state.status == status and monitor.state.checked_at
    length = timedelta(seconds=sum(d.seconds.get(Status.DOWN, 0) for d in line.days))
    return Row(
        monitor=monitor,
        look=words.LOOKS[status],
        word=status.label,
        since=monitor.state.since if agrees else None,
        uptime=_percent(line.uptime),
        down=words.short(length) if length and line.uptime != 100 else "",
        bars=bars.draw(line.days),
    )


def _percent(uptime: float | None) -> str:
    if uptime is None:
        return ""
    return "100" if uptime == 100 else f"{uptime:.2f}"


def _pace(monitors: Sequence[Monitor]) -> str:
    """How often is looked, or nothing if nobody looks at regular intervals."""
    seconds = {m.interval for m in monitors if m.is_active and not m.cron}
    if not seconds:
        return ""
    told = [words.duration(timedelta(seconds=s)) for s in (min(seconds), max(seconds))]
    return told[0] if len(seconds) == 1 else " to ".join(told)


def _shown(page: StatusPage) -> frozenset[int] | None:
    """Which monitors the page shows, if not all."""
    if page.shows_all:
        return None
    return frozenset(page.shown.values_list("monitor", flat=True))


def _stories(
    page: StatusPage,
    now: datetime,
    names: Mapping[int, str],
    shown: frozenset[int] | None,
) -> tuple[list[Story], list[Story]]:
    """Return what is going on, and what is over since the first of the past days."""
    first = history.midnights(now.date() - timedelta(days=PAST_DAYS - 1), 1, page.zone)[
        0
    ]
    recent = on_page(page).filter(Q(ended_at=None) | Q(ended_at__gte=first))
    stories = [Story(incident, now, names, shown) for incident in recent]
    return (
        [story for story in stories if story.incident.is_open],
        [story for story in stories if not story.incident.is_open],
    )


def _quiet_days(stories: Sequence[Story], now: datetime) -> list[date]:
    """Those of the past days that no incident touched, oldest first."""
    zone = now.tzinfo
    spans = [
        (
            s.incident.started_at.astimezone(zone).date(),
            s.ended_at.astimezone(zone).date(),
        )
        for s in stories
    ]
    days = [now.date() - timedelta(days=n) for n in reversed(range(PAST_DAYS))]
    return [d for d in days if not any(begin <= d <= end for begin, end in spans)]
