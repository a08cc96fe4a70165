import hashlib
import math
import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import (
    MaxValueValidator,
    MinValueValidator,
    RegexValidator,
)
from django.db import connection, models, transaction
from django.db.models import F, Q, UniqueConstraint
from django.utils import timezone

from access.pool import give_back
from egress.kinds import ConfigInvalid, as_config, build

from .checkers import CHECKERS, Checker, Outcome
from .signals import monitor_paused, monitor_resumed, monitor_retired
from .statements import update_rows


class Status(models.TextChoices):
    UP = "up", "Up"
    DEGRADED = "degraded", "Degraded"
    PARTIAL = "partial", "Partial outage"
    DOWN = "down", "Down"
    MAINTENANCE = "maintenance", "Maintenance"
    NO_DATA = "no_data", "No data"


# Within one kind of overlay, and over a group of monitors, the worst wins.
BADNESS = {
    Status.NO_DATA: 0,
    Status.UP: 1,
    Status.MAINTENANCE: 2,
    Status.DEGRADED: 3,
    Status.PARTIAL: 4,
    Status.DOWN: 5,
}


def kind_choices() -> list[tuple[str, str]]:
    return [(kind, kind.upper()) for kind in CHECKERS]


class MonitorQuerySet(models.QuerySet["Monitor"]):
    def current(self) -> "MonitorQuerySet":
        """Leave out those retired."""
        return self.filter(retired_at=None)

    def active(self) -> "MonitorQuerySet":
        return self.current().filter(is_active=True)


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
    is_active = models.BooleanField(default=True, help_text="Off means paused.")
    # Results before this moment do not count towards any rule.
    counts_from = models.DateTimeField(default=timezone.now, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    retired_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = MonitorQuerySet.as_manager()

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
        if self.kind not in CHECKERS:
            raise ValidationError({"kind": f"Choose one of {', '.join(CHECKERS)}."})
        try:
            self.config = as_config(self.checker)
        except ConfigInvalid as invalid:
            raise ValidationError(
                {"config": [f"{k}: {v}" for k, v in invalid.errors.items()]}
            ) from invalid

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save; a new monitor gets its state row, an edited one counts anew."""
        if self._state.adding:
            with transaction.atomic():
                super().save(*args, **kwargs)
                MonitorState.begin([self])
            return
        with transaction.atomic():
            asked = Monitor.objects.filter(pk=self.pk).values("kind", "config")
            edited = asked.first() != {"kind": self.kind, "config": self.config}
            paced = Monitor.objects.filter(pk=self.pk, interval=self.interval).exists()
            if edited:
                self.counts_from = timezone.now()
            super().save(*args, **kwargs)
            if edited and self.is_active:
                # What is being checked right now is no longer what was asked for.
                MonitorState.objects.filter(monitor=self).update(
                    claim=None, lease_until=None, due_at=self.counts_from
                )
            elif not paced:
                # The next check comes now; after it the new interval holds.
                waiting = MonitorState.objects.filter(monitor=self, claim=None)
                waiting.exclude(due_at=None).update(due_at=timezone.now())

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
        MonitorState.objects.filter(monitor=self).update(due_at=at, claim=None)
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
            since=at,
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

    def next_due(self, after: datetime) -> datetime:
        """Return the first of this monitor's slots after a moment.

        Slots lie one interval apart, shifted by a stable hash of the tag, so
        that monitors spread evenly and a restart does not bunch them.
        """
        digest = hashlib.blake2s(self.tag.encode(), digest_size=8).digest()
        phase = int.from_bytes(digest, "big") / 2**64 * self.interval
        slot = math.floor((after.timestamp() - phase) / self.interval) + 1
        return datetime.fromtimestamp(slot * self.interval + phase, tz=after.tzinfo)

    def fresh_until(self, checked_at: datetime) -> datetime:
        """How long a result speaks for the monitor: two intervals and a timeout."""
        return checked_at + timedelta(
            seconds=2 * self.interval + float(self.config.get("timeout") or 0)
        )


class MonitorState(models.Model):
    """The narrow, hot row of a monitor: when it is due, who has it, how it is."""

    monitor = models.OneToOneField(
        Monitor, models.CASCADE, primary_key=True, related_name="state"
    )
    due_at = models.DateTimeField(null=True, blank=True)
    # A claim is a number nobody can guess; only its holder may record a result.
    claim = models.BigIntegerField(null=True, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    status = models.CharField(
        max_length=12, choices=Status.choices, default=Status.NO_DATA
    )
    since = models.DateTimeField(default=timezone.now)
    fresh_until = models.DateTimeField(null=True, blank=True)
    checked_at = models.DateTimeField(null=True, blank=True)
    latency_ms = models.FloatField(null=True, blank=True)
    error = models.CharField(max_length=500, blank=True)
    # The newest result, and the newest one that every rule has seen.
    last_result = models.BigIntegerField(default=0)
    evaluated_through = models.BigIntegerField(default=0)

    class Meta:
        indexes = [
            models.Index(fields=["due_at"], name="monitor_due"),
            models.Index(
                fields=["monitor"],
                condition=Q(evaluated_through__lt=F("last_result")),
                name="monitor_unevaluated",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.monitor_id}: {self.status}"

    def status_at(self, at: datetime) -> str:
        """The status, unless the newest result no longer speaks for the monitor."""
        is_stale = self.fresh_until is not None and self.fresh_until < at
        return Status.NO_DATA if is_stale else self.status

    @classmethod
    def begin(cls, monitors: Iterable[Monitor]) -> None:
        """Make the rows of new monitors, due at once, and open their history."""
        monitors = list(monitors)
        MonitorState.objects.bulk_create(
            MonitorState(
                monitor=m,
                due_at=m.created_at if m.is_active else None,
                since=m.created_at,
            )
            for m in monitors
        )
        StatusPeriod.objects.bulk_create(
            StatusPeriod(
                monitor=m,
                status=Status.NO_DATA,
                started_at=m.created_at,
                cause="not yet checked",
            )
            for m in monitors
        )

    @classmethod
    def claim_due(cls, *, at: datetime, until: datetime, limit: int) -> list["Claim"]:
        """Take what falls due before `until` and nobody has, for the lease's time.

        One statement, so that two workers never take the same tick.
        """
        claim = secrets.randbits(62)
        due = cls.objects.filter(
            Q(lease_until=None) | Q(lease_until__lte=at), due_at__lt=until
        ).order_by("due_at")
        if connection.features.has_select_for_update_skip_locked:
            due = due.select_for_update(skip_locked=True)
        lease = timedelta(seconds=settings.CHECK_LEASE_SECONDS)
        with transaction.atomic():
            taken = cls.objects.filter(pk__in=due.values("pk")[:limit]).update(
                claim=claim, lease_until=until + lease
            )
        if not taken:
            return []
        states = cls.objects.filter(claim=claim).select_related("monitor")
        return [Claim(state.monitor, claim, state.due_at or at) for state in states]

    @classmethod
    @transaction.atomic
    def renew(
        cls, ids: Iterable[int], claims: Iterable[int], *, until: datetime
    ) -> None:
        """Let claims last longer: their checks are still running."""
        held = cls.objects.filter(pk__in=list(ids), claim__in=list(claims))
        list(held.select_for_update().order_by("pk").values_list("pk"))
        held.update(lease_until=until)

    @classmethod
    def release(cls, claims: Iterable["Claim"]) -> None:
        """Give back what was claimed and not checked, for others to take now."""
        held = {claim.monitor.pk: claim.number for claim in claims}
        with transaction.atomic():
            locked = cls.objects.select_for_update().filter(pk__in=held).order_by("pk")
            mine = [state.pk for state in locked if state.claim == held[state.pk]]
            cls.objects.filter(pk__in=mine).update(claim=None, lease_until=None)


class Claim:
    """A monitor taken for one check, to be started at its own moment."""

    __slots__ = ("due_at", "monitor", "number")

    def __init__(self, monitor: Monitor, number: int, due_at: datetime) -> None:
        self.monitor, self.number, self.due_at = monitor, number, due_at


class CheckResult(models.Model):
    """One observation. `checked_at` is when the request started."""

    id = models.BigAutoField(primary_key=True)
    monitor = models.ForeignKey(Monitor, models.CASCADE, related_name="results")
    checked_at = models.DateTimeField()
    status = models.CharField(max_length=12, choices=Status.choices)
    latency_ms = models.FloatField(null=True, blank=True)
    error = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["-pk"]
        constraints = [
            UniqueConstraint(
                fields=["monitor", "checked_at"], name="one_result_a_moment"
            )
        ]
        indexes = [
            models.Index(fields=["monitor", "id"], name="results_in_order"),
            models.Index(fields=["checked_at"], name="results_by_age"),
        ]

    def __str__(self) -> str:
        return f"{self.status} at {self.checked_at:%Y-%m-%d %H:%M:%S}"


class Turn(NamedTuple):
    """The shown status of a monitor turns into another."""

    monitor_id: int
    at: datetime
    status: str
    cause: str


class StatusPeriod(models.Model):
    """A monitor had this status from … until …; the truth for uptime and bars."""

    monitor = models.ForeignKey(Monitor, models.CASCADE, related_name="periods")
    status = models.CharField(max_length=12, choices=Status.choices)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    cause = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["started_at", "pk"]
        constraints = [
            UniqueConstraint(
                fields=["monitor"],
                condition=Q(ended_at=None),
                name="one_open_period_per_monitor",
            )
        ]
        indexes = [
            models.Index(fields=["monitor", "started_at"], name="periods_in_order")
        ]

    def __str__(self) -> str:
        return f"{self.status} from {self.started_at:%Y-%m-%d %H:%M}"

    @classmethod
    def turn(cls, turns: Sequence[Turn]) -> None:
        """Write turns, in order: three statements, however many they are.

        A turn to the status that a monitor has already changes nothing.
        """
        if not turns:
            return
        ids = {t.monitor_id for t in turns}
        known = StatusPeriod.objects.filter(monitor__in=ids, ended_at=None)
        latest = {period.monitor_id: period for period in known}
        open_before, begun = list(latest.values()), []
        for t in turns:
            period, at = latest.get(t.monitor_id), t.at
            if period and period.status == t.status:
                continue
            if period:
                # A clock put right must not make a period end before it began.
                at = period.ended_at = max(at, period.started_at)
            latest[t.monitor_id] = StatusPeriod(
                monitor_id=t.monitor_id,
                status=t.status,
                started_at=at,
                cause=t.cause[:500],
            )
            begun.append(latest[t.monitor_id])
        ended = [(p.pk, p.ended_at) for p in open_before if p.ended_at]
        update_rows(StatusPeriod, ["id", "ended_at"], ended)
        StatusPeriod.objects.bulk_create(begun)

    @classmethod
    def change(
        cls, monitor_id: int, status: str, *, at: datetime, cause: str = ""
    ) -> None:
        """Turn one monitor."""
        cls.turn([Turn(monitor_id, at, status, cause)])


class OverlayQuerySet(models.QuerySet["Overlay"]):
    def over(self, begin: datetime, end: datetime) -> "OverlayQuerySet":
        """Those that touch the time from begin until end."""
        return self.filter(Q(ended_at=None) | Q(ended_at__gt=begin), started_at__lt=end)


class Overlay(models.Model):
    """A status laid over a monitor by an incident or a maintenance."""

    class Kind(models.TextChoices):
        INCIDENT = "incident"
        MAINTENANCE = "maintenance"

    monitor = models.ForeignKey(Monitor, models.CASCADE, related_name="overlays")
    kind = models.CharField(max_length=12, choices=Kind.choices)
    status = models.CharField(max_length=12, choices=Status.choices)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    # Whose it is, in the words of whoever laid it; opaque here.
    cause = models.CharField(max_length=100)
    holds_alerts = models.BooleanField(default=False)
    # An automatic incident repeats what the checks have already said.
    counts = models.BooleanField(default=True)

    objects = OverlayQuerySet.as_manager()

    class Meta:
        constraints = [
            UniqueConstraint(
                fields=["monitor", "cause"],
                condition=Q(ended_at=None),
                name="one_open_overlay_per_cause",
            )
        ]
        indexes = [
            models.Index(fields=["monitor", "started_at"], name="overlays_in_order"),
            models.Index(fields=["cause"], name="overlays_by_cause"),
        ]

    def __str__(self) -> str:
        return f"{self.status} because of {self.cause}"


class Pulse(models.Model):
    """When a part of the clockwork last moved; what readiness is judged by."""

    name = models.CharField(max_length=50, primary_key=True)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name} at {self.at:%H:%M:%S}"

    @classmethod
    def note(cls, name: str, *, at: datetime) -> None:
        if not cls.objects.filter(pk=name).update(at=at):
            Pulse.objects.bulk_create([Pulse(name=name, at=at)], ignore_conflicts=True)


def worst(statuses: Sequence[str]) -> str:
    return max(statuses, key=lambda s: BADNESS[Status(s)], default=Status.NO_DATA)
