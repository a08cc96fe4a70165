from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final, NamedTuple, Protocol

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

from alerting import rules
from alerting.signals import alert_resolved, alert_triggered
from monitors.instants import ms
from monitors.models import Monitor
from monitors.statements import update_rows, written
from outbox.models import Message, message

from .decision import Decision, Said
from .failure import back_off
from .rule import AlertRule, RuleState


class AlertQuerySet(models.QuerySet["Alert"]):
    def triggered(self) -> "AlertQuerySet":
        return self.filter(state=Alert.State.TRIGGERED)

    def acknowledged(self) -> "AlertQuerySet":
        """Those that somebody has taken note of and that go on."""
        return self.triggered().exclude(acknowledged_at=None)

    def ack_expired(self, at: datetime) -> "AlertQuerySet":
        """Those acknowledged only until a moment that has passed."""
        return self.acknowledged().filter(acknowledged_until__lte=at)

    def remind_due(self, at: datetime) -> "AlertQuerySet":
        """Those to be told of once more, or at least to be given another moment."""
        return self.triggered().filter(remind_at__lte=at, acknowledged_at=None)

    def removable(self) -> "AlertQuerySet":
        """Those that nothing waits for: resolved, and everybody has heard of it.

        An incident that has not heard of the end would stay open for ever.
        """
        unheard = Transition.objects.filter(alert=OuterRef("pk"), announced_at=None)
        return self.filter(~Exists(unheard), state=Alert.State.RESOLVED)


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
    unit = models.CharField(max_length=7, default=AlertRule.Unit.CHECKS)
    observed = models.CharField(max_length=40)
    error = models.CharField(max_length=500, blank=True)
    # The gate that keeps its notices and its incident back, while one does.
    withheld = models.CharField(max_length=30, blank=True)
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.CharField(max_length=150, blank=True)
    acknowledged_until = models.DateTimeField(null=True, blank=True)
    note = models.CharField(max_length=500, blank=True)
    remind_at = models.DateTimeField(null=True, blank=True)
    reminders = models.PositiveIntegerField(default=0)
    # Where people read on; written by whoever opened the incident.
    incident_number = models.BigIntegerField(null=True, blank=True)
    incident_path = models.CharField(max_length=200, blank=True)

    objects = AlertQuerySet.as_manager()

    # What it keeps of its rule as it was.
    COPIED: ClassVar = (
        *("alert_for", "alert_value", "failure_threshold", "success_threshold"),
        *("unit", "severity", "description", "create_incident"),
    )

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
            models.Index(fields=["state", "remind_at"], name="alerts_by_state"),
            models.Index(
                fields=["monitor_tag", "-triggered_at"], name="alerts_of_monitor"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.monitor_name} {self.alert_for}: {self.alert_value}"

    # Factories and transitions

    @classmethod
    def trigger(
        cls, rule: AlertRule, monitor: Monitor, change: rules.Change
    ) -> "Alert":
        """Open the alert of a rule on a monitor, or return the one already open."""
        opening = Opening(rule, monitor, change)
        cls.open_all([opening], {}, at=timezone.now())
        return cls.objects.triggered().get(rule=rule, monitor=monitor)

    @classmethod
    @transaction.atomic
    def open_all(
        cls,
        openings: "Sequence[Opening]",
        refused: "Mapping[Any, Refused]",
        *,
        at: datetime,
    ) -> "list[Alert]":
        """Open alerts of rules on monitors, by `at`; one that is open stays as it is.

        Of those refused, by rule and monitor, nobody is told for now.
        """
        still_open = cls.objects.triggered().filter(
            monitor__in={o.monitor.pk for o in openings}
        )
        known = set(still_open.values_list("rule_id", "monitor_id"))
        new = [o for o in openings if o.key not in known]
        alerts = cls.objects.bulk_create(
            o.alert(refused.get(o.key), at=at) for o in new
        )
        said = [
            Said.of(alert, o.key, refusal, at)
            for alert, o in zip(alerts, new, strict=True)
            if (refusal := refused.get(o.key))
        ]
        Decision.write(said)
        noted = Transition.objects.bulk_create(
            o.transition(alert, refused.get(o.key), at=at)
            for alert, o in zip(alerts, new, strict=True)
        )
        told = [t for t in noted if not t.alert.withheld]
        Transition.tell(told, at=at)
        return alerts

    @classmethod
    @transaction.atomic
    def close_all(cls, closings: "Sequence[Closing]", *, at: datetime) -> None:
        """Resolve triggered alerts, whose rows are locked; nobody hears the end of
        what nobody was told of."""
        if not closings:
            return
        for closing in closings:
            alert = closing.alert
            alert.state = cls.State.RESOLVED
            alert.resolved_at = max(closing.at, alert.triggered_at)
        rows = [
            (a.pk, a.state, written(cls, "resolved_at", a.resolved_at))
            for a in (closing.alert for closing in closings)
        ]
        update_rows(cls, ("id", "state", "resolved_at"), rows)
        quiet = [c.alert.pk for c in closings if c.alert.withheld]
        if quiet:
            waiting = Transition.objects.filter(alert__in=quiet, announced_at=None)
            waiting.update(announced_at=at)
        noted = Transition.objects.bulk_create(c.transition(at=at) for c in closings)
        Transition.tell([t for t in noted if not t.alert.withheld], at=at)

    @transaction.atomic
    def resolve(self, *, reason: str, at: datetime) -> bool:
        """Close the alert and start counting from zero; twice changes nothing."""
        # Evaluation locks the rule first, too: whoever comes second waits.
        if self.rule_id is not None:
            AlertRule.objects.select_for_update(no_key=True).get(pk=self.rule_id)
        locked = Alert.objects.triggered().select_for_update(no_key=True)
        alert = locked.filter(pk=self.pk).first()
        if alert is None:
            return False
        alert.close_all([Closing(alert, reason, at)], at=timezone.now())
        RuleState.forget(alert)
        self.state, self.resolved_at = alert.state, alert.resolved_at
        return True

    @transaction.atomic
    def let_through(self, *, at: datetime) -> bool:
        """Tell of an alert that was held back, once."""
        due = Alert.objects.triggered().filter(pk=self.pk).exclude(withheld="")
        remind_at = self.rule.reminded(at) if self.rule else None
        if not due.update(withheld="", remind_at=remind_at):
            return False
        self.withheld, self.remind_at = "", remind_at
        first = self.transitions.filter(to=self.State.TRIGGERED).select_related("alert")
        Transition.tell(list(first), at=at)
        return True

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

    # Attention

    @property
    def is_acknowledged(self) -> bool:
        return self.acknowledged_at is not None

    @transaction.atomic
    def acknowledge(
        self, *, by: str, at: datetime, note: str = "", until: datetime | None = None
    ) -> bool:
        """Take note of it: nobody is reminded until a moment, or its end.

        Its triggers are told. By the same person again it changes note and moment
        only. False if it has resolved.
        """
        mine = Q(acknowledged_by=by, acknowledged_at__isnull=False)
        going_on = Alert.objects.triggered().filter(pk=self.pk)
        said = {"note": note[:500], "acknowledged_until": until}
        new = {"acknowledged_at": at, "acknowledged_by": by, **said}
        if going_on.exclude(mine).update(**new):
            self._set(new)
            if not self.withheld:
                told = {"by": by, "note": said["note"]}
                self._tell(f"acknowledged:{ms(at)}", "acknowledged", at, **told)
            return True
        if not going_on.filter(mine).update(**said):
            return False
        self._set(said)
        return True

    def unacknowledge(self, *, by: str, at: datetime) -> bool:
        """Take it back: whoever has missed a reminder meanwhile gets it now."""
        changes = {**_NOT_ACKNOWLEDGED, "note": f"Taken back by {by}."[:500]}
        same = Alert.objects.acknowledged().filter(pk=self.pk, acknowledged_at__lte=at)
        if not same.update(**changes):
            return False
        self._set(changes)
        return True

    def expire_acknowledgement(self, *, at: datetime) -> bool:
        """End what was only until a moment, and remind at once."""
        changes = {**_NOT_ACKNOWLEDGED, "remind_at": at}
        if not Alert.objects.ack_expired(at).filter(pk=self.pk).update(**changes):
            return False
        self._set(changes)
        return True

    @transaction.atomic
    def remind(self, *, at: datetime, is_quiet: bool = False) -> bool:
        """Tell its triggers once more, unless it is to be quiet; True if it did.

        The next moment is the first to come of its own schedule, so that an
        outage of Tocsin is followed by one reminder, not by all it has missed.
        """
        rule = self.rule if self.rule and self.rule.is_active else None
        is_told = bool(rule) and not is_quiet and not self.withheld
        number = self.reminders + is_told
        changes = {"remind_at": self._next_reminder(at), "reminders": number}
        same = Alert.objects.remind_due(at).filter(
            pk=self.pk, remind_at=self.remind_at, withheld=self.withheld
        )
        if not same.update(**changes):
            return False  # another worker got there first
        self._set(changes)
        if is_told:
            self._tell(f"reminder:{number}", "reminder", at, number=number)
        return is_told

    def _next_reminder(self, at: datetime) -> datetime | None:
        is_repeated = self.rule and self.rule.is_active and self.rule.repeat_minutes
        if not (self.rule and is_repeated and self.remind_at):
            return None
        step = timedelta(minutes=self.rule.repeat_minutes)
        return self.remind_at + ((at - self.remind_at) // step + 1) * step

    def _tell(self, key: str, kind: str, at: datetime, **said: Any) -> None:
        """Queue a notice that is not of a transition for the rule's triggers."""
        first = self.transitions.filter(to=self.State.TRIGGERED).last()
        if first is None or self.rule is None:
            return
        values = {"transition": first.pk, "kind": kind, "at": at.isoformat(), **said}
        # Without the config: that a secret cannot be read must not stop an alert.
        Message.queue(
            message(
                dedup_key=f"{self.topic_key}:{key}:trigger:{trigger.pk}",
                kind=trigger.kind,
                trigger=trigger,
                renderer="alert",
                values=values,
                recipient_key=f"trigger:{trigger.pk}",
                topic_key=self.topic_key,
            )
            for trigger in self.rule.triggers.active().defer("config")
        )

    def remove(self) -> bool:
        """Take a resolved alert out of the log for good; its incident stays."""
        return bool(Alert.objects.removable().filter(pk=self.pk).delete()[0])

    def _set(self, changes: Mapping[str, Any]) -> None:
        for name, value in changes.items():
            setattr(self, name, value)


_NOT_ACKNOWLEDGED: Final = {
    "acknowledged_at": None,
    "acknowledged_by": "",
    "acknowledged_until": None,
}


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
    # Whether the checks said so, rather than a person or a removal.
    is_evaluated = models.BooleanField(default=False)
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

    @classmethod
    def tell(cls, transitions: "Sequence[Transition]", *, at: datetime) -> None:
        """Queue the notices of transitions to the active triggers of their rules."""
        rule_ids = {t.alert.rule_id for t in transitions}
        if not rule_ids:
            return
        # Without the config: that a secret cannot be read must not stop an alert.
        asked = AlertRule.triggers.through.objects.filter(
            alertrule__in=rule_ids, trigger__is_active=True
        )
        triggers: dict[int | None, list[tuple[int, str]]] = {}
        for rule_id, pk, kind in asked.order_by("trigger").values_list(
            "alertrule", "trigger", "trigger__kind"
        ):
            triggers.setdefault(rule_id, []).append((pk, kind))
        Message.queue(
            transition.notice(pk, kind, at=at)
            for transition in transitions
            for pk, kind in triggers.get(transition.alert.rule_id, ())
        )

    def notice(self, trigger_id: int, kind: str, *, at: datetime) -> Message:
        """Make the unsaved message; one that opens an incident waits for it."""
        opens = self.to == Alert.State.TRIGGERED and self.alert.create_incident
        return message(
            dedup_key=f"transition:{self.pk}:trigger:{trigger_id}",
            kind=kind,
            trigger_id=trigger_id,
            renderer="alert",
            values={"transition": self.pk},
            recipient_key=f"trigger:{trigger_id}",
            topic_key=self.alert.topic_key,
            due_at=at + (Alert.NOTICES_WAIT if opens else timedelta()),
        )

    @classmethod
    @transaction.atomic
    def announce_together(
        cls, transitions: "Sequence[Transition]", *, at: datetime
    ) -> None:
        """Announce several that lead to no incident, in one transaction."""
        waiting = cls.objects.filter(announced_at=None).select_for_update(no_key=True)
        ours = waiting.filter(pk__in=[t.pk for t in transitions]).order_by("pk")
        pks = set(ours.values_list("pk", flat=True))
        cls.objects.filter(pk__in=pks).update(announced_at=at, error="")
        for transition in transitions:
            if transition.pk in pks:
                transition._send()

    @transaction.atomic
    def announce(self, *, at: datetime) -> bool:
        """Tell the listeners; all they do and this row's mark commit together."""
        if not Transition.objects.filter(pk=self.pk, announced_at=None).update(
            announced_at=at, error=""
        ):
            return False  # another worker got there first
        self._send()
        if self.to == Alert.State.TRIGGERED and self.alert.create_incident:
            # The incident is there: the notices have nothing more to wait for.
            Message.hasten(topic_key=self.alert.topic_key, at=at)
        return True

    def _send(self) -> None:
        triggered = self.to == Alert.State.TRIGGERED
        signal = alert_triggered if triggered else alert_resolved
        signal.send(sender=Alert, alert=self.alert, transition=self)

    def postpone(self, error: Exception, *, at: datetime) -> None:
        """Note that a listener failed and when to try again: 2 s, 4 s … 5 min."""
        Transition.objects.filter(pk=self.pk, announced_at=None).update(
            attempts=F("attempts") + 1,
            due_at=at + back_off(self.attempts + 1),
            error=f"{type(error).__name__}: {error}"[:500],
        )


class Refused(Protocol):
    """Which gate keeps an alert back, why, and when to ask again."""

    @property
    def gate(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def until(self) -> datetime: ...


class Opening(NamedTuple):
    """A change that opens the alert of a rule on a monitor."""

    rule: AlertRule
    monitor: Monitor
    change: rules.Change

    @property
    def key(self) -> tuple[int, int]:
        return self.rule.pk, self.monitor.pk

    def alert(self, refusal: Refused | None, *, at: datetime) -> Alert:
        rule, monitor, change = self
        return Alert(
            rule=rule,
            monitor=monitor,
            withheld=refusal.gate if refusal else "",
            remind_at=None if refusal else rule.reminded(at),
            began_at=change.began_at,
            triggered_at=change.result.at,
            monitor_name=monitor.name,
            monitor_tag=monitor.tag,
            monitor_kind=monitor.kind,
            rule_name=rule.name,
            observed=(change.observed or change.result.status)[:40],
            error=change.result.error,
            **{name: getattr(rule, name) for name in Alert.COPIED},
        )

    def transition(
        self, alert: Alert, refusal: Refused | None, *, at: datetime
    ) -> Transition:
        return Transition(
            alert=alert,
            to=Alert.State.TRIGGERED,
            reason=self.change.reason[:500],
            at=self.change.result.at,
            is_evaluated=True,
            due_at=refusal.until if refusal else at,
        )


class Closing(NamedTuple):
    """An alert that is to be resolved, why, and when it was."""

    alert: Alert
    reason: str
    at: datetime
    is_evaluated: bool = False

    def transition(self, *, at: datetime) -> Transition:
        """Make the row; nobody waits for that of an alert nobody was told of."""
        return Transition(
            alert=self.alert,
            to=Alert.State.RESOLVED,
            reason=self.reason[:500],
            at=max(self.at, self.alert.triggered_at),
            is_evaluated=self.is_evaluated,
            announced_at=at if self.alert.withheld else None,
        )
