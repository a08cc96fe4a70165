"""Latencies over time, from buckets that can be merged.

Counted are the observations that got an answer and were not down. Quantiles
are within 1.5 % of a value that was observed (see sketches).
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from django.conf import settings

from .instants import instant, ms
from .models import CheckResult, LatencyBucket, Monitor
from .models.bucket import DAY, HOUR
from .sketches import Sketch

MOST_POINTS: Final = 2000
_ANSWERED: Final = ("up", "degraded", "partial")


class StepInvalid(ValueError):
    """There is nothing so fine, or too much of it; the message says what there is."""


@dataclass(slots=True)
class Bucket:
    """Latencies in milliseconds that belong together."""

    count: int = 0
    total: float = 0.0
    least: float = float("inf")
    most: float = 0.0
    sketch: Sketch = field(default_factory=Sketch)

    def add(self, latency: float) -> None:
        self.count += 1
        self.total += latency
        self.least, self.most = min(self.least, latency), max(self.most, latency)
        self.sketch.add(latency)

    def merge(self, other: "Bucket") -> None:
        self.count += other.count
        self.total += other.total
        self.least, self.most = min(self.least, other.least), max(self.most, other.most)
        self.sketch.merge(other.sketch)

    def quantile(self, q: float) -> float:
        """Never beyond what has been seen."""
        return min(max(self.sketch.quantile(q), self.least), self.most)

    def row(self, monitor_id: int, size: int, at: int) -> LatencyBucket:
        return LatencyBucket(
            monitor_id=monitor_id,
            size=size,
            at=instant(at),
            count=self.count,
            total=self.total,
            least=self.least,
            most=self.most,
            sketch=self.sketch.to_bytes(),
        )

    @classmethod
    def of(cls, row: LatencyBucket) -> "Bucket":
        sketch = Sketch.from_bytes(row.sketch)
        return cls(row.count, row.total, row.least, row.most, sketch)


@dataclass(frozen=True, slots=True)
class Point:
    """The latencies of one step, in milliseconds."""

    at: datetime
    count: int
    avg: float
    min: float
    max: float
    p50: float
    p95: float
    p99: float


def points(
    monitor: Monitor, begin: datetime, end: datetime, step: int, *, at: datetime
) -> list[Point]:
    """Return one point for each step, in seconds, in which there was an answer.

    Raises StepInvalid if the time is too long for the step, or too long ago.
    """
    width = step * 1000
    first, last, now = ms(begin), min(ms(end), ms(at)), ms(at)
    if (last - first) / width > MOST_POINTS:
        least = -(-(last - first) // MOST_POINTS) // 1000 + 1
        raise StepInvalid(
            f"That is more than {MOST_POINTS} points; give a step of {least} s or more."
        )
    steps: dict[int, Bucket] = defaultdict(Bucket)
    for moment, bucket in _buckets(monitor.pk, first, last, width, now):
        steps[(moment - first) // width].merge(bucket)
    return [
        _point(instant(first + n * width), bucket)
        for n, bucket in sorted(steps.items())
    ]


def _buckets(
    pk: int, first: int, last: int, width: int, now: int
) -> Iterable[tuple[int, Bucket]]:
    """Read from the coarsest store that is fine enough."""
    kept = now - settings.RESULT_RETENTION_DAYS * DAY
    if width % HOUR or first % HOUR:
        if first < kept // HOUR * HOUR:
            raise StepInvalid(
                f"What is older than {settings.RESULT_RETENTION_DAYS} days is kept by "
                "the hour; begin at a full hour and give a step of 3600 s or a "
                "multiple of it."
            )
        return _raw(pk, first, last)
    kept_hours = now - settings.LATENCY_HOURS_DAYS * DAY
    if first >= kept_hours // DAY * DAY:
        return _built(pk, LatencyBucket.Size.HOUR, first, last, _settled(now, HOUR))
    if width % DAY or first % DAY:
        raise StepInvalid(
            f"What is older than {settings.LATENCY_HOURS_DAYS} days is kept by the "
            "day of UTC; begin at one and give a step of 86400 s or a multiple of it."
        )
    return _built(pk, LatencyBucket.Size.DAY, first, last, _settled(now, DAY))


def _settled(now: int, size: int) -> int:
    """What began before this has its bucket; a bucket takes some minutes."""
    return (now - HOUR) // size * size


def _built(
    pk: int, size: int, first: int, last: int, settled: int
) -> Iterable[tuple[int, Bucket]]:
    rows = LatencyBucket.objects.filter(
        monitor=pk,
        size=size,
        at__gte=instant(first),
        at__lt=instant(min(last, settled)),
    )
    for row in rows:
        yield ms(row.at), Bucket.of(row)
    yield from _raw(pk, max(first, settled), last)


def _raw(pk: int, first: int, last: int) -> Iterable[tuple[int, Bucket]]:
    for _, at, latency in _latencies([pk], first, last):
        bucket = Bucket()
        bucket.add(latency)
        yield at, bucket


def _latencies(
    ids: Sequence[int], first: int, last: int
) -> Iterable[tuple[int, int, float]]:
    """Return monitor, moment and milliseconds of what was answered."""
    answered = CheckResult.objects.filter(
        monitor__in=ids,
        checked_at__gte=instant(first),
        checked_at__lt=instant(last),
        latency_ms__isnull=False,
        status__in=_ANSWERED,
    )
    rows = answered.order_by("monitor_id", "checked_at")
    for pk, at, latency in rows.values_list("monitor_id", "checked_at", "latency_ms"):
        yield pk, ms(at), float(latency or 0)


def _point(at: datetime, bucket: Bucket) -> Point:
    return Point(
        at,
        bucket.count,
        *(
            round(value, 3)
            for value in (
                bucket.total / bucket.count,
                *(bucket.least, bucket.most),
                *(bucket.quantile(q) for q in (0.5, 0.95, 0.99)),
            )
        ),
    )


# Building


def build_hours(ids: Sequence[int], at: int) -> None:
    """Build the buckets of one hour from what was observed in it."""
    found: dict[int, Bucket] = defaultdict(Bucket)
    for pk, _, latency in _latencies(ids, at, at + HOUR):
        found[pk].add(latency)
    _write(ids, LatencyBucket.Size.HOUR, at, found)


def build_days(ids: Sequence[int], at: int) -> None:
    """Build the buckets of one day from those of its hours."""
    found: dict[int, Bucket] = defaultdict(Bucket)
    hours = LatencyBucket.objects.filter(
        monitor__in=ids,
        size=LatencyBucket.Size.HOUR,
        at__gte=instant(at),
        at__lt=instant(at + DAY),
    )
    for row in hours:
        found[row.monitor_id].merge(Bucket.of(row))
    _write(ids, LatencyBucket.Size.DAY, at, found)


def _write(ids: Sequence[int], size: int, at: int, found: dict[int, Bucket]) -> None:
    gone = [pk for pk in ids if pk not in found]
    LatencyBucket.objects.filter(monitor__in=gone, size=size, at=instant(at)).delete()
    LatencyBucket.objects.bulk_create(
        [bucket.row(pk, size, at) for pk, bucket in found.items()],
        update_conflicts=True,
        unique_fields=["monitor", "size", "at"],
        update_fields=["count", "total", "least", "most", "sketch"],
    )
