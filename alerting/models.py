from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.db.models import (
    Case,
    Exists,
    F,
    Min,
    OuterRef,
    Q,
    UniqueConstraint,
    When,
)
from django.utils import timezone

from monitors.instants import InstantField
from monitors.models import Monitor
from outbox.models import Message, Trigger, message

from . import rules
from .signals import alert_resolved, alert_triggered


class AlertRuleQuerySet(models.QuerySet["AlertRule"]):
    def current(self) -> "AlertRuleQuerySet":
        """Leave out those retired."""
        return self.filter(retired_at=None)

    def active(self) -> "AlertRuleQuerySet":
        return self.current().filter(is_active=True)


class AlertRule(models.Model):
    """What has to be true, and for how long, before a failure matters."""

    class For(models.TextChoices):
        STATUS = "STATUS"
        LATENCY = "LATENCY"
        UPTIME = "UPTIME"

    class Severity(models.TextChoices):
        WARNING = "WARNING", "Warning"
        CRITICAL = "CRITICAL", "Critical"

    name = models.CharField(max_length=150)
    monitors = models.ManyToManyField(Monitor, related_name="rules")
    alert_for = models.CharField(max_length=10, choices=For.choices, default=For.STATUS)
    alert_value = models.CharField(max_length=20, default="DOWN")
    failure_threshold = models.PositiveIntegerField(
        default=3,
        validators=[MinValueValidator(1), MaxValueValidator(10_000)],
        help_text="Failing checks in a row that trigger an alert.",
    )
    success_threshold = models.PositiveIntegerField(
        default=2,
        validators=[MinValueValidator(1), MaxValueValidator(10_000)],
        help_text="Passing checks in a row that resolve it.",
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
    is_active = models.BooleanField(default=True)
    triggers = models.ManyToManyField(Trigger, blank=True, related_name="rules")
    # Results before this moment do not count; moved when what is asked changes.
    counts_from = InstantField(default=timezone.now, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    retired_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = AlertRuleQuerySet.as_manager()

    class Meta:
        ordering = ["name", "pk"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if self.alert_for != self.For.STATUS:
            raise ValidationError(
                {"alert_for": "Only STATUS can be watched so far; choose STATUS."}
            )
        if self.alert_value not in rules.STATUS_VALUES:
            known = " or ".join(rules.STATUS_VALUES)
            raise ValidationError({"alert_value": f"Choose {known}."})

    # Mutations

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save; a rule that asks something else starts over with every monitor."""
        with transaction.atomic():
            asked = ("alert_for", "alert_value")
            before = AlertRule.objects.filter(pk=self.pk).values(*asked).first()
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
    def watch(self, monitors: "models.QuerySet[Monitor] | list[Monitor]") -> None:
        """Watch exactly these monitors; alerts of those left out resolve."""
        AlertRule.objects.select_for_update(no_key=True).get(pk=self.pk)
        self.monitors.set(monitors)
        left = self.alerts.triggered().exclude(monitor__in=self.monitors.all())
        for alert in left:
            alert.resolve(
                reason="The monitor was removed from the rule.", at=timezone.now()
            )
        self.states.exclude(monitor__in=self.monitors.all()).delete()

    def resolve_alerts(self, reason: str, *, at: datetime) -> None:
        for alert in self.alerts.triggered():
            alert.resolve(reason=reason, at=at)

    # Properties

    @property
    def plain(self) -> rules.Rule:
        return rules.Rule(
            self.alert_for,
            self.alert_value,
            self.failure_threshold,
            self.success_threshold,
        )


class RuleState(models.Model):
    """What a rule remembers of one monitor; changed by compare-and-set on version."""

    rule = models.ForeignKey(AlertRule, models.CASCADE, related_name="states")
    monitor = models.ForeignKey(Monitor, models.CASCADE, related_name="rule_states")
    version = models.PositiveIntegerField(default=0)
    failures = models.PositiveIntegerField(default=0)
    successes = models.PositiveIntegerField(default=0)
    first_failure_at = InstantField(null=True, blank=True)
    is_triggered = models.BooleanField(default=False)
    through = models.BigIntegerField(default=0)
    counts_from = InstantField()

    # What a decision may change.
    FIELDS: ClassVar = (
        "failures",
        "successes",
        "first_failure_at",
        "is_triggered",
        "through",
    )

    class Meta:
        constraints = [
            UniqueConstraint(
                fields=["rule", "monitor"], name="one_state_per_rule_and_monitor"
            )
        ]

    def __str__(self) -> str:
        return f"{self.rule_id} on {self.monitor_id}: {self.failures} failures"


class AlertQuerySet(models.QuerySet["Alert"]):
    def triggered(self) -> "AlertQuerySet":
        return self.filter(state=Alert.State.TRIGGERED)


class Alert(models.Model):
    """One episode of a rule on a monitor, with the values of its time."""

    # So long a notice waits for the incident, whose address it carries; if
    # that cannot be opened, it goes without.
    NOTICES_WAIT: ClassVar = timedelta(seconds=2)

    class State(models.TextChoices):
        TRIGGERED = "TRIGGERED", "Triggered"
        RESOLVED = "RESOLVED", "Resolved"

    rule = models.ForeignKey(
        AlertRule, models.SET_NULL, null=True, related_name="alerts"
    )
    monitor = models.ForeignKey(
        Monitor, models.SET_NULL, null=True, related_name="alerts"
    )
    state = models.CharField(
        max_length=10, choices=State.choices, default=State.TRIGGERED
    )
    began_at = models.DateTimeField()
    triggered_at = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True, blank=True)
    # Copies: what the alert says stays true when rule and monitor change.
    rule_name = models.CharField(max_length=150)
    monitor_name = models.CharField(max_length=150)
    monitor_tag = models.CharField(max_length=100)
    monitor_kind = models.CharField(max_length=20)
    alert_for = models.CharField(max_length=10)
    alert_value = models.CharField(max_length=20)
    failure_threshold = models.PositiveIntegerField()
    success_threshold = models.PositiveIntegerField()
    severity = models.CharField(max_length=10, choices=AlertRule.Severity.choices)
    description = models.CharField(max_length=500, blank=True)
    create_incident = models.BooleanField()
    observed = models.CharField(max_length=12)
    error = models.CharField(max_length=500, blank=True)
    # Where people read on; written by whoever opened the incident.
    incident_number = models.BigIntegerField(null=True, blank=True)
    incident_path = models.CharField(max_length=200, blank=True)

    objects = AlertQuerySet.as_manager()

    class Meta:
        ordering = ["-triggered_at", "-pk"]
        constraints = [
            UniqueConstraint(
                fields=["rule", "monitor"],
                condition=Q(state="TRIGGERED"),
                name="one_triggered_alert_per_rule_and_monitor",
            )
        ]
        indexes = [
            models.Index(fields=["-triggered_at", "-id"], name="alerts_newest_first"),
            models.Index(fields=["state"], name="alerts_by_state"),
            models.Index(
                fields=["monitor_tag", "-triggered_at"], name="alerts_of_monitor"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.monitor_name} {self.alert_for}: {self.alert_value}"

    # Factories and transitions

    @classmethod
    @transaction.atomic
    def trigger(
        cls, rule: AlertRule, monitor: Monitor, change: rules.Change
    ) -> "Alert":
        """Open the alert of a rule on a monitor, or return the one already open."""
        alert, created = cls.objects.get_or_create(
            rule=rule,
            monitor=monitor,
            state=cls.State.TRIGGERED,
            defaults={
                "began_at": change.began_at,
                "triggered_at": change.result.at,
                "rule_name": rule.name,
                "monitor_name": monitor.name,
                "monitor_tag": monitor.tag,
                "monitor_kind": monitor.kind,
                "alert_for": rule.alert_for,
                "alert_value": rule.alert_value,
                "failure_threshold": rule.failure_threshold,
                "success_threshold": rule.success_threshold,
                "severity": rule.severity,
                "description": rule.description,
                "create_incident": rule.create_incident,
                "observed": change.result.status,
                "error": change.result.error,
            },
        )
        if created:
            alert._note(cls.State.TRIGGERED, change.reason, change.result.at)
        return alert

    @transaction.atomic
    def resolve(self, *, reason: str, at: datetime) -> bool:
        """Close the alert and start counting from zero; twice changes nothing."""
        at = max(at, self.triggered_at)
        # Evaluation locks the rule first, too: whoever comes second waits.
        if self.rule_id is not None:
            AlertRule.objects.select_for_update(no_key=True).get(pk=self.rule_id)
        if (
            not Alert.objects.triggered()
            .filter(pk=self.pk)
            .update(state=self.State.RESOLVED, resolved_at=at)
        ):
            return False
        self.state, self.resolved_at = self.State.RESOLVED, at
        RuleState.objects.filter(rule=self.rule_id, monitor=self.monitor_id).update(
            is_triggered=False,
            failures=0,
            successes=0,
            first_failure_at=None,
            version=F("version") + 1,
        )
        self._note(self.State.RESOLVED, reason, at)
        return True

    def _note(self, to: str, reason: str, at: datetime) -> None:
        """Write the transition, to be announced, and the notices it calls for."""
        transition = self.transitions.create(to=to, reason=reason[:500], at=at)
        opens = to == self.State.TRIGGERED and self.create_incident
        due = timezone.now() + (self.NOTICES_WAIT if opens else timedelta())
        # Without the config: that a secret cannot be read must not stop an alert.
        triggers = self.rule.triggers.active().defer("config") if self.rule else []
        Message.queue(
            message(
                dedup_key=f"transition:{transition.pk}:trigger:{trigger.pk}",
                kind=trigger.kind,
                trigger=trigger,
                renderer="alert",
                values={"transition": transition.pk},
                recipient_key=f"trigger:{trigger.pk}",
                topic_key=self.topic_key,
                due_at=due,
            )
            for trigger in triggers
        )

    @property
    def topic_key(self) -> str:
        """What its notices are known by."""
        return f"alert:{self.pk}"

    def link(self, *, number: int, path: str) -> None:
        """Remember which incident tells people about this alert."""
        Alert.objects.filter(pk=self.pk).update(
            incident_number=number, incident_path=path
        )
        self.incident_number, self.incident_path = number, path


class TransitionQuerySet(models.QuerySet["Transition"]):
    def due(self, at: datetime) -> "TransitionQuerySet":
        """Those not announced yet whose alert has no older one waiting."""
        older = Transition.objects.filter(
            alert=OuterRef("alert"), announced_at=None, pk__lt=OuterRef("pk")
        )
        return self.filter(~Exists(older), announced_at=None, due_at__lte=at).order_by(
            "pk"
        )

    def longest_wait(self, at: datetime) -> float:
        """Return the seconds for which the oldest has not been announced.

        One that failed is due again later, but has waited since it happened.
        """
        waiting_since = Case(When(attempts=0, then="due_at"), default="at")
        waiting = self.filter(announced_at=None)
        oldest = waiting.aggregate(oldest=Min(waiting_since))["oldest"]
        return max(0.0, (at - oldest).total_seconds()) if oldest else 0.0


class Transition(models.Model):
    """One change of an alert: history of the alert, and queue of what follows."""

    alert = models.ForeignKey(Alert, models.CASCADE, related_name="transitions")
    to = models.CharField(max_length=10, choices=Alert.State.choices)
    reason = models.CharField(max_length=500)
    at = models.DateTimeField()
    announced_at = models.DateTimeField(null=True, blank=True)
    due_at = models.DateTimeField(default=timezone.now)
    attempts = models.PositiveIntegerField(default=0)
    error = models.CharField(max_length=500, blank=True)

    objects = TransitionQuerySet.as_manager()

    class Meta:
        ordering = ["pk"]
        indexes = [
            models.Index(
                fields=["due_at"],
                condition=Q(announced_at=None),
                name="transition_due",
            )
        ]

    def __str__(self) -> str:
        return f"{self.alert_id} {self.to} at {self.at:%Y-%m-%d %H:%M:%S}"

    @transaction.atomic
    def announce(self, *, at: datetime) -> bool:
        """Tell the listeners; all they do and this row's mark commit together."""
        if not Transition.objects.filter(pk=self.pk, announced_at=None).update(
            announced_at=at, error=""
        ):
            return False  # another worker got there first
        triggered = self.to == Alert.State.TRIGGERED
        signal = alert_triggered if triggered else alert_resolved
        signal.send(sender=Alert, alert=self.alert, transition=self)
        # The incident is there: the notices have nothing more to wait for.
        Message.hasten(topic_key=self.alert.topic_key, at=at)
        return True

    def postpone(self, error: Exception, *, at: datetime) -> None:
        """Note that a listener failed and when to try again: 2 s, 4 s … 5 min."""
        Transition.objects.filter(pk=self.pk, announced_at=None).update(
            attempts=F("attempts") + 1,
            due_at=at + back_off(self.attempts + 1),
            error=f"{type(error).__name__}: {error}"[:500],
        )


def back_off(attempts: int) -> timedelta:
    """How long to wait after so many failed attempts: 2 s, 4 s … 5 min."""
    return timedelta(seconds=min(300.0, 2.0 ** min(attempts, 10)))


class EvaluationFailure(models.Model):
    """A monitor whose rules could not be evaluated; tried again with back-off."""

    monitor = models.OneToOneField(
        Monitor, models.CASCADE, primary_key=True, related_name="evaluation_failure"
    )
    error = models.CharField(max_length=500)
    attempts = models.PositiveIntegerField(default=1)
    failed_at = models.DateTimeField()
    due_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.monitor}: {self.error}"


class Decision(models.Model):
    """Why something that might have become an incident did not; one row an episode."""

    alert = models.ForeignKey(Alert, models.CASCADE, related_name="decisions")
    gate = models.CharField(max_length=30)
    reason = models.CharField(max_length=500)
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    count = models.PositiveIntegerField(default=1)

    class Meta:
        ordering = ["-last_at", "-pk"]
        constraints = [
            UniqueConstraint(
                fields=["alert", "gate"], name="one_decision_per_alert_and_gate"
            )
        ]

    def __str__(self) -> str:
        return f"{self.gate}: {self.reason}"

    @classmethod
    def note(cls, alert: Alert, gate: str, reason: str, *, at: datetime) -> None:
        """Remember a refusal; the same gate refusing again only counts."""
        decision, created = cls.objects.get_or_create(
            alert=alert,
            gate=gate,
            defaults={"reason": reason, "first_at": at, "last_at": at},
        )
        if not created:
            cls.objects.filter(pk=decision.pk).update(
                reason=reason, last_at=at, count=F("count") + 1
            )
