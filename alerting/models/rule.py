from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.db.models import (
    F,
    Q,
    UniqueConstraint,
)
from django.utils import timezone

from alerting.conditions import Rule, RuleInvalid, condition_of
from monitors.instants import InstantField
from monitors.models import IncidentSeverity, Label, Monitor
from outbox.models import Trigger

if TYPE_CHECKING:
    from .alert import Alert

# A day in seconds: as long as a threshold may be.
MOST_THRESHOLD: Final = 86_400


class AlertRuleQuerySet(models.QuerySet["AlertRule"]):
    def watching(self, monitor: Monitor) -> "AlertRuleQuerySet":
        """Those that watch a monitor: it was chosen, by a label, or all are."""
        by_label = Q(labels__in=monitor.labels.values("pk"))
        asked = Q(monitors=monitor) | by_label | Q(watches_all=True)
        return self.filter(pk__in=AlertRule.objects.filter(asked).values("pk"))

    def current(self) -> "AlertRuleQuerySet":
        """Leave out those retired."""
        return self.filter(retired_at=None)

    def active(self) -> "AlertRuleQuerySet":
        return self.current().filter(is_active=True)


class AlertRule(models.Model):
    """What has to be true, and for how long, before a failure matters."""

    class For(models.TextChoices):
        STATUS = "STATUS", "Status"
        LATENCY = "LATENCY", "Latency"
        UPTIME = "UPTIME", "Uptime"
        CERT_DAYS = "CERT_DAYS", "Days left of the certificate"
        BURN_RATE = "BURN_RATE", "Burn rate of an objective"

    class Unit(models.TextChoices):
        CHECKS = "CHECKS", "checks"
        SECONDS = "SECONDS", "seconds"

    class Severity(models.TextChoices):
        WARNING = "WARNING", "Warning"
        CRITICAL = "CRITICAL", "Critical"

    name = models.CharField(max_length=150)
    monitors = models.ManyToManyField(Monitor, blank=True, related_name="rules")
    labels = models.ManyToManyField(
        Label,
        blank=True,
        related_name="rules",
        help_text="Every monitor with one of them, also those still to come.",
    )
    watches_all = models.BooleanField(
        "every monitor", default=False, help_text="Also those still to come."
    )
    alert_for = models.CharField(max_length=10, choices=For.choices, default=For.STATUS)
    alert_value = models.CharField(max_length=20, default="DOWN")
    includes_worse = models.BooleanField(
        "also when down", default=False, help_text="DEGRADED is met by DOWN, too."
    )
    window_minutes = models.PositiveIntegerField(
        "window",
        default=0,
        validators=[MaxValueValidator(90 * 24 * 60)],
        help_text="Minutes. Latency: the 95th percentile over it, 0 for each check "
        "by itself. Burn rate: the time that the objective is for.",
    )
    failure_threshold = models.PositiveIntegerField(
        default=3,
        validators=[MinValueValidator(1), MaxValueValidator(MOST_THRESHOLD)],
        help_text="Failing checks in a row, or seconds of failing, that trigger.",
    )
    success_threshold = models.PositiveIntegerField(
        default=2,
        validators=[MinValueValidator(1), MaxValueValidator(MOST_THRESHOLD)],
        help_text="Passing checks in a row, or seconds of passing, that resolve it.",
    )
    unit = models.CharField(
        "thresholds are", max_length=7, choices=Unit.choices, default=Unit.CHECKS
    )
    severity = models.CharField(
        max_length=10, choices=Severity.choices, default=Severity.WARNING
    )
    description = models.CharField(
        max_length=500, blank=True, help_text="First line of the notice and incident."
    )
    create_incident = models.BooleanField(
        default=False, help_text="Open an incident when the alert triggers."
    )
    incident_severity = models.PositiveSmallIntegerField(
        "severity of the incident",
        choices=IncidentSeverity.choices,
        null=True,
        blank=True,
        help_text="Otherwise a critical alert makes a critical incident, a warning a "
        "minor one.",
    )
    cooldown_seconds = models.PositiveIntegerField(
        "cooldown",
        null=True,
        blank=True,
        validators=[MaxValueValidator(86_400)],
        help_text="Seconds after the end of its last incident of a monitor without "
        "another one; empty for the usual.",
    )
    reopen_seconds = models.PositiveIntegerField(
        "reopen within",
        null=True,
        blank=True,
        validators=[MaxValueValidator(86_400)],
        help_text="Seconds after its end in which the last incident of a monitor is "
        "opened again instead of another one; empty for the usual.",
    )
    repeat_minutes = models.PositiveIntegerField(
        "remind every",
        default=0,
        validators=[MaxValueValidator(10_080)],
        help_text="Minutes, while it is triggered and nobody has acknowledged it; 0 "
        "for never.",
    )
    is_active = models.BooleanField(default=True)
    triggers = models.ManyToManyField(Trigger, blank=True, related_name="rules")
    # Results before this moment do not count; moved when what is asked changes.
    counts_from = InstantField(default=timezone.now, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    retired_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = AlertRuleQuerySet.as_manager()

    # What makes a rule another one.
    ASKED: ClassVar = (
        *("alert_for", "alert_value", "includes_worse"),
        *("window_minutes", "unit"),
    )

    class Meta:
        ordering = ["name", "pk"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        try:
            condition_of(self.plain())
        except RuleInvalid as invalid:
            raise ValidationError({invalid.field: str(invalid)}) from invalid
        if self.includes_worse and self.alert_value != "DEGRADED":
            text = "Only a rule on STATUS DEGRADED can be met by DOWN, too."
            raise ValidationError({"includes_worse": text})

    # Mutations

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save; a rule that asks something else starts over with every monitor."""
        with transaction.atomic():
            before = AlertRule.objects.filter(pk=self.pk).values(*self.ASKED).first()
            changed = before is not None and any(
                value != getattr(self, name) for name, value in before.items()
            )
            if changed:
                self.counts_from = timezone.now()
            super().save(*args, **kwargs)
            if changed:
                self.resolve_alerts("The rule was changed.", at=self.counts_from)

    @transaction.atomic
    def switch_off(self, *, at: datetime) -> bool:
        """Stop evaluating; whatever is triggered resolves with that reason."""
        if not AlertRule.objects.filter(pk=self.pk, is_active=True).update(
            is_active=False
        ):
            return False
        self.is_active = False
        self.resolve_alerts("The rule was switched off.", at=at)
        return True

    def switch_on(self, *, at: datetime) -> bool:
        """Evaluate again, counting from zero results."""
        changed = AlertRule.objects.filter(
            pk=self.pk, is_active=False, retired_at=None
        ).update(is_active=True, counts_from=at)
        self.is_active = self.is_active or bool(changed)
        return bool(changed)

    @transaction.atomic
    def retire(self, *, at: datetime) -> bool:
        """Take the rule out of service for good; its alerts stay in the log."""
        if not AlertRule.objects.filter(pk=self.pk, retired_at=None).update(
            retired_at=at, is_active=False
        ):
            return False
        self.retired_at, self.is_active = at, False
        self.resolve_alerts("The rule was deleted.", at=at)
        return True

    @transaction.atomic
    def watch(
        self,
        monitors: "models.QuerySet[Monitor] | list[Monitor]",
        labels: "models.QuerySet[Label] | list[Label] | None" = None,
        watches_all: bool | None = None,
    ) -> None:
        """Watch exactly these monitors, and those with the labels, or all.

        Labels and `watches_all` stay as they are if they are None. Alerts of
        what is left out resolve.
        """
        AlertRule.objects.select_for_update(no_key=True).get(pk=self.pk)
        self.monitors.set(monitors)
        if labels is not None:
            self.labels.set(labels)
        if watches_all is not None and watches_all != self.watches_all:
            AlertRule.objects.filter(pk=self.pk).update(watches_all=watches_all)
            self.watches_all = watches_all
        self.leave()

    def watched(self) -> "models.QuerySet[Monitor]":
        """The monitors it watches now: chosen, by a label, or all there are."""
        if self.watches_all:
            return Monitor.objects.current()
        chosen = Q(pk__in=self.monitors.values("pk"))
        labelled = Q(labels__in=self.labels.values("pk"))
        ids = Monitor.objects.filter(chosen | labelled).values("pk")
        return Monitor.objects.current().filter(pk__in=ids)

    @transaction.atomic
    def leave(self) -> None:
        """Resolve the alerts of what it does not watch any more, and forget it."""
        watched = self.watched()
        left = self.alerts.triggered().exclude(monitor__in=watched)
        reason = "The monitor was removed from the rule."
        for alert in left:
            alert.resolve(reason=reason, at=timezone.now())
        self.states.exclude(monitor__in=watched).delete()

    def resolve_alerts(self, reason: str, *, at: datetime) -> None:
        for alert in self.alerts.triggered():
            alert.resolve(reason=reason, at=at)

    # Properties

    def reminded(self, at: datetime) -> datetime | None:
        """When to remind of what people are told now, if at all."""
        minutes = self.repeat_minutes
        return at + timedelta(minutes=minutes) if minutes else None

    def plain(self, degraded: str = "up") -> Rule:
        """The part that decides, for a monitor whose degraded time counts so."""
        return Rule(
            self.alert_for,
            self.alert_value,
            self.failure_threshold,
            self.success_threshold,
            self.unit,
            self.includes_worse,
            self.window_minutes,
            degraded,
        )

    @property
    def when(self) -> str:
        """When it is met, in words."""
        try:
            condition = condition_of(self.plain())
        except RuleInvalid as invalid:
            return str(invalid)
        if condition.is_own_threshold:
            after = f"over {self.failure_threshold:,} {self.get_unit_display()}"
        elif self.unit == self.Unit.SECONDS:
            after = f"for {self.failure_threshold:,} seconds"
        else:
            after = f"{self.failure_threshold:,} in a row"
        return f"{condition.words()}, {after}"


class RuleState(models.Model):
    """What a rule remembers of one monitor; changed by compare-and-set on version."""

    rule = models.ForeignKey(AlertRule, models.CASCADE, related_name="states")
    monitor = models.ForeignKey(Monitor, models.CASCADE, related_name="rule_states")
    version = models.PositiveIntegerField(default=0)
    failures = models.PositiveIntegerField(default=0)
    successes = models.PositiveIntegerField(default=0)
    first_failure_at = InstantField(null=True, blank=True)
    first_success_at = InstantField(null=True, blank=True)
    is_triggered = models.BooleanField(default=False)
    # What a rule over a window has seen in it, in the words of its condition.
    window = models.BinaryField(null=True, blank=True)
    through = models.BigIntegerField(default=0)
    counts_from = InstantField()

    class Meta:
        constraints = [
            UniqueConstraint(
                fields=["rule", "monitor"], name="one_state_per_rule_and_monitor"
            )
        ]

    def __str__(self) -> str:
        return f"{self.rule_id} on {self.monitor_id}: {self.failures} failures"

    @classmethod
    def forget(cls, alert: "Alert") -> None:
        """Start from zero where an alert was resolved by hand or by a removal."""
        cls.objects.filter(rule=alert.rule_id, monitor=alert.monitor_id).update(
            is_triggered=False,
            failures=0,
            successes=0,
            first_failure_at=None,
            first_success_at=None,
            window=None,
            version=F("version") + 1,
        )
