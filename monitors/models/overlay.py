from datetime import datetime

from django.db import models
from django.db.models import Q, UniqueConstraint

from .status import Status


class OverlayQuerySet(models.QuerySet["Overlay"]):
    def over(self, begin: datetime, end: datetime) -> "OverlayQuerySet":
        """Those that touch the time from begin until end."""
        return self.filter(Q(ended_at=None) | Q(ended_at__gt=begin), started_at__lt=end)


class Overlay(models.Model):
    """A status laid over a monitor by an incident or a maintenance."""

    class Kind(models.TextChoices):
        INCIDENT = "incident"
        MAINTENANCE = "maintenance"

    monitor = models.ForeignKey("Monitor", models.CASCADE, related_name="overlays")
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
