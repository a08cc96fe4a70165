"""The time zones there are to choose from, and what an unknown one is read as."""

import functools
import logging
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

logger = logging.getLogger(__name__)

# No places: what this machine is set to, and what it is where nobody has set it.
_NOWHERE: Final = {"localtime", "Factory"}


@functools.cache
def names() -> tuple[str, ...]:
    """Read once: the names are files in some thirty folders."""
    return tuple(sorted(available_timezones() - _NOWHERE))


def choices() -> list[tuple[str, str]]:
    return [(name, name) for name in names()]


@functools.cache
def find(name: str) -> ZoneInfo:
    """Return a zone; UTC where this machine has none of that name, which is said once.

    Names go: another machine, or newer data, may not know what was chosen here.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        logger.warning("There is no time zone %s here; UTC is used instead", name)
        return ZoneInfo("UTC")
