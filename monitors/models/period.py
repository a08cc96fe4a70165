from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from django.db import models
from django.db.models import Q, UniqueConstraint

from monitors.instants import InstantField, instant, ms
from monitors.statements import insert_rows, select_rows, update_rows

from .status import Status


class Turn(NamedTuple):
    """The shown status of a monitor turns into another; `at` is in milliseconds."""

    monitor_id: int
    at: int
    status: str
    cause: str


# What the sums of a period are kept of, in this order.
SUMMED: Final = (
    Status.UP,
    Status.DEGRADED,
    Status.PARTIAL,
    Status.DOWN,
    Status.MAINTENANCE,
    Status.NO_DATA,
)
_PLACE: Final = {str(status): n for n, status in enumerate(SUMMED)}
_SUMS: Final = tuple(f"before_{status}" for status in SUMMED)
_OPEN: Final = ("id", "monitor", "status", "started_at", *_SUMS)
_WRITTEN: Final = ("monitor", "status", "started_at", "ended_at", "cause", *_SUMS)


class StatusPeriod(models.Model):
    """A monitor had this status from … until …; the truth for uptime and bars.

    Each period also says how many milliseconds of each status there were before
    it: what a monitor did between two moments is then the difference of two
    rows, however often its status changed in between. The periods of a monitor
    follow each other without a gap from the first one on.
    """

    monitor = models.ForeignKey(
        "Monitor", models.CASCADE, related_name="periods", db_index=False
    )
    status = models.CharField(max_length=12, choices=Status.choices)
    started_at = InstantField()
    ended_at = InstantField(null=True, blank=True)
    cause = models.CharField(max_length=500, blank=True)
    before_up = models.BigIntegerField(default=0)
    before_degraded = models.BigIntegerField(default=0)
    before_partial = models.BigIntegerField(default=0)
    before_down = models.BigIntegerField(default=0)
    before_maintenance = models.BigIntegerField(default=0)
    before_no_data = models.BigIntegerField(default=0)

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

        A turn to the status that a monitor has already changes nothing. To be
        called in a transaction that holds the state rows of the monitors.
        """
        if not turns:
            return
        ids = sorted({t.monitor_id for t in turns})
        rows = select_rows(cls, _OPEN, "monitor", ids, where='"ended_at" IS NULL')
        latest = {row[1]: _Period.read(row) for row in rows}
        open_before, begun = list(latest.values()), []
        for t in turns:
            period, at = latest.get(t.monitor_id), t.at
            if period and period.status == t.status:
                continue
            if period:
                # A clock put right must not make a period end before it began.
                at = period.ended_at = max(at, period.started_at)
            sums = period.sums_after() if period else [0] * len(SUMMED)
            latest[t.monitor_id] = _Period(
                0, t.monitor_id, t.status, at, sums, t.cause[:500]
            )
            begun.append(latest[t.monitor_id])
        ended = [(p.id, p.ended_at) for p in open_before if p.ended_at is not None]
        update_rows(cls, ["id", "ended_at"], ended)
        insert_rows(cls, _WRITTEN, [p.row() for p in begun])

    @classmethod
    def change(
        cls, monitor_id: int, status: str, *, at: datetime, cause: str = ""
    ) -> None:
        """Turn one monitor."""
        cls.turn([Turn(monitor_id, ms(at), status, cause)])

    @classmethod
    def rewind(cls, monitor_id: int, to: int) -> None:
        """Forget what was from a moment on; what was before goes on from there.

        To be followed by the turns that there were instead, in one transaction.
        """
        cls.objects.filter(monitor=monitor_id, started_at__gte=instant(to)).delete()
        cut = cls.objects.filter(monitor=monitor_id).order_by("-started_at", "-pk")[:1]
        cls.objects.filter(pk__in=cut.values("pk")).update(ended_at=None)


@dataclass(slots=True)
class _Period:
    """A row as it is written; moments and sums are milliseconds."""

    id: int
    monitor: int
    status: str
    started_at: int
    sums: list[int]
    cause: str = ""
    ended_at: int | None = None

    @classmethod
    def read(cls, row: tuple[Any, ...]) -> "_Period":
        number, monitor, status, started_at, *sums = row
        return cls(number, monitor, status, started_at, sums)

    def sums_after(self) -> list[int]:
        assert self.ended_at is not None
        sums = self.sums.copy()
        sums[_PLACE[self.status]] += self.ended_at - self.started_at
        return sums

    def row(self) -> tuple[object, ...]:
        began, ended = self.started_at, self.ended_at
        return (self.monitor, self.status, began, ended, self.cause, *self.sums)
