"""Titles stand on one line wherever they go, and read as they are written."""

import unicodedata
from typing import Final

from django.core.exceptions import ValidationError

# They turn what comes after them around: a name can be made to read as another.
_TURNING: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def one_line(title: str) -> str:
    return " ".join(title.split())


def check(title: str) -> None:
    """Raise ValidationError if there is something in it that nobody sees."""
    if any(map(_is_unseen, title)):
        raise ValidationError("Leave out characters that cannot be seen.")


def _is_unseen(character: str) -> bool:
    if character.isspace():
        return False
    is_control = unicodedata.category(character) in {"Cc", "Cs"}
    return is_control or character in _TURNING
