"""What an incident is made of: its updates, its impacts, its alerts."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import Q, UniqueConstraint
from django.utils import timezone

from alerting.models import Alert
from incidents import markdown
from monitors.models import Monitor

from .state import State
from .timeline import Author, TimelineEntry, in_utc, name_of

Kind = TimelineEntry.Kind


class UpdateQuerySet(models.QuerySet["IncidentUpdate"]):
    def told(self) -> "UpdateQuerySet":
        """What may be told: no internal note, nothing taken back, nothing to come."""
        return self.filter(is_internal=False, deleted_at=None, publish_at=None)

    def kept(self) -> "UpdateQuerySet":
        """What operators read: all that was not taken back."""
        return self.filter(deleted_at=None)

    def waiting(self) -> "UpdateQuerySet":
        """What is to be told at a moment to come."""
        return self.filter(deleted_at=None).exclude(publish_at=None)

    def due(self, at: datetime) -> "UpdateQuerySet":
        """What is to be told by now, of incidents that still go on."""
        from_open = Q(
            incident__ended_at=None,
            incident__deleted_at=None,
            incident__discarded_at=None,
        )
        return self.waiting().filter(from_open, publish_at__lte=at)


class ToldManager(models.Manager["IncidentUpdate"]):
    """What may be told; whoever wants more has to ask `every` for it."""

    def get_queryset(self) -> UpdateQuerySet:
        return UpdateQuerySet(self.model, using=self._db).told()


class IncidentUpdate(models.Model):
    """One entry of the story, in Markdown and as the HTML that everybody gets."""

    incident = models.ForeignKey("Incident", models.CASCADE, related_name="updates")
    state = models.CharField(max_length=15, choices=State.choices)
    body = models.TextField(max_length=20_000)
    html = models.TextField(editable=False)
    at = models.DateTimeField(default=timezone.now)
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True
    )
    # Written by Tocsin itself, not by a person or a program of theirs.
    is_automatic = models.BooleanField(default=False, editable=False)
    # The name of the person or the key; nothing if it is Tocsin.
    written_by = models.CharField(max_length=150, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    # Read by operators only, and of no consequence for the state.
    is_internal = models.BooleanField(default=False, editable=False)
    # Whether subscribers get a message of it.
    notifies = models.BooleanField(default=True, editable=False)
    # When it is to be told; empty once it is.
    publish_at = models.DateTimeField(null=True, blank=True, editable=False)
    # What it then does: promise more so many minutes later, and change impacts:
    # levels by the number of the monitor, empty for one that is spared.
    promises_minutes = models.PositiveIntegerField(
        null=True, blank=True, editable=False
    )
    impact_changes = models.JSONField(default=dict, blank=True, editable=False)
    edited_at = models.DateTimeField(null=True, blank=True, editable=False)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

    # The first one is that of `incident.updates`: nothing internal leaks from there.
    objects = ToldManager()
    every = UpdateQuerySet.as_manager()

    class Meta:
        ordering = ["-at", "-pk"]
        indexes = [
            models.Index(fields=["incident", "-at"], name="updates_newest_first"),
            models.Index(
                fields=["publish_at"],
                condition=~Q(publish_at=None),
                name="updates_to_publish",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_state_display()}: {self.body[:60]}"

    def clean(self) -> None:
        if not self.body.strip():
            raise ValidationError({"body": "Write what people should know."})
        if not markdown.plain(markdown.render(self.body)):
            raise ValidationError({"body": "Nothing of this would be seen by anybody."})

    # Transitions

    @transaction.atomic
    def edit(
        self,
        *,
        at: datetime,
        author: Author = None,
        body: str | None = None,
        state: str | None = None,
        told_at: datetime | None = None,
    ) -> bool:
        """Say it otherwise; what it said is kept, and nobody gets a message of it.

        `told_at` is its place in the story. Returns whether anything has changed.
        """
        self._lock()
        was = {"body": self.body, "state": self.state, "at": self.at}
        now = {"body": body, "state": state, "at": told_at}
        changes = {n: v for n, v in now.items() if v is not None and v != was[n]}
        if self.deleted_at or not changes:
            return False
        self.versions.create(**was, replaced_at=at, replaced_by=name_of(author))
        for name, value in changes.items():
            setattr(self, name, value)
        self.html, self.edited_at = markdown.render(self.body), at
        self.save(update_fields=["body", "state", "at", "html", "edited_at"])
        said = ", ".join(("Edited an update", *_moved(changes, was)))
        self._follow(Kind.EDITED, said, at, author, **_as_facts(changes, was))
        return True

    @transaction.atomic
    def take_back(self, *, at: datetime, author: Author = None) -> bool:
        """Tell it no longer; the state is that of the latest one that is left.

        The only update of an incident stays. Twice does nothing.
        """
        self._lock()
        if self.deleted_at or (self.is_told and self.is_only):
            return False
        self.deleted_at = at
        self.save(update_fields=["deleted_at"])
        self._follow(Kind.WITHDRAWN, "Took an update back", at, author)
        return True

    @transaction.atomic
    def publish(self, *, at: datetime, author: Author = None) -> bool:
        """Tell what has waited, once; not after its incident has ended meanwhile."""
        self._lock()
        if self.publish_at is None or self.deleted_at or not self.incident.goes_on:
            return False
        self.publish_at, self.at = None, self.incident.not_before_newest(at)
        self.save(update_fields=["publish_at", "at"])
        self.incident._reword()
        self.incident._promise(self._promised(), at=self.at, author=author)
        self.incident._log_update(self, author or self.written_by)
        self.incident._settle(
            self if self.notifies else None,
            at=self.at,
            author=author or self.written_by,
            impacts=self._changes(),
        )
        return True

    def _promised(self) -> datetime | None:
        minutes = self.promises_minutes
        return self.at + timedelta(minutes=minutes) if minutes else None

    def _changes(self) -> dict[Monitor, str]:
        """The impacts that it changes, of monitors that are still there."""
        levels = {int(pk): level for pk, level in self.impact_changes.items()}
        found = Monitor.objects.current().filter(pk__in=levels) if levels else []
        return {monitor: levels[monitor.pk] for monitor in found}

    def _lock(self) -> None:
        """Lock the incident, and read the update as it is now."""
        incident = self.incident
        incident._lock()
        self.refresh_from_db(from_queryset=IncidentUpdate.every.all())
        self.incident = incident

    def _follow(
        self, kind: str, said: str, at: datetime, author: Author, **more: Any
    ) -> None:
        facts = {"update": self.pk, "body": self.body, **more}
        self.incident._log(kind, said, at=at, author=author, **facts)
        self.incident._reword()
        if self.is_internal or self.publish_at:
            self.incident._count_change()
        else:
            self.incident._settle(None, at=at, author=author)

    # Properties

    @property
    def is_told(self) -> bool:
        return not (self.is_internal or self.deleted_at or self.publish_at)

    @property
    def is_only(self) -> bool:
        told = IncidentUpdate.objects.filter(incident=self.incident_id)
        return not told.exclude(pk=self.pk).exists()

    @property
    def plain(self) -> str:
        """The words alone."""
        return markdown.plain(self.html)


def _moved(changes: Mapping[str, Any], was: Mapping[str, Any]) -> Iterator[str]:
    """What of an update is another now beside its words, in words."""
    if "state" in changes:
        before, now = (State(each["state"]).label for each in (was, changes))
        yield f"{before} \u2192 {now}"
    if "at" in changes:
        before, now = (in_utc(each["at"]) for each in (was, changes))
        yield f"{before} \u2192 {now} UTC"


def _as_facts(changes: Mapping[str, Any], was: Mapping[str, Any]) -> dict[str, Any]:
    """The same for programs: what state and time were, and what they are."""
    moved = [name for name in ("state", "at") if name in changes]
    return {
        key: {name: str(each[name]) for name in moved}
        for key, each in (("from", was), ("to", changes))
        if moved
    }


class UpdateVersion(models.Model):
    """What an update said before it was edited."""

    update = models.ForeignKey(IncidentUpdate, models.CASCADE, related_name="versions")
    state = models.CharField(max_length=15, choices=State.choices)
    body = models.TextField(max_length=20_000)
    at = models.DateTimeField()
    replaced_at = models.DateTimeField()
    replaced_by = models.CharField(max_length=150, blank=True)

    class Meta:
        ordering = ["replaced_at", "pk"]

    def __str__(self) -> str:
        return f"{self.get_state_display()}: {self.body[:60]}"


class Impact(models.Model):
    """What an incident does to one monitor, from … until …"""

    class Level(models.TextChoices):
        DEGRADED = "DEGRADED", "Degraded"
        PARTIAL = "PARTIAL", "Partial outage"
        DOWN = "DOWN", "Down"

    incident = models.ForeignKey("Incident", models.CASCADE, related_name="impacts")
    monitor = models.ForeignKey(Monitor, models.CASCADE, related_name="impacts")
    level = models.CharField(max_length=10, choices=Level.choices)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["started_at", "pk"]
        constraints = [
            UniqueConstraint(
                fields=["incident", "monitor"],
                condition=Q(ended_at=None),
                name="one_open_impact_per_incident_and_monitor",
            )
        ]

    def __str__(self) -> str:
        return f"{self.monitor} {self.get_level_display()}"

    @classmethod
    def level_of(cls, alert: Alert) -> str:
        """What an alert does to its monitor: as its value says, or by its kind.

        A certificate that will expire and an objective that is spent too fast
        do not stop anybody yet.
        """
        if alert.alert_for == "STATUS":
            return alert.alert_value
        mild = alert.alert_for in ("CERT_DAYS", "BURN_RATE")
        return cls.Level.DEGRADED if mild else cls.Level.DOWN


class IncidentAlert(models.Model):
    """An alert that is told of by an incident; no alert by two."""

    incident = models.ForeignKey("Incident", models.CASCADE, related_name="alert_links")
    alert = models.OneToOneField(Alert, models.CASCADE, related_name="incident_links")

    def __str__(self) -> str:
        return f"{self.alert} in {self.incident}"
