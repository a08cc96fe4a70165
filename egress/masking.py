"""Keeps secrets out of what is kept of other sides' answers."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from .kinds import MASK

# Of a name, as a header or as a key in a body.
_WORD: Final = (
    "(?:passw|secret|token|api[-_]?key|auth|cookie|session|signature|credential)"
)
_SECRET: Final = rf"[\w.-]*{_WORD}[\w.-]*"
# Most texts have no such word; to see that costs a tenth of looking for pairs.
_HINT: Final = re.compile(_WORD, re.IGNORECASE)
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
    if _HINT.search(text):
        text = _PAIR.sub(lambda f: f"{f['name']}{_quoted(f['value'])}", text)
    return _BEARER.sub(rf"\1 {MASK}", text)


def _quoted(value: str) -> str:
    quote = value[0] if value[0] in "\"'" else ""
    return f"{quote}{MASK}{quote}"
