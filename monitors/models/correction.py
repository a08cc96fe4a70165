from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils import timezone

from monitors.instants import InstantField
from monitors.signals import status_changed


class CorrectionQuerySet(models.QuerySet["Correction"]):
    def in_force(self) -> "CorrectionQuerySet":
        return self.filter(undone_at=None)

    def over(self, begin: datetime, end: datetime) -> "CorrectionQuerySet":
        """Those in force that touch the time from begin until end, oldest first."""
        return (
            self.in_force()
            .filter(started_at__lt=end, ended_at__gt=begin)
            .order_by("created_at", "pk")
        )


class Correction(models.Model):
    """What a person says that a monitor's history really was.

    It lies over everything else; of several, the newest. Nothing is
    overwritten, so that it can be undone.
    """

    class Verdict(models.TextChoices):
        UP = "up", "It was up"
        DEGRADED = "degraded", "It was degraded"
        DOWN = "down", "It was down"
        MAINTENANCE = "maintenance", "It was maintenance"
        EXCLUDED = "no_data", "Leave this time out"

    monitor = models.ForeignKey("Monitor", models.CASCADE, related_name="corrections")
    started_at = InstantField()
    ended_at = InstantField()
    status = models.CharField(max_length=12, choices=Verdict.choices)
    reason = models.CharField(max_length=300, help_text="Why, for whoever reads it.")
    author = models.CharField(max_length=150, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    undone_at = models.DateTimeField(null=True, blank=True, editable=False)
    undone_by = models.CharField(max_length=150, blank=True, editable=False)

    objects = CorrectionQuerySet.as_manager()

    class Meta:
        ordering = ["-started_at", "-pk"]
        indexes = [
            models.Index(fields=["monitor", "ended_at"], name="corrections_in_order")
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(ended_at__gt=models.F("started_at")),
                name="correction_ends_after_it_begins",
                violation_error_message="The end has to be after the beginning.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_status_display()}, {self.started_at:%Y-%m-%d %H:%M}"

    def clean(self) -> None:
        if self.ended_at and self.ended_at > timezone.now():
            raise ValidationError({"ended_at": "Only what is over can be corrected."})

    @property
    def cause(self) -> str:
        return f"Corrected by {self.author}: {self.reason}"

    def save(self, *args: object, **kwargs: object) -> None:
        super().save(*args, **kwargs)  # type: ignore[arg-type]
        self._announce()

    def undo(self, *, by: str, at: datetime) -> bool:
        """Take it back; twice changes nothing."""
        undone = Correction.objects.in_force().filter(pk=self.pk)
        if not undone.update(undone_at=at, undone_by=by):
            return False
        self.undone_at, self.undone_by = at, by
        self._announce()
        return True

    def _announce(self) -> None:
        status_changed.send(sender=Correction, monitor_ids={self.monitor_id})
