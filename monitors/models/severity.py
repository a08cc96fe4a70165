from collections.abc import Callable, Mapping

from django.db import models


class IncidentSeverity(models.IntegerChoices):
    """How bad an incident is; as numbers, so that they can be compared."""

    MINOR = 1, "Minor"
    MAJOR = 2, "Major"
    CRITICAL = 3, "Critical"


def _usual_names() -> Mapping[int, str]:
    return dict(IncidentSeverity.choices)


_names: Callable[[], Mapping[int, str]] = _usual_names


def name_severities(names: Callable[[], Mapping[int, str]]) -> None:
    """Let an upper app say what people call them; called in ready()."""
    global _names
    _names = names


def severity_name(severity: int) -> str:
    """What people call it at present."""
    return _names()[severity]


def severity_choices() -> list[tuple[int, str]]:
    """The choices of a form, each with what people call it at present."""
    return list(_names().items())
