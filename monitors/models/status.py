from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from django.db import models


class Status(models.TextChoices):
    UP = "up", "Up"
    DEGRADED = "degraded", "Degraded"
    PARTIAL = "partial", "Partial outage"
    DOWN = "down", "Down"
    MAINTENANCE = "maintenance", "Maintenance"
    NO_DATA = "no_data", "No data"


# Within one kind of overlay, and over a group of monitors, the worst wins.
BADNESS: Final = {
    Status.NO_DATA: 0,
    Status.UP: 1,
    Status.MAINTENANCE: 2,
    Status.DEGRADED: 3,
    Status.PARTIAL: 4,
    Status.DOWN: 5,
}

# How a status is written where each byte counts. Never to be renumbered.
CODES: Final[dict[str, int]] = {str(status): n for status, n in BADNESS.items()}
_NAMES: Final = {n: str(status) for status, n in BADNESS.items()}


if TYPE_CHECKING:
    _Small = models.SmallIntegerField[str, str]
else:
    _Small = models.SmallIntegerField


class StatusCodeField(_Small):
    """A status in Python, a small number in the database."""

    def from_db_value(self, value: int | None, *args: Any) -> str | None:
        return None if value is None else _NAMES[value]

    def get_prep_value(self, value: Any) -> int | None:
        return CODES[str(value)] if isinstance(value, str) else value

    def to_python(self, value: Any) -> Any:
        return _NAMES.get(value, value) if isinstance(value, int) else value


def worst(statuses: Sequence[str]) -> str:
    return max(statuses, key=lambda s: BADNESS[Status(s)], default=Status.NO_DATA)
