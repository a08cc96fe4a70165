"""Keeps secrets out of what is kept of other sides' answers."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from .kinds import MASK

# Of a name, as a header or as a key in a body.
_SECRET: Final = r"[\w.-]*(?:passw|secret|token|api[-_]?key|auth|cookie|session|signature|credential)[\w.-]*"
_NAME: Final = re.compile(_SECRET, re.IGNORECASE)
_PAIR: Final = re.compile(
    rf"""(?P<name>["']?\b{_SECRET}["']?\s*[:=]\s*)"""
    r"""(?P<value>"(?:[^"\\]|\\.)*"|'[^']*'|[^\s&,;"'<>{}]+)""",
    re.IGNORECASE,
)
_BEARER: Final = re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE)


def mask_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers, those whose name speaks of a secret shown as ***."""
    return {
        name: MASK if _NAME.fullmatch(name) else mask_text(value)
        for name, value in headers.items()
    }


def mask_text(text: str, secrets: Iterable[str] = ()) -> str:
    """Return the text with known secrets, and what looks like one, as ***."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, MASK)
    text = _PAIR.sub(lambda found: f"{found['name']}{_quoted(found['value'])}", text)
    return _BEARER.sub(rf"\1 {MASK}", text)


def _quoted(value: str) -> str:
    quote = value[0] if value[0] in "\"'" else ""
    return f"{quote}{MASK}{quote}"
