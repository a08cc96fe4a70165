from datetime import timedelta

from django.db import models

from monitors.models import Monitor


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
