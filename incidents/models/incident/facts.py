"""What is known of an incident, in its own row."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth.models import Group
from django.db import models
from django.utils import timezone

from alerting.models import AlertRule
from incidents import titles
from incidents.models.state import State
from incidents.models.story import Impact, IncidentAlert, IncidentUpdate
from monitors.models import IncidentSeverity as Severity
from monitors.models import Label, Monitor
from monitors.models.severity import severity_name

from .queries import IncidentQuerySet

if TYPE_CHECKING:
    from django.db.models.fields.related_descriptors import RelatedManager


class Facts(models.Model):
    """The columns of an incident, and what follows from them alone."""

    Severity = Severity

    class Source(models.TextChoices):
        ALERT = "ALERT", "Alert"
        DASHBOARD = "DASHBOARD", "Dashboard"
        API = "API", "API"

    title = models.CharField(max_length=255, validators=[titles.check])
    state = models.CharField(
        max_length=15, choices=State.choices, default=State.INVESTIGATING
    )
    severity = models.PositiveSmallIntegerField(
        choices=Severity.choices, default=Severity.MINOR
    )
    source = models.CharField(
        max_length=10, choices=Source.choices, default=Source.DASHBOARD
    )
    # Who or what opened it, in short: "Auto: Uptime", "API", or nothing.
    badge = models.CharField(max_length=40, blank=True, editable=False)
    started_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    published_at = models.DateTimeField(null=True, blank=True)
    # When a draft publishes itself; a person may hold that up.
    publish_at = models.DateTimeField(null=True, blank=True, editable=False)
    is_held = models.BooleanField(default=False, editable=False)
    discarded_at = models.DateTimeField(null=True, blank=True, editable=False)
    discard_reason = models.CharField(max_length=200, blank=True, editable=False)
    # Who published or discarded the draft; nobody if Tocsin did.
    decided_by = models.CharField(max_length=150, blank=True, editable=False)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)
    # By when people are promised to hear more, while it goes on.
    next_update_at = models.DateTimeField(null=True, blank=True, editable=False)
    # Who deals with it, and words by which it is found.
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="owned_incidents",
    )
    labels = models.ManyToManyField(Label, blank=True, related_name="incidents")
    # Of which rule and monitor an automatic one is.
    rule = models.ForeignKey(
        AlertRule,
        models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="incidents",
    )
    monitor = models.ForeignKey(
        Monitor,
        models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="own_incidents",
    )
    # The incident that tells of it instead: it is told nowhere by itself any more.
    merged_into = models.ForeignKey(
        "self",
        models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="merged",
    )
    # Known to members of these groups alone, and never public while it is so.
    is_private = models.BooleanField("private", default=False, editable=False)
    groups = models.ManyToManyField(Group, blank=True, related_name="incidents")
    # When its owner is asked for news, and how often that has happened in a row.
    nag_at = models.DateTimeField(null=True, blank=True, editable=False)
    nags = models.PositiveSmallIntegerField(default=0, editable=False)
    # One for many monitors that failed at once; when the newest of them began.
    is_umbrella = models.BooleanField(default=False, editable=False)
    newest_join_at = models.DateTimeField(null=True, blank=True, editable=False)
    # Counts every change, so that two people do not overwrite each other.
    version = models.PositiveIntegerField(default=0, editable=False)

    objects = IncidentQuerySet.as_manager()

    class Meta:
        abstract = True

    if TYPE_CHECKING:
        # What points to it, and keys of what it points to.
        updates: RelatedManager[IncidentUpdate]
        impacts: RelatedManager[Impact]
        alert_links: RelatedManager[IncidentAlert]
        merged_into_id: int | None

    def __str__(self) -> str:
        return self.title

    @property
    def severity_label(self) -> str:
        """What people call its severity."""
        return severity_name(self.severity)

    @property
    def cause(self) -> str:
        """What overlays and messages know this incident by."""
        return f"incident:{self.pk}"

    @property
    def path(self) -> str:
        return f"/incidents/{self.pk}/"

    @property
    def admin_path(self) -> str:
        return f"/admin/incidents/incident/{self.pk}/change/"

    @property
    def url(self) -> str:
        return f"{settings.TOCSIN_URL}{self.path}"

    @property
    def is_open(self) -> bool:
        return self.state != State.RESOLVED and self.discarded_at is None

    @property
    def promised_at(self) -> datetime | None:
        """By when people wait for more; nothing once it is over."""
        return self.next_update_at if self.is_open else None

    @property
    def goes_on(self) -> bool:
        return self.is_open and self.deleted_at is None

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for news of it: nobody does of a draft."""
        is_known = self.published_at is not None or self.is_private
        return self.goes_on and is_known and self.merged_into_id is None

    @property
    def is_withdrawn(self) -> bool:
        """Discarded, deleted, or merged into another."""
        return bool(self.discarded_at or self.deleted_at)

    @property
    def is_draft(self) -> bool:
        waits = self.published_at is None and not self.is_private
        return waits and not self.is_withdrawn

    def _lock(self) -> None:
        """Make changes of one incident wait for each other, and read it anew."""
        self.refresh_from_db(
            from_queryset=type(self).objects.select_for_update(no_key=True)
        )

    def _count_change(self) -> None:
        self.version += 1
        self.save(update_fields=["version"])

    def _tell(self, signal: Any, update: IncidentUpdate | None) -> None:
        """Send a signal; nothing above hears of what is not public."""
        if self.published_at and not self.deleted_at:
            signal.send(sender=type(self), incident=self, update=update)
