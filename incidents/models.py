from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import F, Q, UniqueConstraint
from django.utils import timezone

from alerting.models import Alert, Decision, Transition
from monitors.models import Monitor, Overlay
from outbox.models import cancel

from . import markdown, words
from .signals import (
    incident_deleted,
    incident_published,
    incident_reopened,
    incident_resolved,
    incident_updated,
)


class State(models.TextChoices):
    INVESTIGATING = "INVESTIGATING", "Investigating"
    IDENTIFIED = "IDENTIFIED", "Identified"
    MONITORING = "MONITORING", "Monitoring"
    RESOLVED = "RESOLVED", "Resolved"


class IncidentQuerySet(models.QuerySet["Incident"]):
    def current(self) -> "IncidentQuerySet":
        """Leave out those deleted."""
        return self.filter(deleted_at=None)

    def published(self) -> "IncidentQuerySet":
        """What the public may see."""
        return self.current().exclude(published_at=None)

    def open(self) -> "IncidentQuerySet":
        return self.current().exclude(state=State.RESOLVED)

    def resolved(self) -> "IncidentQuerySet":
        return self.current().filter(state=State.RESOLVED)


class Incident(models.Model):
    """What people are told: its state is that of its latest update by time."""

    class Severity(models.IntegerChoices):
        MINOR = 1, "Minor"
        MAJOR = 2, "Major"
        CRITICAL = 3, "Critical"

    class Source(models.TextChoices):
        ALERT = "ALERT", "Alert"
        DASHBOARD = "DASHBOARD", "Dashboard"
        API = "API", "API"

    title = models.CharField(max_length=255)
    state = models.CharField(
        max_length=15, choices=State.choices, default=State.INVESTIGATING
    )
    severity = models.PositiveSmallIntegerField(
        choices=Severity.choices, default=Severity.MINOR
    )
    source = models.CharField(
        max_length=10, choices=Source.choices, default=Source.DASHBOARD
    )
    started_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    published_at = models.DateTimeField(null=True, blank=True)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)
    # Counts every change, so that two people do not overwrite each other.
    version = models.PositiveIntegerField(default=0, editable=False)

    objects = IncidentQuerySet.as_manager()

    class Meta:
        ordering = ["-started_at", "-pk"]
        indexes = [
            models.Index(fields=["-started_at", "-id"], name="incidents_newest_first"),
            models.Index(fields=["state"], name="incidents_by_state"),
        ]

    def __str__(self) -> str:
        return self.title

    # Factories

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
        author: User | None = None,
    ) -> "Incident":
        """Open a public incident; the summary becomes its first update."""
        incident = cls.objects.create(
            title=title,
            source=source,
            severity=severity,
            started_at=started_at,
            created_at=at,
            published_at=at,
        )
        for monitor, impact in (impacts or {}).items():
            incident._affect(monitor, impact, at=started_at, counts=True)
        first = incident._write(State.INVESTIGATING, summary, started_at, author)
        incident_published.send(sender=cls, incident=incident, update=first)
        return incident

    @classmethod
    @transaction.atomic
    def open_for(cls, alert: Alert, *, at: datetime) -> "Incident":
        """Open the incident of an alert, or return the one it already has."""
        link = IncidentAlert.objects.filter(alert=alert).first()
        if link:
            return link.incident
        incident = cls.objects.create(
            title=str(alert)[:255],
            source=cls.Source.ALERT,
            severity=cls.severity_of(alert),
            started_at=alert.began_at,
            created_at=at,
            published_at=at,
        )
        IncidentAlert.objects.create(incident=incident, alert=alert)
        if alert.monitor:
            impact = cls.impact_of(alert)
            incident._affect(alert.monitor, impact, at=alert.began_at, counts=False)
        first = incident._write(
            State.INVESTIGATING, words.triggered(alert), alert.triggered_at
        )
        alert.link(number=incident.pk, path=incident.path)
        incident_published.send(sender=cls, incident=incident, update=first)
        return incident

    @classmethod
    def severity_of(cls, alert: Alert) -> int:
        critical = alert.severity == "CRITICAL"
        return cls.Severity.CRITICAL if critical else cls.Severity.MINOR

    @classmethod
    def impact_of(cls, alert: Alert) -> str:
        """DOWN or DEGRADED as the alert's value says; other kinds are DOWN."""
        is_status = alert.alert_for == "STATUS"
        return alert.alert_value if is_status else Impact.Level.DOWN

    # Transitions

    @transaction.atomic
    def update(
        self,
        *,
        state: str,
        body: str,
        at: datetime,
        author: User | None = None,
    ) -> "IncidentUpdate":
        """Tell something new; the latest update by time makes the state.

        RESOLVED ends the incident at the moment of the update; a later update
        with another state goes on with it. An update that is back-dated behind
        others only joins the story.
        """
        self._lock()
        was, ended = self.state, self.ended_at
        written = self._write(state, body, at, author)
        self._follow_latest()
        if ended and self.state != State.RESOLVED:
            self._go_on(ended, at)
        if was != State.RESOLVED and self.state == State.RESOLVED:
            signal = incident_resolved
        elif was == State.RESOLVED and self.state != State.RESOLVED:
            signal = incident_reopened
        else:
            signal = incident_updated
        self._tell(signal, written)
        return written

    @transaction.atomic
    def resolve_for(self, alert: Alert, transition: Transition) -> bool:
        """Close what an alert opened, unless that is done or others still fail."""
        self._lock()
        if self.deleted_at or self.state == State.RESOLVED:
            return False
        at = transition.at
        others = Alert.objects.triggered().filter(incident_links__incident=self)
        if others.exclude(pk=alert.pk).exists():
            if not others.filter(monitor=alert.monitor_id).exists():
                self._end_impacts(at, monitor=alert.monitor_id)
            return False
        # Somebody may have written while the checks were recovering.
        newest = self.updates.order_by("-at").first()
        at = max(at, newest.at) if newest else at
        reason = "" if transition.reason.endswith("in a row") else transition.reason
        body = words.resolved(alert, reason, at - self.started_at)
        self.update(state=State.RESOLVED, body=body, at=at)
        return True

    @transaction.atomic
    def reopen_for(self, alert: Alert, *, at: datetime) -> bool:
        """Go on with what was resolved by hand while its alert still fails."""
        self._lock()
        if self.deleted_at:
            Decision.note(
                alert,
                "deleted",
                "Its incident was deleted by hand; it is not opened again.",
                at=at,
            )
            return False
        if self.state != State.RESOLVED:
            return False
        if not Alert.objects.triggered().filter(pk=alert.pk).exists():
            return False  # resolved since it was seen to fail
        newest = self.updates.order_by("-at").first()
        then = max(at, newest.at) if newest else at
        self.update(state=State.INVESTIGATING, body=words.reopened(alert), at=then)
        if alert.monitor:
            self._affect(alert.monitor, self.impact_of(alert), at=at, counts=False)
        return True

    @transaction.atomic
    def delete_by_hand(self, *, at: datetime) -> bool:
        """Take the incident back: nothing shows or tells of it any more."""
        if (
            not Incident.objects.current()
            .filter(pk=self.pk)
            .update(deleted_at=at, version=F("version") + 1)
        ):
            return False
        self.deleted_at = at
        Overlay.objects.filter(cause=self.cause).delete()
        cancel(topic_key=self.cause, reason="The incident was deleted.")
        incident_deleted.send(sender=Incident, incident=self)
        return True

    @transaction.atomic
    def revise(
        self,
        *,
        at: datetime,
        title: str | None = None,
        severity: int | None = None,
        started_at: datetime | None = None,
        impacts: Mapping[Monitor, str] | None = None,
    ) -> None:
        """Change what is shown without an update; `impacts` are all there are."""
        self._lock()
        self.title = self.title if title is None else title
        self.severity = self.severity if severity is None else severity
        if started_at is not None and started_at != self.started_at:
            self._begin_at(started_at)
        self.version += 1
        self.save(update_fields=["title", "severity", "started_at", "version"])
        if impacts is not None:
            open_impacts = self.impacts.filter(ended_at=None)
            for impact in open_impacts.exclude(monitor__in=list(impacts)):
                self._end_impacts(at, monitor=impact.monitor_id)
            for monitor, level in impacts.items():
                counts = self.source != self.Source.ALERT
                self._affect(monitor, level, at=at, counts=counts)
        self._tell(incident_updated, None)

    # What the transitions are made of

    def _lock(self) -> None:
        """Make changes of one incident wait for each other, and read it anew."""
        locked = Incident.objects.select_for_update(no_key=True).get(pk=self.pk)
        for name in ("state", "ended_at", "deleted_at", "version", "published_at"):
            setattr(self, name, getattr(locked, name))

    def _begin_at(self, at: datetime) -> None:
        """Move the beginning, and whatever has begun with it."""
        at = min(at, self.ended_at) if self.ended_at else at
        self.impacts.filter(started_at=self.started_at).update(started_at=at)
        overlays = Overlay.objects.filter(cause=self.cause)
        overlays.filter(started_at=self.started_at).update(started_at=at)
        self.started_at = at

    def _affect(
        self, monitor: Monitor, level: str, *, at: datetime, counts: bool
    ) -> None:
        """Begin an impact and its overlay; in an ended incident both end with it.

        The checks of a monitor that has an alert count already: its overlay
        must not count once more.
        """
        open_impacts = self.impacts.filter(monitor=monitor, ended_at=None)
        if open_impacts.filter(level=level).exists():
            return
        self._end_impacts(at, monitor=monitor.pk)
        ended = max(at, self.ended_at) if self.ended_at else None
        self.impacts.create(monitor=monitor, level=level, started_at=at, ended_at=ended)
        Overlay.objects.create(
            monitor=monitor,
            kind=Overlay.Kind.INCIDENT,
            status=level.lower(),
            started_at=at,
            ended_at=ended,
            cause=self.cause,
            counts=counts,
        )

    def _write(
        self,
        state: str,
        body: str,
        at: datetime,
        author: User | None = None,
    ) -> "IncidentUpdate":
        return self.updates.create(
            state=state,
            body=body,
            html=markdown.render(body),
            at=at,
            author=author,
        )

    def _follow_latest(self) -> None:
        newest_first = self.updates.order_by("-at", "-pk").values_list("state", "at")
        self.state, ended = State.INVESTIGATING, None
        for n, (state, at) in enumerate(newest_first):
            if n == 0:
                self.state = State(state)
            if state != State.RESOLVED:
                break
            ended = at  # a word after the end does not move the end
        # An incident cannot end before it began, whatever was back-dated.
        self.ended_at = max(ended, self.started_at) if ended else None
        self.version += 1
        self.save(update_fields=["state", "ended_at", "version"])
        if self.ended_at:
            self._end_impacts(self.ended_at)

    def _go_on(self, ended: datetime, at: datetime) -> None:
        """What had ended with the incident goes on with it."""
        counts = self.source != self.Source.ALERT
        for impact in self.impacts.filter(ended_at=ended).select_related("monitor"):
            self._affect(impact.monitor, impact.level, at=at, counts=counts)

    def _end_impacts(self, at: datetime, **which: Any) -> None:
        self.impacts.filter(ended_at=None, **which).update(ended_at=at)
        self._overlays(**which).update(ended_at=at)

    def _overlays(self, **which: Any) -> "models.QuerySet[Overlay]":
        return Overlay.objects.filter(cause=self.cause, ended_at=None, **which)

    def _tell(self, signal: Any, update: "IncidentUpdate | None") -> None:
        if self.published_at and not self.deleted_at:
            signal.send(sender=Incident, incident=self, update=update)

    # Properties

    @property
    def cause(self) -> str:
        """What overlays and messages know this incident by."""
        return f"incident:{self.pk}"

    @property
    def path(self) -> str:
        return f"/incidents/{self.pk}/"

    @property
    def url(self) -> str:
        return f"{settings.TOCSIN_URL}{self.path}"

    @property
    def is_open(self) -> bool:
        return self.state != State.RESOLVED


