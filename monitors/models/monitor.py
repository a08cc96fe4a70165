from datetime import datetime
from typing import Any, ClassVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import (
    MaxValueValidator,
    MinValueValidator,
    RegexValidator,
)
from django.db import models, transaction
from django.db.models import Q, UniqueConstraint
from django.utils import timezone

from access.pool import give_back
from egress.kinds import ConfigInvalid, as_config, build
from monitors import schedules
from monitors.checkers import CHECKERS, Checker, Outcome
from monitors.instants import InstantField, instant, ms
from monitors.plans import Plan
from monitors.signals import (
    monitor_labelled,
    monitor_paused,
    monitor_resumed,
    monitor_retired,
)

from .period import StatusPeriod
from .severity import IncidentSeverity
from .state import MonitorState, new_revision
from .status import Status


def kind_choices() -> list[tuple[str, str]]:
    return [(kind, kind.upper()) for kind in CHECKERS]


class MonitorQuerySet(models.QuerySet["Monitor"]):
    def current(self) -> "MonitorQuerySet":
        """Leave out those retired."""
        return self.filter(retired_at=None)

    def active(self) -> "MonitorQuerySet":
        return self.current().filter(is_active=True)


class Label(models.Model):
    """A word by which monitors are found together: a team, a region, a customer."""

    name = models.CharField(
        max_length=50,
        unique=True,
        help_text="Lower-case letters, digits and hyphens, such as payments.",
        validators=[
            RegexValidator(
                r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?\Z",
                "Use lower-case letters, digits and hyphens, such as payments.",
            )
        ],
    )

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Counts(models.TextChoices):
    UP = "up", "As up"
    HALF = "half", "Half"
    DOWN = "down", "As down"


