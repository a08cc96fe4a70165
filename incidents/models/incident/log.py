"""How an incident writes down what happens to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from incidents.models.state import State
from incidents.models.story import IncidentUpdate
from incidents.models.timeline import TOCSIN, Author, TimelineEntry, name_of
from monitors.models import IncidentSeverity as Severity
from monitors.models.severity import severity_name

from .facts import Facts

Kind = TimelineEntry.Kind


class Logged(Facts):
    """Everything that changes an incident leaves a line in its timeline."""

    # What the timeline gets in one statement, while there is more to come.
    _unlogged: list[TimelineEntry] | None = None

    class Meta:
        abstract = True

    def _log(
        self, kind: str, text: str, *, at: datetime, author: Author = None, **facts: Any
    ) -> None:
        """Add to the timeline; everything that changes an incident comes by here."""
        entry = TimelineEntry(
            incident_id=self.pk,
            kind=kind,
            text=text[:500],
            happened_at=at,
            actor=name_of(author) or TOCSIN,
            facts=facts,
        )
        if self._unlogged is None:
            entry.save()
        else:
            self._unlogged.append(entry)

    @contextmanager
    def _logging_at_once(self) -> Iterator[None]:
        """Write what is logged meanwhile in one statement."""
        self._unlogged = []
        yield
        TimelineEntry.objects.bulk_create(self._unlogged)
        self._unlogged = None

    def _log_opening(self, author: Author) -> None:
        kind = "Opened" if self.published_at else "Opened as a draft"
        self._log(
            Kind.OPENED,
            f"{kind}: {self.title}",
            at=self.created_at,
            author=author,
            source=self.source,
            severity=Severity(self.severity).label,
            started_at=self.started_at.isoformat(),
        )

    def _log_change(
        self, kind: str, was: str, *, at: datetime, author: Author = None
    ) -> None:
        """Log that a fact is another now; `was` is what it was in words."""
        shown = {
            Kind.STATE: State(self.state).label,
            Kind.TITLE: self.title,
        }
        now = shown[Kind(kind)]
        facts = {"from": was, "to": now}
        said = f"{Kind(kind).label}: {was} \u2192 {now}"
        self._log(kind, said, at=at, author=author, **facts)

    def _log_severity(self, was: int, *, at: datetime, author: Author) -> None:
        """Say it as people do; programs read the names that never change."""
        said = f"Severity: {severity_name(was)} \u2192 {self.severity_label}"
        facts = {"from": Severity(was).label, "to": Severity(self.severity).label}
        self._log(Kind.SEVERITY, said, at=at, author=author, **facts)

    def _log_owner(self, at: datetime, author: Author) -> None:
        said = f"Owner: {self.owner or 'nobody'}"
        self._log(Kind.OWNER, said, at=at, author=author, owner=name_of(self.owner))

    def _log_update(self, update: IncidentUpdate, author: Author) -> None:
        said = f"{update.get_state_display()}: {update.plain}"
        facts = {"update": update.pk, "body": update.body, "notifies": update.notifies}
        self._log(Kind.UPDATE, said, at=update.at, author=author, **facts)
