from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from django.apps import apps
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone

from access.models import OneRow
from alerting.models import Alert, AlertRule
from incidents.patience import Patience
from incidents.safeguards import Limits
from monitors.checkers import CHECKERS
from monitors.models import IncidentSeverity as Severity
from monitors.models import Monitor
from outbox.models import Trigger

A_DAY: Final = 86_400


def badges() -> list[str]:
    """What may lead to an incident: Uptime, Heartbeat …"""
    return sorted({checker.badge for checker in CHECKERS.values()})


def badge_of(kind: str) -> str:
    """What found it, by the kind of the monitor."""
    return CHECKERS[kind].badge if kind in CHECKERS else ""


class Automation(OneRow):
    """How incidents open by themselves, and what keeps them in check; one row."""

    class Drafts(models.TextChoices):
        OFF = "OFF", "Public at once"
        ON = "ON", "All begin as drafts"
        BY_SOURCE = "BY_SOURCE", "Only those found by …"

    gathers_storms = models.BooleanField(
        "gather storms",
        default=True,
        help_text="When many monitors begin to fail within a minute, open one "
        "incident for all of them. Off means that each opens its own.",
    )
    storm_percent = models.PositiveSmallIntegerField(
        "share of the monitors",
        default=20,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
        help_text="Percent of the active ones that have to fail.",
    )
    storm_at_least = models.PositiveIntegerField(
        "and at least",
        default=10,
        validators=[MinValueValidator(2)],
        help_text="Monitors, however few there are.",
    )
    storm_publish_after = models.PositiveIntegerField(
        "publish after",
        default=300,
        null=True,
        blank=True,
        validators=[MaxValueValidator(A_DAY)],
        help_text="Seconds. It begins as a draft; empty leaves publishing to you.",
    )
    monthly_quota = models.PositiveIntegerField(
        "most in a month",
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Automatic incidents in a calendar month, in UTC; empty for no "
        "limit. You are told when it is reached.",
    )
    breaker_a_day = models.PositiveIntegerField(
        "most of a monitor in 24 hours",
        default=10,
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(1000)],
        help_text="Further ones are drafts that never publish themselves, and its "
        "owner is told; empty for no limit.",
    )
    reopen_seconds = models.PositiveIntegerField(
        "open the last one again within",
        default=0,
        validators=[MaxValueValidator(A_DAY)],
        help_text="Seconds after its end; 0 for never. A rule can say otherwise.",
    )
    cooldown_seconds = models.PositiveIntegerField(
        "cooldown",
        default=0,
        validators=[MaxValueValidator(A_DAY)],
        help_text="Seconds after the end of an incident without another one of the "
        "same rule and monitor; 0 for none, 900 is a good choice. If it still fails "
        "then, the incident opens. A rule can say otherwise.",
    )
    draft_mode = models.CharField(
        "automatic incidents are",
        max_length=10,
        choices=Drafts.choices,
        default=Drafts.OFF,
        help_text="A draft is seen by operators only. A monitor can say otherwise.",
    )
    draft_sources = models.JSONField(
        "found by",
        default=list,
        blank=True,
        help_text="Whose incidents begin as drafts, if not all of them.",
    )
    auto_publish_after = models.PositiveIntegerField(
        "drafts publish themselves after",
        null=True,
        blank=True,
        validators=[MaxValueValidator(A_DAY)],
        help_text="Seconds, such as 600; empty for never.",
    )
    auto_publish_min_severity = models.PositiveSmallIntegerField(
        "if they are at least",
        choices=Severity.choices,
        null=True,
        blank=True,
        help_text="Milder drafts wait for a person; empty for all.",
    )
    auto_discard = models.BooleanField(
        "discard drafts that are over",
        default=True,
        help_text="A draft that nobody has published, held or written in is discarded "
        "when its monitors recover. It stays in the history.",
    )
    # How severe what each source finds is; what is not named is as the alert says.
    source_severities = models.JSONField(default=dict, blank=True, editable=False)
    nag_after = models.PositiveIntegerField(
        "ask for news after",
        default=30,
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(10_080)],
        help_text="Minutes in which an open incident has had no update; its owner is "
        "asked. Empty for never.",
    )
    nag_again_after = models.PositiveIntegerField(
        "and again after",
        default=60,
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(10_080)],
        help_text="Minutes since the last update. Empty for once only.",
    )
    group_wait = models.PositiveIntegerField(
        "gather mails for",
        default=30,
        validators=[MaxValueValidator(3600)],
        help_text="Seconds. News of several automatic incidents go out as one mail; 0 "
        "sends each at once.",
    )
    group_interval = models.PositiveIntegerField(
        "and then every",
        default=300,
        validators=[MaxValueValidator(A_DAY)],
        help_text="Seconds between two such mails.",
    )
    critical_bypasses = models.BooleanField(
        "critical incidents do not wait", default=True
    )
    tell = models.ManyToManyField(
        Trigger,
        blank=True,
        related_name="+",
        help_text="Told of drafts, storms, monitors with too many incidents, and of "
        "the end of the month's quota.",
    )

    class Meta:
        verbose_name = "automatic incidents"
        verbose_name_plural = "automatic incidents"

    def __str__(self) -> str:
        return "Automatic incidents"

    def clean(self) -> None:
        if self.draft_mode == self.Drafts.BY_SOURCE and not self.draft_sources:
            raise ValidationError({"draft_sources": "Choose at least one."})
        first, again = self.nag_after, self.nag_again_after
        if first and again and again <= first:
            text = f"This has to be later than the first time, {first} minutes."
            raise ValidationError({"nag_again_after": text})

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save; what is refused or waits for news is so under the new settings."""
        super().save(*args, **kwargs)
        Refused.objects.update(due_at=timezone.now())
        incidents: Any = apps.get_model("incidents", "Incident")
        incidents.objects.expect_news(self.patience)

    @property
    def patience(self) -> Patience:
        return Patience.of_minutes(self.nag_after, self.nag_again_after)

    # What it says of an alert

    def limits(self, rule: AlertRule | None) -> Limits:
        """The rule's own limits, or the usual ones."""
        reopen, cooldown = self.reopen_seconds, self.cooldown_seconds
        if rule and rule.reopen_seconds is not None:
            reopen = rule.reopen_seconds
        if rule and rule.cooldown_seconds is not None:
            cooldown = rule.cooldown_seconds
        return Limits(timedelta(seconds=reopen), timedelta(seconds=cooldown))

    def severity_of(
        self, alert: Alert, rule: AlertRule | None, monitor: Monitor | None
    ) -> int:
        """The monitor's word, else the rule's, else the source's, else the alert's."""
        usual = Severity.CRITICAL if alert.severity == "CRITICAL" else Severity.MINOR
        of_source = self.source_severities.get(badge_of(alert.monitor_kind))
        said = (
            monitor and monitor.incident_severity,
            rule and rule.incident_severity,
            of_source,
        )
        return next((severity for severity in said if severity), usual.value)

    def makes_draft(self, alert: Alert, monitor: Monitor | None) -> bool:
        """Whether its incident begins as a draft."""
        if monitor and monitor.incident_drafts is not None:
            return monitor.incident_drafts
        if self.draft_mode == self.Drafts.BY_SOURCE:
            return badge_of(alert.monitor_kind) in self.draft_sources
        return self.draft_mode == self.Drafts.ON

    def publish_at(self, severity: int, at: datetime) -> datetime | None:
        """When a draft that begins at a moment publishes itself."""
        least = self.auto_publish_min_severity
        if self.auto_publish_after is None or (least and severity < least):
            return None
        return at + timedelta(seconds=self.auto_publish_after)

    def storm_publish_at(self, at: datetime) -> datetime | None:
        if self.storm_publish_after is None:
            return None
        return at + timedelta(seconds=self.storm_publish_after)

    def told(self) -> Iterable[Trigger]:
        """Who hears of what is held back. Their secrets are not read here."""
        return self.tell.active().defer("config") if self.pk else ()


class Refused(models.Model):
    """An alert that a gate keeps from its incident, to be looked at again."""

    # A reason whose end nobody knows is looked at again after this time.
    LOOK_AGAIN_AFTER: Final = timedelta(seconds=10)

    alert = models.OneToOneField(
        Alert, models.CASCADE, primary_key=True, related_name="refused"
    )
    gate = models.CharField(max_length=30)
    reason = models.CharField(max_length=500)
    due_at = models.DateTimeField(db_index=True)
    attempts = models.PositiveIntegerField(default=1)

    class Meta:
        ordering = ["due_at"]
        verbose_name_plural = "refused"

    def __str__(self) -> str:
        return f"{self.alert}: {self.reason}"

    @classmethod
    def remember(cls, alert: Alert, **facts: Any) -> None:
        """Write the row of an alert, or write it anew."""
        Refused.objects.bulk_create(
            [Refused(alert=alert, **facts)],
            update_conflicts=True,
            unique_fields=["alert"],
            update_fields=list(facts),
        )