class Monitor(models.Model):
    tag = models.CharField(
        max_length=100,
        help_text="Its address in the API: lower-case letters, digits and hyphens.",
        validators=[
            RegexValidator(
                r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?\Z",
                "Use lower-case letters, digits and hyphens, such as checkout-api.",
            )
        ],
    )
    name = models.CharField(max_length=150, help_text="What people read.")
    kind = models.CharField(max_length=20, choices=kind_choices, default="http")
    config = models.JSONField(default=dict)
    interval = models.PositiveIntegerField(
        default=60,
        validators=[MinValueValidator(5), MaxValueValidator(86_400)],
        help_text="Seconds from one check to the next, 5 to 86,400.",
    )
    cron = models.CharField(
        max_length=100,
        blank=True,
        help_text="Instead of an interval: minute, hour, day, month and weekday, "
        "such as 0 6 * * 1-5.",
    )
    time_zone = models.CharField(
        max_length=64,
        default="UTC",
        help_text="In which the cron expression is read, such as Europe/Berlin.",
    )
    confirmations = models.PositiveSmallIntegerField(
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(10)],
        help_text="Checks in a row that have to agree before another status is "
        "shown, 1 to 10. Alert rules count every check.",
    )
    retry_interval = models.PositiveIntegerField(
        default=20,
        validators=[MinValueValidator(5), MaxValueValidator(86_400)],
        help_text="Seconds to the next check while a change is not confirmed.",
    )
    degraded_counts = models.CharField(
        max_length=4,
        choices=Counts.choices,
        default=Counts.UP,
        help_text="How degraded and partly failing time enters the uptime.",
    )
    parents = models.ManyToManyField(
        "self",
        symmetrical=False,
        blank=True,
        related_name="children",
        help_text="While one of them is down, failures here are marked as its "
        "consequences.",
    )
    labels = models.ManyToManyField(
        Label,
        blank=True,
        related_name="monitors",
        help_text="Alert rules and silences can be for all monitors with a label.",
    )
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        help_text="Told when Tocsin holds something back because of this monitor.",
    )
    # What automatic incidents are to be like; null leaves it to rule and settings.
    incident_severity = models.PositiveSmallIntegerField(
        "severity of its incidents",
        choices=IncidentSeverity.choices,
        null=True,
        blank=True,
        help_text="Comes before that of the rule.",
    )
    incident_drafts = models.BooleanField(
        "its incidents begin as drafts",
        choices=[(True, "Always"), (False, "Never")],
        null=True,
        blank=True,
        help_text="A draft is public once a person publishes it.",
    )
    is_active = models.BooleanField(default=True, help_text="Off means paused.")
    # Results before this moment do not count towards any rule.
    counts_from = InstantField(default=timezone.now, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    retired_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = MonitorQuerySet.as_manager()

    # What makes a check another one, and what makes its moments others.
    PACE: ClassVar = {"interval", "cron", "time_zone", "tag"}
    EDITED: ClassVar = ("kind", "config", *sorted(PACE))
    # Seconds over which the first checks are spread when many are resumed.
    RESUMED_WITHIN: ClassVar = 10.0

    class Meta:
        ordering = ["name", "pk"]
        constraints = [
            UniqueConstraint(
                fields=["tag"],
                condition=Q(retired_at=None),
                name="one_current_monitor_per_tag",
                violation_error_message="There is already a monitor with this tag.",
            )
        ]

    def __str__(self) -> str:
        return self.name

    # Factories and mutations

    def clean(self) -> None:
        """Validate the config by building the checker, spelling its defaults out."""
        errors: dict[str, Any] = {}
        if self.kind not in CHECKERS:
            raise ValidationError({"kind": f"Choose one of {', '.join(CHECKERS)}."})
        try:
            self.config = as_config(self.checker)
        except ConfigInvalid as invalid:
            errors["config"] = [f"{k}: {v}" for k, v in invalid.errors.items()]
        try:
            schedules.cron(self.cron or "0 0 * * *", self.time_zone)
        except schedules.ScheduleInvalid as invalid_schedule:
            wrong = "time_zone" if "zone" in str(invalid_schedule) else "cron"
            errors[wrong] = str(invalid_schedule)
        if errors:
            raise ValidationError(errors)

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save; a new monitor gets its state row, an edited one counts anew."""
        with transaction.atomic():
            if self._state.adding:
                super().save(*args, **kwargs)
                MonitorState.begin([self])
                return
            before = Monitor.objects.filter(pk=self.pk).values(*self.EDITED).get()
            edited = {n for n in self.EDITED if before[n] != getattr(self, n)}
            is_another = not edited.isdisjoint({"kind", "config"})
            if is_another:
                self.counts_from = timezone.now()
            super().save(*args, **kwargs)
            self._note_edit(is_another, is_paced_anew=bool(edited & self.PACE))

    def _note_edit(self, is_another: bool, *, is_paced_anew: bool) -> None:
        states = MonitorState.objects.filter(pk=self.pk)
        states.update(revision=new_revision())
        if is_another and self.is_active:
            # What is being checked right now is no longer what was asked for.
            states.update(claim=None, lease_until=None, due_at=self.counts_from)
        elif is_paced_anew:
            # The next check comes now; after it the new pace holds.
            waiting = states.filter(claim=None).exclude(due_at=None)
            waiting.update(due_at=timezone.now())

    def depend_on(self, parents: "models.QuerySet[Monitor] | list[Monitor]") -> None:
        """Have exactly these parents. Raises ValidationError for itself."""
        if self in parents:
            raise ValidationError({"parents": "A monitor cannot be its own parent."})
        with transaction.atomic():
            self.parents.set(parents)
            MonitorState.objects.filter(pk=self.pk).update(revision=new_revision())

    @transaction.atomic
    def label(self, labels: "models.QuerySet[Label] | list[Label]") -> None:
        """Bear exactly these labels."""
        self.labels.set(labels)
        monitor_labelled.send(sender=Monitor, monitor=self, at=timezone.now())

    @transaction.atomic
    def pause(self, *, at: datetime) -> bool:
        """Stop watching; what is shown becomes no_data. Pausing twice does nothing."""
        if not Monitor.objects.filter(pk=self.pk, is_active=True).update(
            is_active=False
        ):
            return False
        self.is_active = False
        self._stop(at, "paused")
        monitor_paused.send(sender=Monitor, monitor=self, at=at)
        return True

    @transaction.atomic
    def resume(self, *, at: datetime) -> bool:
        """Watch again, counting from zero results."""
        changed = Monitor.objects.filter(
            pk=self.pk, is_active=False, retired_at=None
        ).update(is_active=True, counts_from=at)
        if not changed:
            return False
        self.is_active, self.counts_from = True, at
        soon = ms(at) + int(schedules.spread(self.tag) * self.RESUMED_WITHIN * 1000)
        MonitorState.objects.filter(monitor=self).update(due_at=soon, claim=None)
        monitor_resumed.send(sender=Monitor, monitor=self, at=at)
        return True

    @transaction.atomic
    def retire(self, *, at: datetime) -> bool:
        """Take the monitor out of service for good; its history stays."""
        if not Monitor.objects.filter(pk=self.pk, retired_at=None).update(
            retired_at=at, is_active=False
        ):
            return False
        self.retired_at, self.is_active = at, False
        self._stop(at, "retired")
        monitor_retired.send(sender=Monitor, monitor=self, at=at)
        return True

    def _stop(self, at: datetime, cause: str) -> None:
        MonitorState.objects.filter(monitor=self).update(
            due_at=None,
            claim=None,
            lease_until=None,
            fresh_until=None,
            status=Status.NO_DATA,
            raw_status=Status.NO_DATA,
            since=at,
            unconfirmed="",
            unconfirmed_since=None,
            unconfirmed_count=0,
            failing_since=None,
        )
        StatusPeriod.change(self.pk, Status.NO_DATA, at=at, cause=cause)

    # Queries and properties

    @property
    def checker(self) -> Checker:
        """The checker built from the config; raises ConfigInvalid."""
        return build(CHECKERS[self.kind], self.config)

    def probe(self) -> Outcome:
        """Ask the target once, leaving no trace in history."""
        checker = self.checker
        give_back()
        return checker.run()

    @property
    def schedule(self) -> schedules.Schedule:
        """When it is due; raises ScheduleInvalid."""
        if self.cron:
            return schedules.cron(self.cron, self.time_zone)
        return schedules.every(self.interval, self.tag)

    @property
    def plan(self) -> Plan:
        """What a worker has to know to check it."""
        checker, problem = None, ""
        try:
            checker = self.checker
        except (ConfigInvalid, KeyError) as error:
            problem = f"The monitor cannot be checked: {error}"
        return Plan(
            pk=self.pk,
            tag=self.tag,
            kind=self.kind,
            revision=self.state.revision,
            checker=checker,
            problem=problem,
            schedule=self.schedule,
            timeout=int(1000 * checker.timeout) if checker else 0,
            confirmations=self.confirmations,
            retry=self.retry_interval * 1000,
            parents=tuple(parent.pk for parent in self.parents.all()),
        )

    def next_due(self, after: datetime) -> datetime:
        """Return the first of this monitor's slots after a moment."""
        return instant(self.schedule.next(ms(after)))
