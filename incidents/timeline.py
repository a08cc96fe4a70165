"""The timeline as operators read it: what was told, and the facts between."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final, NamedTuple

from .models import Incident, IncidentUpdate, TimelineEntry

# An update is shown itself, and need not be told of once more.
_SHOWN_BY_THEMSELVES: Final = {
    TimelineEntry.Kind.UPDATE,
    TimelineEntry.Kind.NOTE,
    TimelineEntry.Kind.SCHEDULED,
}


class Line(NamedTuple):
    """One line of the timeline: an update with what it said before, or a fact."""

    at: datetime
    update: IncidentUpdate | None
    fact: TimelineEntry | None = None


def lines(incident: Incident) -> list[Line]:
    """Return updates, notes and facts, newest first."""
    kept = IncidentUpdate.every.kept().filter(incident=incident)
    written = kept.select_related("author").prefetch_related("versions")
    facts = incident.timeline.exclude(kind__in=_SHOWN_BY_THEMSELVES)
    found = [Line(update.at, update) for update in written]
    found += [Line(entry.happened_at, None, entry) for entry in facts]
    return sorted(found, key=_place, reverse=True)


def _place(line: Line) -> tuple[datetime, bool, int]:
    """Facts of the same moment stand below the update that brought them."""
    pk = line.fact.pk if line.fact else 0
    return line.at, line.update is not None, pk


def in_order(incident: Incident) -> Iterable[TimelineEntry]:
    """Return every row, the oldest first."""
    return incident.timeline.order_by("happened_at", "pk")
