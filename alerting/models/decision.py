from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.db import models
from django.db.models import (
    UniqueConstraint,
)

from monitors.instants import InstantField, ms
from monitors.models import Monitor
from monitors.statements import insert_rows

from .rule import AlertRule

if TYPE_CHECKING:
    from .alert import Alert, Refused


class DecisionQuerySet(models.QuerySet["Decision"]):
    def before(self, at: datetime) -> "DecisionQuerySet":
        """Those that were last said before a moment, the oldest first."""
        return self.filter(last_at__lt=at).order_by("last_at", "pk")


class Decision(models.Model):
    """Why something that might have become an alert or an incident did not.

    One row for a rule, monitor, gate and episode; the episode is known by the
    moment at which the failing began.
    """

    class Verdict(models.TextChoices):
        REFUSED = "REFUSED", "Refused"
        WITHHELD = "WITHHELD", "Held back"
        JOINED = "JOINED", "Joined another"
        REOPENED = "REOPENED", "Opened again"
        DRAFTED = "DRAFTED", "Made a draft"

    rule = models.ForeignKey(AlertRule, models.CASCADE, related_name="decisions")
    monitor = models.ForeignKey(Monitor, models.CASCADE, related_name="decisions")
    alert = models.ForeignKey(
        "Alert", models.SET_NULL, null=True, blank=True, related_name="decisions"
    )
    gate = models.CharField(max_length=30)
    verdict = models.CharField(
        max_length=10, choices=Verdict.choices, default=Verdict.REFUSED
    )
    episode_at = InstantField()
    reason = models.CharField(max_length=500)
    first_at = InstantField()
    last_at = InstantField()
    count = models.PositiveIntegerField(default=1)

    objects = DecisionQuerySet.as_manager()

    class Meta:
        ordering = ["-last_at", "-pk"]
        constraints = [
            UniqueConstraint(
                fields=["rule", "monitor", "gate", "episode_at"],
                name="one_decision_per_gate_and_episode",
            )
        ]
        indexes = [
            models.Index(fields=["monitor", "-last_at"], name="decisions_of_monitor"),
            models.Index(fields=["-last_at", "-id"], name="decisions_newest_first"),
        ]

    def __str__(self) -> str:
        return f"{self.gate}: {self.reason}"

    @classmethod
    def note(
        cls,
        alert: "Alert",
        gate: str,
        reason: str,
        *,
        at: datetime,
        verdict: str = Verdict.REFUSED,
    ) -> None:
        """Remember what a gate said of an alert; the same again only counts."""
        if alert.rule_id is not None and alert.monitor_id is not None:
            cls.write(
                [
                    Said(
                        alert.rule_id,
                        alert.monitor_id,
                        gate,
                        alert.began_at,
                        reason,
                        at,
                        verdict,
                        alert.pk,
                    )
                ]
            )

    @classmethod
    def write(cls, said: Sequence["Said"]) -> None:
        """Write down what gates said, in one statement; what is known counts on."""
        rows: dict[tuple[Any, ...], list[Any]] = {}
        for one in said:
            key = (one.rule_id, one.monitor_id, one.gate, ms(one.episode_at))
            at = ms(one.at)
            row = rows.setdefault(key, [None, "", "", at, at, 0])
            row[:3] = one.alert_id or row[0], one.verdict, one.reason[:500]
            row[4], row[5] = max(at, row[4]), row[5] + one.times
        insert_rows(
            cls,
            (
                *("rule", "monitor", "gate", "episode_at"),
                *("alert", "verdict", "reason", "first_at", "last_at", "count"),
            ),
            [(*key, *row) for key, row in rows.items()],
            conflict=_COUNT_ON,
        )


# What becomes of a decision that is said again.
_COUNT_ON: Final = (
    "(rule_id, monitor_id, gate, episode_at) DO UPDATE SET "
    "alert_id = COALESCE(excluded.alert_id, alerting_decision.alert_id), "
    "verdict = excluded.verdict, reason = excluded.reason, "
    "last_at = excluded.last_at, "
    "count = alerting_decision.count + excluded.count"
)


class Said(NamedTuple):
    """What a gate said at a moment, of an episode of a rule and monitor.

    It counts `times` more; nothing for a gate that was only asked again.
    """

    rule_id: int
    monitor_id: int
    gate: str
    episode_at: datetime
    reason: str
    at: datetime
    verdict: str = Decision.Verdict.REFUSED
    alert_id: int | None = None
    times: int = 1

    @classmethod
    def of(
        cls, alert: "Alert", key: tuple[int, int], refusal: "Refused", at: datetime
    ) -> "Said":
        withheld = Decision.Verdict.WITHHELD
        return cls(
            *(*key, refusal.gate, alert.began_at, refusal.reason),
            *(at, withheld, alert.pk),
        )
