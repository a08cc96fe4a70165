"""The incident itself, and what people do to it."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from django.contrib.auth.models import Group, User
from django.db import models, transaction
from django.db.models import F, Q, UniqueConstraint

from incidents.models.automation import Automation
from incidents.models.search_text import SearchText
from incidents.models.state import State
from incidents.models.timeline import Author, TimelineEntry
from incidents.signals import (
    incident_deleted,
    incident_published,
    incident_updated,
)
from monitors.models import IncidentSeverity as Severity
from monitors.models import Label, Monitor, Overlay
from outbox.models import cancel

from .alerts import Alerted
from .queries import GOES_ON

Kind = TimelineEntry.Kind

# Who deals with it stays who it was.
KEPT: Any = object()


class Incident(Alerted):
    """What people are told: its state is that of its latest update by time.

    Until it is published it is a draft, of which only operators know.
    """

    class Meta:
        ordering = ["-started_at", "-pk"]
        permissions = [("publish_incident", "Can publish and discard drafts")]
        constraints = [
            UniqueConstraint(
                fields=["rule", "monitor"],
                condition=GOES_ON,
                name="one_open_incident_per_rule_and_monitor",
            ),
            UniqueConstraint(
                fields=["is_umbrella"],
                condition=GOES_ON & Q(is_umbrella=True),
                name="one_open_umbrella",
            ),
        ]
        indexes = [
            models.Index(fields=["-started_at", "-id"], name="incidents_newest_first"),
            models.Index(fields=["state"], name="incidents_by_state"),
            models.Index(
                fields=["publish_at"],
                condition=~Q(publish_at=None),
                name="incidents_to_publish",
            ),
            models.Index(
                fields=["nag_at"], condition=~Q(nag_at=None), name="incidents_to_nag"
            ),
        ]

    @classmethod
    @transaction.atomic
    def open(
        cls,
        *,
        title: str,
        summary: str,
        started_at: datetime,
        at: datetime,
        source: str,
        severity: int = Severity.MINOR,
        impacts: Mapping[Monitor, str] | None = None,
        owner: User | None = None,
        labels: Iterable[Label] | None = None,
        groups: Iterable[Group] | None = None,
        ended_at: datetime | None = None,
        closing: str = "",
        notifies: bool = True,
        is_draft: bool = False,
        author: Author = None,
    ) -> "Incident":
        """Open an incident, public or a draft; the summary becomes its first update.

        With `groups` it is private. With `ended_at` it is entered afterwards: what
        is over is told on the pages, with the words `closing`, and sent to nobody.
        """
        groups = [*(groups or ())]
        notifies = notifies and ended_at is None
        incident = cls.objects.create(
            title=title,
            source=source,
            severity=severity,
            badge="API" if source == cls.Source.API else "",
            started_at=started_at,
            created_at=at,
            published_at=None if groups or is_draft else at,
            is_private=bool(groups),
            is_held=is_draft,
            owner=owner,
            nag_at=Automation.current().patience.next_end(at),
        )
        with incident._logging_at_once():
            incident._log_opening(author)
            if owner:
                incident._log_owner(at, author)
            if labels:
                incident._label(labels, at, author)
            for monitor, impact in (impacts or {}).items():
                incident._lay(monitor, impact, at=started_at, author=author)
            if groups:
                incident._admit(groups, at, author)
            first = incident._write(
                State.INVESTIGATING, summary, started_at, author, notifies=notifies
            )
        SearchText.begin(incident.pk, title, summary)
        if ended_at:
            incident._close_past(closing, max(ended_at, started_at), author)
        incident._tell(incident_published, first if notifies else None)
        return incident

    def _close_past(self, closing: str, at: datetime, author: Author) -> None:
        self.update(
            state=State.RESOLVED,
            body=closing or "This incident was resolved.",
            at=at,
            author=author,
            notifies=False,
        )

    @transaction.atomic
    def remark(
        self, kind: str, text: str, *, at: datetime, author: Author = None, **facts: Any
    ) -> None:
        """Write down what an app above has changed about it."""
        self._lock()
        self._log(kind, text, at=at, author=author, **facts)
        self._count_change()

    @transaction.atomic
    def revise(
        self,
        *,
        at: datetime,
        title: str | None = None,
        severity: int | None = None,
        started_at: datetime | None = None,
        impacts: Mapping[Monitor, str] | None = None,
        owner: User | None = KEPT,
        labels: Iterable[Label] | None = None,
        author: Author = None,
    ) -> None:
        """Change what is shown without an update; what is given is all there is."""
        self._lock()
        self._retitle(title, severity, at, author)
        if owner is not KEPT:
            self._assign(owner, at, author)
        if labels is not None:
            self._label(labels, at, author)
        if started_at is not None:
            was = self.started_at
            self._begin_at(started_at)
            self._log_begin(was, at=at, author=author)
        self.version += 1
        self.save(update_fields=["title", "severity", "started_at", "owner", "version"])
        if impacts is not None:
            self._suffer(impacts, at, author)
        self._tell(incident_updated, None)

    def _assign(self, owner: User | None, at: datetime, author: Author) -> None:
        if owner == self.owner:
            return
        self.owner = owner
        self._log_owner(at, author)

    def _label(self, labels: Iterable[Label], at: datetime, author: Author) -> None:
        had = sorted(self.labels.values_list("name", flat=True))
        has = sorted(label.name for label in labels)
        if has == had:
            return
        self.labels.set(labels)
        said = f"Labels: {', '.join(has) or 'none'}"
        self._log(Kind.LABELS, said, at=at, author=author, **{"from": had, "to": has})

    @transaction.atomic
    def delete_by_hand(self, *, at: datetime, author: Author = None) -> bool:
        """Take the incident back: nothing shows or tells of it any more."""
        if (
            not Incident.objects.current()
            .filter(pk=self.pk)
            .update(deleted_at=at, publish_at=None, version=F("version") + 1)
        ):
            return False
        self.refresh_from_db()
        self._log(Kind.DELETED, "Deleted", at=at, author=author)
        Overlay.objects.filter(cause=self.cause).delete()
        cancel(topic_key=self.cause, reason="The incident was deleted.")
        if self.published_at:
            incident_deleted.send(sender=Incident, incident=self)
        return True
