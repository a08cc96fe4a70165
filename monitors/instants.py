"""Moments as whole milliseconds since 1970, which is how hot rows keep them.

A number takes a third of the room of SQLite's text and is compared and
subtracted as it is: uptime over years is sums of such differences.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.db import models

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


def ms(at: datetime) -> int:
    """Return the milliseconds since 1970, cut off, of an aware moment."""
    return (at - EPOCH) // _MILLISECOND


def instant(milliseconds: int) -> datetime:
    """Return the moment so many milliseconds after 1970, in UTC."""
    return EPOCH + timedelta(milliseconds=milliseconds)


def whole(at: datetime) -> datetime:
    """Return the moment without what is finer than a millisecond."""
    return instant(ms(at))


class InstantField(models.DateTimeField):
    """An aware datetime in Python, milliseconds since 1970 in the database."""

    description = "A moment, to the millisecond"

    def get_internal_type(self) -> str:
        return "BigIntegerField"

    def from_db_value(self, value: int | None, *args: Any) -> datetime | None:
        return None if value is None else instant(value)

    def get_prep_value(self, value: Any) -> Any:
        if isinstance(value, int) or hasattr(value, "resolve_expression"):
            return value
        value = self.to_python(value)
        return None if value is None else ms(value)

    def get_db_prep_value(
        self, value: Any, connection: Any, prepared: bool = False
    ) -> Any:
        return self.get_prep_value(value)
