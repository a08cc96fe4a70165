"""The colours of states for mails, where no style sheet can be relied upon."""

from typing import Final

from django import template

register = template.Library()

# ground, line, word, sign
_TONES: Final = {
    "down": ("#fbe9ea", "#a80f24", "#a80f24", "■"),
    "degraded": ("#fbf1d9", "#b07c00", "#7a5500", "▲"),
    "up": ("#e6f2ee", "#0c7a5f", "#0a6b53", "●"),
}
_PLAIN: Final = ("#ecefef", "#10161a", "#10161a", "●")


@register.filter
def tint(look: str) -> str:
    return _TONES.get(look, _PLAIN)[0]


@register.filter
def mark(look: str) -> str:
    return _TONES.get(look, _PLAIN)[1]


@register.filter
def word(look: str) -> str:
    return _TONES.get(look, _PLAIN)[2]


@register.filter
def sign(look: str) -> str:
    return _TONES.get(look, _PLAIN)[3]
