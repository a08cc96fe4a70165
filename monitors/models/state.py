import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import connection, models, transaction
from django.db.models import F, Q
from django.utils import timezone

from monitors.instants import InstantField, instant, ms
from monitors.plans import Plan, plans_of
from monitors.schedules import spread
from monitors.statements import select_rows, update_rows

from .period import StatusPeriod
from .status import Status

if TYPE_CHECKING:
    from .monitor import Monitor


def new_revision() -> int:
    """A number that no other edit of the monitor had, guessed not counted."""
    return secrets.randbits(31)


class MonitorState(models.Model):
    """The narrow, hot row of a monitor: when it is due, who has it, how it is.

    `status` is what is shown, `raw_status` what the newest observation said;
    they differ while a change waits to be confirmed.
    """

    monitor = models.OneToOneField(
        "Monitor", models.CASCADE, primary_key=True, related_name="state"
    )
    due_at = InstantField(null=True, blank=True)
    # A claim is a number nobody can guess; only its holder may record a result.
    claim = models.BigIntegerField(null=True, blank=True)
    lease_until = InstantField(null=True, blank=True)
    # Another one whenever what is to be checked, or how, is edited.
    revision = models.PositiveIntegerField(default=new_revision)
    status = models.CharField(
        max_length=12, choices=Status.choices, default=Status.NO_DATA
    )
    since = InstantField(default=timezone.now)
    raw_status = models.CharField(
        max_length=12, choices=Status.choices, default=Status.NO_DATA
    )
    # A status that has been seen and is not shown yet.
    unconfirmed = models.CharField(max_length=12, blank=True)
    unconfirmed_since = InstantField(null=True, blank=True)
    unconfirmed_count = models.PositiveSmallIntegerField(default=0)
    fresh_until = InstantField(null=True, blank=True)
    checked_at = InstantField(null=True, blank=True)
    latency_ms = models.FloatField(null=True, blank=True)
    error = models.CharField(max_length=500, blank=True)
    # When the failing observations began that the newest one belongs to.
    failing_since = InstantField(null=True, blank=True)
    # The position of the newest result, and of the newest that all rules have seen.
    last_result = models.BigIntegerField(default=0)
    evaluated_through = models.BigIntegerField(default=0)
    evaluated_at = InstantField(default=timezone.now)
    # The newest evaluated statuses, packed, and what they say (see alerting.flapping).
    recent = models.BigIntegerField(default=0)
    is_flapping = models.BooleanField(default=False)
    # When the certificate that was seen last ends.
    certificate_expires_at = InstantField(null=True, blank=True)

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
    def begin(cls, monitors: Iterable["Monitor"]) -> None:
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

        In one transaction, so that two workers never take the same tick.
        """
        number = secrets.randbits(62)
        lease_until = ms(until) + int(settings.CHECK_LEASE_SECONDS * 1000)
        with transaction.atomic():
            rows = cls._free_and_due(ms(at), ms(until), limit)
            taken = [(row[0], number, lease_until) for row in rows]
            update_rows(cls, ("monitor", "claim", "lease_until"), taken)
        plans = plans_of({row[0]: row[2] for row in rows})
        return [
            Claim(plans[pk], number, due, raw)
            for pk, due, _, raw in rows
            if pk in plans  # else it was deleted a moment ago
        ]

    @classmethod
    def _free_and_due(
        cls, at: int, until: int, limit: int
    ) -> list[tuple[int, int, int, str]]:
        lock = (
            "FOR UPDATE SKIP LOCKED"
            if connection.features.has_select_for_update_skip_locked
            else ""
        )
        sql = (
            "SELECT monitor_id, due_at, revision, raw_status FROM monitors_monitorstate "
            "WHERE due_at < %s AND (lease_until IS NULL OR lease_until <= %s) "
            f"ORDER BY due_at LIMIT %s {lock}"
        )
        with connection.cursor() as cursor:
            cursor.execute(sql, [until, at, limit])
            return cursor.fetchall()

    @classmethod
    def spread_out(cls, *, at: datetime, seconds: float) -> int:
        """Give what has been overdue since before an outage of our own new moments.

        Each is checked once, within half of its interval or so many seconds,
        whichever is less; return how many.
        """
        now = ms(at)
        with transaction.atomic():
            every = cls.objects.select_for_update(of=("self",))
            late = every.filter(due_at__lt=at, claim=None).order_by("pk")
            names = ("pk", "monitor__tag", "monitor__interval", "monitor__cron")
            rows = []
            for pk, tag, interval, cron in late.values_list(*names):
                within = seconds if cron else min(seconds, interval / 2)
                rows.append((pk, now + int(spread(tag) * within * 1000)))
            return update_rows(cls, ["monitor", "due_at"], rows)

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
        held = {claim.plan.pk: claim.number for claim in claims}
        with transaction.atomic():
            rows = select_rows(
                cls, ["monitor", "claim"], "monitor", sorted(held), lock=True
            )
            mine = [pk for pk, number in rows if number == held[pk]]
            cls.objects.filter(pk__in=mine).update(claim=None, lease_until=None)


class Claim:
    """A monitor taken for one check, to be started at its own moment.

    `due` is in milliseconds since 1970; `last_seen` is the raw status before.
    """

    __slots__ = ("due", "last_seen", "number", "plan")

    def __init__(self, plan: Plan, number: int, due: int, last_seen: str = "") -> None:
        self.plan, self.number, self.due, self.last_seen = plan, number, due, last_seen

    @property
    def due_at(self) -> datetime:
        return instant(self.due)