class IncidentUpdate(models.Model):
    """One entry of the story, in Markdown and as the HTML that everybody gets."""

    incident = models.ForeignKey(Incident, models.CASCADE, related_name="updates")
    state = models.CharField(max_length=15, choices=State.choices)
    body = models.TextField(max_length=20_000)
    html = models.TextField(editable=False)
    at = models.DateTimeField(default=timezone.now)
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-at", "-pk"]
        indexes = [
            models.Index(fields=["incident", "-at"], name="updates_newest_first")
        ]

    def __str__(self) -> str:
        return f"{self.get_state_display()}: {self.body[:60]}"

    def clean(self) -> None:
        if not self.body.strip():
            raise ValidationError({"body": "Write what people should know."})

    @property
    def plain(self) -> str:
        """The words alone."""
        return markdown.plain(self.html)


class Impact(models.Model):
    """What an incident does to one monitor, from … until …"""

    class Level(models.TextChoices):
        DEGRADED = "DEGRADED", "Degraded"
        PARTIAL = "PARTIAL", "Partial outage"
        DOWN = "DOWN", "Down"

    incident = models.ForeignKey(Incident, models.CASCADE, related_name="impacts")
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


class IncidentAlert(models.Model):
    """An alert that is told of by an incident; no alert by two."""

    incident = models.ForeignKey(Incident, models.CASCADE, related_name="alert_links")
    alert = models.OneToOneField(Alert, models.CASCADE, related_name="incident_links")

    def __str__(self) -> str:
        return f"{self.alert} in {self.incident}"
