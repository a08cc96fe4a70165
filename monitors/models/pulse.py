from datetime import datetime

from django.db import models


class Pulse(models.Model):
    """When a part of the clockwork last moved; what readiness is judged by."""

    name = models.CharField(max_length=50, primary_key=True)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name} at {self.at:%H:%M:%S}"

    @classmethod
    def note(cls, name: str, *, at: datetime) -> datetime | None:
        """Note that it moved, and return when it did before."""
        before = cls.objects.filter(pk=name).values_list("at", flat=True).first()
        if before is None:
            Pulse.objects.bulk_create([Pulse(name=name, at=at)], ignore_conflicts=True)
        else:
            cls.objects.filter(pk=name).update(at=at)
        return before
