"""Planned maintenance as people read it: what is under way, and what comes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Final, NamedTuple

from django.db.models import Exists, OuterRef, Prefetch, Q, QuerySet

from incidents.models import (
    MaintenanceImpact,
    Occurrence,
    OccurrenceImpact,
    OccurrenceUpdate,
)
from incidents.models.occurrence import FINAL
from monitors.models import Status

from .models import StatusPage
from .stories import Step
from .words import LOOKS, short

# So far ahead the page tells of what is planned.
AHEAD: Final = timedelta(days=7)
# Of more than these people read on the pages themselves.
MOST_SHOWN: Final = 20

_STEPS: Final = ("SCHEDULED", "IN_PROGRESS", "VERIFYING", "COMPLETED")


class Touched(NamedTuple):
    """A monitor that a maintenance affects, or only names: then without a word."""

    name: str
    look: str
    word: str


@dataclass(frozen=True)
class Window:
    """A date of a maintenance with all that is told of it, as known at a moment."""

    occurrence: Occurrence
    # In the page's zone.
    at: datetime
    # Names of monitors on this page, where they differ from the monitors' own.
    names: Mapping[int, str]
    # Monitors the page shows; None is all of them.
    shown: frozenset[int] | None = None

    @property
    def title(self) -> str:
        return self.occurrence.title

    @property
    def html(self) -> str:
        return self.occurrence.html

    @property
    def look(self) -> str:
        is_off = self.occurrence.state == Occurrence.State.CANCELLED
        is_done = self.occurrence.state == Occurrence.State.COMPLETED
        if is_off:
            return Status.NO_DATA.value
        return Status.UP.value if is_done else Status.MAINTENANCE.value

    @property
    def begins(self) -> datetime:
        return self.occurrence.begins_at.astimezone(self.at.tzinfo)

    @property
    def ends(self) -> datetime:
        return self.occurrence.finishes_at.astimezone(self.at.tzinfo)

    @property
    def lasting(self) -> timedelta:
        return max(self.ends - self.begins, timedelta(0))

    @property
    def is_ahead(self) -> bool:
        return self.occurrence.state == Occurrence.State.SCHEDULED

    @property
    def standing(self) -> str:
        """What it is doing: "Starts in 2 h", or its state in a word."""
        if self.is_ahead and self.begins > self.at:
            return f"Starts in {short(self.begins - self.at)}"
        return str(self.occurrence.get_state_display())

    @cached_property
    def affected(self) -> list[Touched]:
        return [
            self._touched(impact)
            for impact in self.occurrence.affected
            if self.shown is None or impact.monitor_id in self.shown
        ]

    def _touched(self, impact: MaintenanceImpact | OccurrenceImpact) -> Touched:
        name = self.names.get(impact.monitor_id, impact.monitor.name)
        if impact.level == MaintenanceImpact.Level.NONE:
            return Touched(name, Status.NO_DATA.value, "")
        status = Status(impact.level.lower())
        return Touched(name, LOOKS[status], impact.get_level_display())

    @cached_property
    def updates(self) -> list[OccurrenceUpdate]:
        """Newest first."""
        return list(self.occurrence.updates.all())

    @property
    def steps(self) -> list[Step]:
        """Its steps; none of one that is called off."""
        occurrence = self.occurrence
        if occurrence.state == Occurrence.State.CANCELLED:
            return []
        taken = {
            "SCHEDULED": occurrence.created_at,
            "IN_PROGRESS": occurrence.started_at,
            "VERIFYING": occurrence.verifying_at,
            "COMPLETED": occurrence.ended_at,
        }
        checks = occurrence.maintenance.verify_before_completion
        order = [s for s in _STEPS if s != "VERIFYING" or checks or taken[s]]
        reached = order.index(occurrence.state)
        return [
            Step(Occurrence.State(s).label, taken[s], n <= reached, n == reached)
            for n, s in enumerate(order)
        ]


def on_page(page: StatusPage) -> QuerySet[Occurrence]:
    """Return what the page may tell of, with what telling it needs.

    A page that does not show every monitor is silent about the others.
    """
    found = Occurrence.objects.select_related("maintenance")
    if not page.shows_all:
        planned = MaintenanceImpact.objects.filter(maintenance=OuterRef("maintenance"))
        kept = OccurrenceImpact.objects.filter(occurrence=OuterRef("pk"))
        is_over = Q(state__in=FINAL)
        found = found.filter(
            ~is_over & _tells_of(page, planned) | is_over & _tells_of(page, kept)
        )
    impacts = MaintenanceImpact.objects.select_related("monitor").order_by("pk")
    return found.prefetch_related(Prefetch("maintenance__impacts", impacts))


def _tells_of(page: StatusPage, impacts: QuerySet[Any]) -> Q:
    """Whether the page shows any of the monitors, or there are none."""
    shown = impacts.filter(monitor__in=page.shown.values("monitor"))
    return Q(Exists(shown)) | ~Q(Exists(impacts))


def listed(
    page: StatusPage,
    now: datetime,
    names: Mapping[int, str],
    shown: frozenset[int] | None,
) -> list[Window]:
    """Return what is under way, then the next date of each that comes soon."""
    soon = Q(state=Occurrence.State.SCHEDULED, starts_at__lt=now + AHEAD)
    begun = Q(state__in=[Occurrence.State.IN_PROGRESS, Occurrence.State.VERIFYING])
    rows = on_page(page).filter(soon | begun).order_by("starts_at", "pk")
    windows = [Window(row, now, names, shown) for row in rows]
    coming: dict[int, Window] = {}
    for window in windows:
        if window.is_ahead:
            coming.setdefault(window.occurrence.maintenance_id, window)
    under_way = [window for window in windows if not window.is_ahead]
    return [*under_way, *coming.values()][:MOST_SHOWN]
