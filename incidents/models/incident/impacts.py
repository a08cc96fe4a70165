"""What an incident does to monitors, and what that lays over them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import models
from django.db.models import F, Value
from django.db.models.functions import Greatest

from incidents.models.story import Impact
from incidents.models.timeline import Author, TimelineEntry
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
        open_impacts = self.impacts.filter(ended_at=None).select_related("monitor")
        for impact in open_impacts.exclude(monitor__in=list(impacts)):
            self._spare(impact.monitor, at, author)
        for monitor, level in impacts.items():
            self._affect(monitor, level, at=at, author=author)

    def _spare(self, monitor: Monitor, at: datetime, author: Author = None) -> None:
        if self._end_impacts(at, monitor=monitor.pk):
            said = f"{monitor}: no longer affected"
            self._log(Kind.IMPACT, said, at=at, author=author, monitor=monitor.tag)

    def _affect(
        self, monitor: Monitor, level: str, *, at: datetime, author: Author = None
    ) -> None:
        """Begin an impact instead of another one; in an ended incident it ends too."""
        open_impacts = self.impacts.filter(monitor=monitor, ended_at=None)
        if open_impacts.filter(level=level).exists():
            return
        self._end_impacts(at, monitor=monitor.pk)
        self._lay(monitor, level, at=at, author=author)

    def _lay(
        self, monitor: Monitor, level: str, *, at: datetime, author: Author = None
    ) -> None:
        """Begin an impact and, if the public may see it, its overlay."""
        ended = max(at, self.ended_at) if self.ended_at else None
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
        # What began later than that ends as it begins: nothing lasts less than 0 s.
        until = Greatest(F("started_at"), Value(at, models.DateTimeField()))
        ended = self.impacts.filter(ended_at=None, **which).update(ended_at=until)
        self._overlays(**which).update(ended_at=until)
        return ended

    def _overlays(self, **which: Any) -> "models.QuerySet[Overlay]":
        return Overlay.objects.filter(cause=self.cause, ended_at=None, **which)

    def _move_end(self, was: datetime) -> None:
        """What had ended with the incident ends with it at its new end."""
        ended = self.ended_at
        for rows in (self.impacts.all(), Overlay.objects.filter(cause=self.cause)):
            moved = rows.filter(ended_at=was)
            moved.filter(started_at__gt=ended).update(ended_at=F("started_at"))
            rows.filter(ended_at=was).update(ended_at=ended)

    def _begin_at(self, at: datetime) -> None:
        """Move the beginning, and whatever has begun with it."""
        at = min(at, self.ended_at) if self.ended_at else at
        self.impacts.filter(started_at=self.started_at).update(started_at=at)
        overlays = Overlay.objects.filter(cause=self.cause)
        overlays.filter(started_at=self.started_at).update(started_at=at)
        self.started_at = at

    def _count_affected(self) -> int:
        return self.impacts.values("monitor").distinct().count()
