"""What an incident does to monitors, and what that lays over them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import models
from django.db.models import F, Min, Q, Value
from django.db.models.functions import Greatest

from incidents.models.story import Impact
from incidents.models.timeline import Author, TimelineEntry, in_utc
from monitors.models import Monitor, Overlay

from .log import Logged

Kind = TimelineEntry.Kind


class Impacting(Logged):
    """Impacts begin, change and end; while it is public, their overlays with them."""

    class Meta:
        abstract = True

    def _suffer(
        self, impacts: Mapping[Monitor, str], at: datetime, author: Author
    ) -> None:
        """End every impact that is not named, and begin those that are new."""
        if self.ended_at:
            return  # nothing is affected any more
        open_impacts = self.impacts.filter(ended_at=None).select_related("monitor")
        for impact in open_impacts.exclude(monitor__in=list(impacts)):
            self._spare(impact.monitor, at, author)
        for monitor, level in impacts.items():
            self._affect(monitor, level, at=at, author=author)

    def _spare(self, monitor: Monitor, at: datetime, author: Author = None) -> None:
        """End what it suffers at a moment; what was said later of it stays."""
        if self._cut(monitor, at) or self._end_impacts(at, monitor=monitor.pk):
            said = f"{monitor}: no longer affected"
            self._log(Kind.IMPACT, said, at=at, author=author, monitor=monitor.tag)

    def _affect(
        self, monitor: Monitor, level: str, *, at: datetime, author: Author = None
    ) -> None:
        """Begin an impact instead of another, until the next change of that monitor."""
        before = self._suffered(monitor, at)
        if before and before.level == level:
            return
        later = self.impacts.filter(monitor=monitor, started_at__gt=at)
        until = later.aggregate(first=Min("started_at"))["first"]
        if before:
            until = before.ended_at
        self._cut(monitor, at)
        self._lay(monitor, level, at=at, author=author, until=until)

    def _suffered(self, monitor: Monitor, at: datetime) -> Impact | None:
        """What it does to a monitor at a moment."""
        goes_on = Q(ended_at=None) | Q(ended_at__gt=at)
        return self.impacts.filter(goes_on, monitor=monitor, started_at__lte=at).first()

    def _cut(self, monitor: Monitor, at: datetime) -> bool:
        """End what it does to a monitor at a moment; False if that is nothing."""
        cut = self._suffered(monitor, at)
        if cut is None:
            return False
        if laid := self._laid_by(cut):
            laid.ended_at = at
            laid.save(update_fields=["ended_at"])
        cut.ended_at = at
        cut.save(update_fields=["ended_at"])
        return True

    def _laid_by(self, impact: Impact) -> Overlay | None:
        """The overlay of one impact, if the public may see it."""
        return Overlay.objects.filter(
            cause=self.cause,
            monitor=impact.monitor_id,
            status=impact.level.lower(),
            started_at=impact.started_at,
            ended_at=impact.ended_at,
        ).first()

    def _lay(
        self,
        monitor: Monitor,
        level: str,
        *,
        at: datetime,
        author: Author = None,
        until: datetime | None = None,
    ) -> None:
        """Begin an impact and, if the public may see it, its overlay.

        In an ended incident it ends too.
        """
        ended = until or (max(at, self.ended_at) if self.ended_at else None)
        impact = self.impacts.create(
            monitor=monitor, level=level, started_at=at, ended_at=ended
        )
        said = f"{monitor}: {impact.get_level_display().lower()}"
        facts = {"monitor": monitor.tag, "level": level}
        self._log(Kind.IMPACT, said, at=at, author=author, **facts)
        if self.published_at:
            self._overlay(impact).save()

    def _overlay(self, impact: Impact) -> Overlay:
        """What an impact lays over its monitor.

        The checks of a monitor that has an alert count already: its overlay
        must not count once more.
        """
        return Overlay(
            monitor=impact.monitor,
            kind=Overlay.Kind.INCIDENT,
            status=impact.level.lower(),
            started_at=impact.started_at,
            ended_at=impact.ended_at,
            cause=self.cause,
            counts=self.source != self.Source.ALERT,
        )

    def _go_on(self, ended: datetime, at: datetime) -> None:
        """What had ended with the incident goes on with it."""
        for impact in self.impacts.filter(ended_at=ended).select_related("monitor"):
            self._affect(impact.monitor, impact.level, at=at)

    def _end_impacts(self, at: datetime, **which: Any) -> int:
        until = _not_before_start(at)
        ended = self.impacts.filter(ended_at=None, **which).update(ended_at=until)
        self._overlays(**which).update(ended_at=until)
        return ended

    def _overlays(self, **which: Any) -> "models.QuerySet[Overlay]":
        return Overlay.objects.filter(cause=self.cause, ended_at=None, **which)

    def _move_end(self, was: datetime) -> None:
        """What had ended with the incident ends with it at its new end."""
        until = _not_before_start(self.ended_at)
        for rows in (self.impacts.all(), Overlay.objects.filter(cause=self.cause)):
            rows.filter(ended_at=was).update(ended_at=until)

    def _begin_at(self, at: datetime) -> None:
        """Move the beginning, and whatever has begun with it or would begin before."""
        at = min(at, self.ended_at) if self.ended_at else at
        moves = Q(started_at=self.started_at) | Q(started_at__lt=at)
        # What was over before it began has no part of it, wherever that moves to.
        none_of_it = Q(ended_at=F("started_at")) & ~Q(ended_at=self.ended_at)
        for rows in (self.impacts.all(), Overlay.objects.filter(cause=self.cause)):
            moved = rows.filter(moves).exclude(none_of_it, started_at__gte=at)
            moved.filter(ended_at__lt=at).update(ended_at=at)
            moved.update(started_at=at)
        self.started_at = at

    def _log_begin(self, was: datetime, *, at: datetime, author: Author = None) -> None:
        """Say that it began at another moment than was thought, if it did."""
        if self.started_at != was:
            said = f"Began {in_utc(self.started_at)} UTC"
            then = was.isoformat()
            self._log(Kind.BEGAN, said, at=at, author=author, **{"from": then})

    def _count_affected(self) -> int:
        return self.impacts.values("monitor").distinct().count()


def _not_before_start(at: datetime | None) -> Greatest:
    """An end; what began later than that ends as it begins."""
    return Greatest(F("started_at"), Value(at, models.DateTimeField()))
