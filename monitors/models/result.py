from collections.abc import Mapping
from typing import Any, ClassVar, Final

from django.db import models

from monitors import varints
from monitors.instants import InstantField

from .status import StatusCodeField

# The parts of an exchange, in their order; each is how long it took.
PHASES: Final = ("dns", "connect", "tls", "first_byte", "transfer")
_TENTHS: Final = 10  # phases are kept to the tenth of a millisecond


class LatencyField(models.IntegerField):
    """Milliseconds as a float in Python, whole microseconds in the database."""

    def from_db_value(self, value: int | None, *args: Any) -> float | None:
        return None if value is None else value / 1000

    def get_prep_value(self, value: float | None) -> int | None:
        return microseconds(value)

    def to_python(self, value: Any) -> float | None:
        return None if value is None else float(value)


def microseconds(milliseconds: float | None) -> int | None:
    # What takes longer than half an hour is no latency any more.
    return None if milliseconds is None else min(2**31 - 1, int(milliseconds * 1000))


class Prober(models.Model):
    """Who made an observation: a worker, or a key that pushed it."""

    # As short as can be: it stands in every result.
    id = models.SmallAutoField(primary_key=True)
    name = models.CharField(max_length=150, unique=True)

    MOST: ClassVar = 30_000
    OTHERS: ClassVar = "others"

    def __str__(self) -> str:
        return self.name

    @classmethod
    def named(cls, name: str) -> int:
        """Return the number of whoever has this name, new or known.

        Hosts that are thrown away have new names for ever; once there are too
        many for the short number, the newest share one.
        """
        known = cls.objects.filter(name=name[:150]).values_list("pk", flat=True)
        if (number := known.first()) is not None:
            return number
        if cls.objects.count() >= cls.MOST:
            name = cls.OTHERS
        found, _ = cls.objects.get_or_create(name=name[:150])
        return found.pk


class CheckResult(models.Model):
    """One observation as it was made. `checked_at` is when the request started.

    There is one a monitor and millisecond. `position` counts the results of a
    monitor that drive its rules, in the order in which they came; 0 is history,
    which no rule reads.
    """

    pk = models.CompositePrimaryKey("monitor", "checked_at")
    monitor = models.ForeignKey(
        "Monitor", models.CASCADE, related_name="results", db_index=False
    )
    # The wide columns come first: PostgreSQL pads what follows a narrow one.
    checked_at = InstantField()
    latency_ms = LatencyField(null=True, blank=True)
    position = models.PositiveIntegerField(default=0)
    checked_by = models.ForeignKey(
        Prober, models.SET_NULL, null=True, blank=True, db_index=False, related_name="+"
    )
    status = StatusCodeField()
    # A failure while a parent of the monitor was down.
    is_consequence = models.BooleanField(default=False)
    packed_phases = models.BinaryField(null=True, blank=True)
    error = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["-checked_at"]

    def __str__(self) -> str:
        return f"{self.status} at {self.checked_at:%Y-%m-%d %H:%M:%S}"

    @property
    def phases(self) -> dict[str, float]:
        """Milliseconds of each phase that took any time."""
        return unpacked(self.packed_phases, self.latency_ms)


def packed(phases: Mapping[str, float]) -> bytes | None:
    """Write phases as tenths of milliseconds.

    The last phase is left out: it is what the others leave of the latency.
    """
    if not phases:
        return None
    return varints.to_bytes(
        max(0, round(phases.get(name, 0.0) * _TENTHS)) for name in PHASES[:-1]
    )


def unpacked(
    data: bytes | memoryview | None, latency_ms: float | None
) -> dict[str, float]:
    """Read what `packed` wrote."""
    if not data or latency_ms is None:
        return {}
    numbers = varints.from_bytes(data)
    found = {name: n / _TENTHS for name, n in zip(PHASES, numbers, strict=False) if n}
    rest = round(latency_ms - sum(found.values()), 1)
    return {**found, PHASES[-1]: rest} if rest > 0 else found


class FailureEpisode(models.Model):
    """A run of failing observations, with the first and the last answer.

    For operators only: answers may say more than the public should read.
    """

    monitor = models.ForeignKey(
        "Monitor", models.CASCADE, related_name="episodes", db_index=False
    )
    began_at = InstantField()
    last_at = InstantField()
    first = models.JSONField(default=dict)
    last = models.JSONField(default=dict)

    class Meta:
        ordering = ["-began_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["monitor", "began_at"], name="one_episode_a_moment"
            )
        ]

    def __str__(self) -> str:
        return f"{self.monitor_id} since {self.began_at:%Y-%m-%d %H:%M:%S}"


class Certificate(models.Model):
    """From when on a monitor showed a certificate that ends at another moment."""

    monitor = models.ForeignKey(
        "Monitor", models.CASCADE, related_name="certificates", db_index=False
    )
    seen_at = InstantField()
    expires_at = InstantField()

    class Meta:
        ordering = ["-seen_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["monitor", "seen_at"], name="one_certificate_a_moment"
            )
        ]

    def __str__(self) -> str:
        return f"{self.monitor_id} until {self.expires_at:%Y-%m-%d}"
