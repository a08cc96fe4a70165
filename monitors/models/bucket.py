from collections.abc import Iterable
from typing import Final

from django.db import models

from monitors.instants import InstantField, instant

HOUR: Final = 3_600_000
DAY: Final = 24 * HOUR


# What is stale, whose, and from which millisecond on.
Stale = tuple[str, int, int]


class LatencyBucket(models.Model):
    """The latencies of a monitor in one hour or day of UTC, in milliseconds."""

    class Size(models.IntegerChoices):
        HOUR = 1, "Hour"
        DAY = 24, "Day"

    pk = models.CompositePrimaryKey("monitor", "size", "at")
    monitor = models.ForeignKey(
        "Monitor", models.CASCADE, related_name="latency_buckets", db_index=False
    )
    size = models.PositiveSmallIntegerField(choices=Size.choices)
    at = InstantField()
    count = models.PositiveIntegerField()
    total = models.FloatField()
    least = models.FloatField()
    most = models.FloatField()
    sketch = models.BinaryField()

    def __str__(self) -> str:
        return (
            f"{self.count} in the {self.get_size_display()} of {self.at:%Y-%m-%d %H:%M}"
        )


class Rebuild(models.Model):
    """Something of a monitor's history that no longer fits what lies below it.

    A mark, and the queue of what is to be built anew: the shown periods from a
    moment on, the bucket of an hour, the bucket of a day.
    """

    class What(models.TextChoices):
        PERIODS = "periods"
        HOUR = "hour"
        DAY = "day"

    pk = models.CompositePrimaryKey("what", "monitor", "at")
    what = models.CharField(max_length=7, choices=What.choices)
    monitor = models.ForeignKey(
        "Monitor", models.CASCADE, related_name="+", db_index=False
    )
    at = InstantField()

    def __str__(self) -> str:
        return f"{self.what} of {self.monitor_id} at {self.at:%Y-%m-%d %H:%M}"

    @classmethod
    def mark(cls, stale: Iterable["Stale"]) -> None:
        """Note what has to be built anew; what is noted already stays."""
        rows = [
            Rebuild(what=what, monitor_id=pk, at=instant(at)) for what, pk, at in stale
        ]
        Rebuild.objects.bulk_create(rows, ignore_conflicts=True)


class EngineMinute(models.Model):
    """What one worker's engine did in one minute."""

    pk = models.CompositePrimaryKey("worker", "at")
    worker = models.CharField(max_length=150)
    at = InstantField(db_index=True)
    checks = models.PositiveIntegerField(default=0)
    # Milliseconds from when a check was due to its start, and of each flush.
    lateness = models.BinaryField(default=bytes)
    flushes = models.BinaryField(default=bytes)

    def __str__(self) -> str:
        return f"{self.worker} at {self.at:%Y-%m-%d %H:%M}"
