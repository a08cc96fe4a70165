"""Incidents as people read them: steps, updates, and what was affected."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from itertools import groupby
from typing import Final, NamedTuple

from django.db.models import Exists, OuterRef, Prefetch, Q

from incidents.markdown import plain
from incidents.models import (
    Impact,
    Incident,
    IncidentQuerySet,
    IncidentUpdate,
    Relation,
    State,
)
from monitors.models import BADNESS, Status

from .models import PageIncident, StatusPage
from .words import LOOKS

# As many updates of an incident are on a page that tells of others too.
MOST_UPDATES: Final = 5


class Step(NamedTuple):
    """One of the four steps of an incident; `at` is when it was first taken, if it was."""

    label: str
    at: datetime | None
    is_reached: bool
    is_current: bool


class Affected(NamedTuple):
    """What an incident does, or did, to one monitor."""

    name: str
    status: str
    look: str
    word: str
    started_at: datetime
    ended_at: datetime | None
    lasting: timedelta


@dataclass(frozen=True)
class Story:
    """An incident with all that is told of it, as known at a moment."""

    incident: Incident
    at: datetime
    # Names of monitors on this page, where they differ from the monitors' own.
    names: Mapping[int, str]
    # Monitors the page shows; None is all of them.
    shown: frozenset[int] | None = None

    @cached_property
    def updates(self) -> list[IncidentUpdate]:
        """Newest first."""
        return list(self.incident.updates.all())

    @property
    def latest(self) -> list[IncidentUpdate]:
        return self.updates[:MOST_UPDATES]

    @cached_property
    def affected(self) -> list[Affected]:
        """Every impact, in the order they began."""
        return [
            self._affected(impact)
            for impact in self.incident.impacts.all()
            if self.shown is None or impact.monitor_id in self.shown
        ]

    def _affected(self, impact: Impact) -> Affected:
        status = Status(impact.level.lower())
        return Affected(
            self.names.get(impact.monitor_id, impact.monitor.name),
            status.value,
            LOOKS[status],
            status.label,
            impact.started_at,
            impact.ended_at,
            (impact.ended_at or self.at) - impact.started_at,
        )

    @property
    def affected_now(self) -> list[Affected]:
        return [a for a in self.affected if a.ended_at is None]

    @cached_property
    def affected_worst(self) -> list[Affected]:
        """Each monitor once, with the worst that happened to it."""
        by_name: dict[str, Affected] = {}
        for a in self.affected:
            before = by_name.get(a.name)
            if (
                before is None
                or BADNESS[Status(a.status)] > BADNESS[Status(before.status)]
            ):
                by_name[a.name] = a
        return list(by_name.values())

    @property
    def steps(self) -> list[Step]:
        first: dict[str, datetime] = {}
        for update in self.updates:  # the last one written is the earliest
            first[update.state] = update.at
        order = list(State)
        reached = order.index(State(self.incident.state))
        return [
            Step(
                state.label,
                first.get(state) if n <= reached else None,
                n <= reached,
                n == reached,
            )
            for n, state in enumerate(order)
        ]

    @property
    def look(self) -> str:
        """What is worst at the moment; by severity if no monitor is affected."""
        if not self.incident.is_open:
            return Status.UP.value
        if self.affected_now:
            worst = max(self.affected_now, key=lambda a: BADNESS[Status(a.status)])
            return worst.look
        critical = self.incident.severity == Incident.Severity.CRITICAL
        return Status.DOWN.value if critical else Status.DEGRADED.value

    @property
    def ended_at(self) -> datetime:
        """When it ended, or the present moment."""
        return self.incident.ended_at or self.at

    @property
    def lasting(self) -> timedelta:
        return max(self.ended_at - self.incident.started_at, timedelta(0))

    @property
    def next_update_by(self) -> datetime | None:
        """By when more is promised, in the zone of the page; never in the past."""
        promised = self.incident.promised_at
        if promised is None or promised <= self.at:
            return None
        return promised.astimezone(self.at.tzinfo)

    @property
    def lead(self) -> str:
        """The first paragraph of the latest update."""
        return lead(self.updates[0]) if self.updates else ""


def lead(update: IncidentUpdate) -> str:
    """Return the words of the first paragraph, shortened."""
    words = " ".join(plain(update.html.split("</p>")[0]).split())
    return words if len(words) <= 300 else f"{words[:299].rstrip()}…"


class Day(NamedTuple):
    """A day and what began on it."""

    date: date
    stories: list[Story]


def on_page(page: StatusPage) -> IncidentQuerySet:
    """Return what the page may tell of, with what telling it needs."""
    impacts = Impact.objects.select_related("monitor").only(
        *("incident", "level", "started_at", "ended_at", "monitor__name")
    )
    # Their Markdown is for who edits them.
    updates = IncidentUpdate.objects.defer("body", "impact_changes")
    return _shown_on(page, Incident.objects.published()).prefetch_related(
        Prefetch("updates", updates), Prefetch("impacts", impacts)
    )


def _shown_on(page: StatusPage, found: IncidentQuerySet) -> IncidentQuerySet:
    """Leave what was chosen for this page, and what concerns it unless for others.

    A page that does not show every monitor is silent about the others.
    """
    chosen = PageIncident.objects.filter(incident=OuterRef("pk"))
    is_global = Q(~Exists(chosen))
    if not page.shows_all:
        of_incident = Impact.objects.filter(incident=OuterRef("pk"))
        shown = of_incident.filter(monitor__in=page.shown.values("monitor"))
        is_global &= Exists(shown) | Q(~Exists(of_incident))
    return found.filter(Exists(chosen.filter(page=page)) | is_global)


def related(page: StatusPage, incident: Incident) -> IncidentQuerySet:
    """Return what the page may tell of that has to do with the incident."""
    others = Relation.objects.filter(incident=incident).values("other")
    those = Relation.objects.filter(other=incident).values("incident")
    published = Incident.objects.published()
    return _shown_on(page, published).filter(Q(pk__in=others) | Q(pk__in=those))


def told_instead(page: StatusPage, pk: int) -> Incident | None:
    """Return the incident that tells of one that was merged, if the page shows it."""
    seen: set[int] = set()
    # A merged incident that was never public had no address that could be kept.
    was_public = Incident.objects.current().filter(is_private=False)
    merged = _shown_on(page, was_public.exclude(published_at=None))
    found = merged.filter(pk=pk).first()
    while found and found.merged_into_id and found.pk not in seen:
        seen.add(found.pk)
        found = merged.filter(pk=found.merged_into_id).first()
    return found if found and found.pk not in {pk, *seen} else None


def by_day(stories: list[Story]) -> list[Day]:
    """Group stories, newest first, by the day they began on in the page's zone."""
    return [
        Day(day, list(some))
        for day, some in groupby(
            stories, key=lambda s: s.incident.started_at.astimezone(s.at.tzinfo).date()
        )
    ]
