"""Text in any script for paper: each run of it in a font that has its characters.

FiraGO has Latin, Greek, Cyrillic, Hebrew, Arabic, Thai, Devanagari and Georgian;
Noto Sans the rest of the first three. Chinese, Japanese and Korean are set in the
fonts that every reader of PDF knows by name, and has or replaces by its own.
"""

import io
import re
import unicodedata
from functools import cache, lru_cache
from html import escape
from itertools import groupby
from typing import Final, NamedTuple

from pymupdf_fonts import myfont
from reportlab.lib.abag import ABag
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfbase.ttfonts import TTFont, shapeFragWord

REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
# Names of fonts in the document, and those that the package of fonts has.
_CARRIED: Final = {"Go": "figo", "Noto": "notos"}
_CARRIED_BOLD: Final = {"Go-Bold": "figbo", "Noto-Bold": "notosbo"}
# Fonts of the reader, each with the encoding whose characters it has. Kana are
# Japanese, and what no Chinese of the mainland writes is looked for elsewhere.
_READERS: Final = (
    ("STSong-Light", "gbk"),
    ("MSung-Light", "big5"),
    ("HeiseiKakuGo-W5", "cp932"),
    ("HYGothic-Medium", "cp949"),
)
_KANA: Final = re.compile("[\u3040-\u30ff]")
# Letters that take their form from their neighbours.
_SHAPED: Final = re.compile("[\u0590-\u10ff\u1780-\u17ff\ufb1d-\ufeff]")
_MODIFIERS: Final = range(0x1F3FB, 0x1F400)
_UNSEEN: Final = {"Cf", "Me"}


class Faces(NamedTuple):
    """The fonts that a text may be set in, the first one first."""

    carried: tuple[str, ...]

    @property
    def first(self) -> str:
        return self.carried[0]


REGULAR: Final = Faces(tuple(_CARRIED))
BOLD: Final = Faces(tuple(_CARRIED_BOLD))


@cache
def load_fonts() -> None:
    """Read the fonts, once in the life of a process and not before they are needed."""
    for name, source in (_CARRIED | _CARRIED_BOLD).items():
        font = TTFont(name, io.BytesIO(myfont(source)), shapable=True)
        pdfmetrics.registerFont(font)
    for name, _ in _READERS:
        pdfmetrics.registerFont(UnicodeCIDFont(name))


def is_shaped(text: str, faces: Faces) -> bool:
    """Whether letters of it are to change with what stands beside them.

    A shaped word cannot be set in several fonts: with others, letters stay as they
    are.
    """
    return _SHAPED.search(text) is not None and "<font" not in markup(text, faces)


def parted(text: str, most: int) -> str:
    """Return the text with no word of more characters: shaped ones cannot be parted."""
    return re.sub(rf"\S{{{most}}}(?=\S)", r"\g<0> ", text)


def markup(text: str, faces: Faces = REGULAR) -> str:
    """Return the text for a paragraph; nothing in it can mean markup."""
    return "<br/>".join(_line(line, faces) for line in shown(text, faces))


def shown(text: str, faces: Faces) -> list[str]:
    """The lines of a text, in characters that some font has."""
    load_fonts()
    lines = unicodedata.normalize("NFC", text.expandtabs(4)).splitlines()
    return ["".join(_shown(character, faces) for character in line) for line in lines]


def width(text: str, faces: Faces, size: float, *, is_shaped: bool) -> float:
    """How wide a word is."""
    if is_shaped:
        set_in = ABag(fontName=faces.first, fontSize=size)
        alone = pdfmetrics.stringWidth(text, faces.first, size)
        return float(shapeFragWord([alone, (set_in, text)])[0])
    runs = ((font or faces.first, run) for font, run in _runs(text, faces))
    return float(sum(pdfmetrics.stringWidth(run, font, size) for font, run in runs))


def visible(text: str) -> str:
    """Return the text with something to be seen in place of what no font has."""
    load_fonts()
    return "".join(_shown(character, REGULAR) for character in " ".join(text.split()))


def _line(text: str, faces: Faces) -> str:
    return "".join(_run(font, run, faces) for font, run in _runs(text, faces))


def _runs(text: str, faces: Faces) -> list[tuple[str | None, str]]:
    runs = groupby(text, lambda character: _font_of(character, faces))
    return [(font, "".join(some)) for font, some in runs]


def _run(font: str | None, text: str, faces: Faces) -> str:
    if font is None or font == faces.first:
        return escape(text)
    return f'<font name="{font}">{escape(text)}</font>'


@lru_cache(maxsize=4096)
def _shown(character: str, faces: Faces) -> str:
    """The character, or what stands for it: simpler ones, its name, or a mark."""
    if _font_of(character, faces):
        return character
    if _is_unseen(character):
        return ""
    simpler = unicodedata.normalize("NFKC", character)
    if simpler != character and all(_font_of(c, faces) for c in simpler):
        return simpler
    name = unicodedata.name(character, "").lower()
    return f"[{name}]" if name and _is_picture(character) else REPLACEMENT


def _is_unseen(character: str) -> bool:
    """Joins, selectors of variants, and what would turn the direction about."""
    is_selector = unicodedata.name(character, "").startswith("VARIATION SELECTOR")
    is_modifier = ord(character) in _MODIFIERS
    return unicodedata.category(character) in _UNSEEN or is_selector or is_modifier


def _is_picture(character: str) -> bool:
    return unicodedata.category(character) == "So"


@lru_cache(maxsize=4096)
def _font_of(character: str, faces: Faces) -> str | None:
    if unicodedata.category(character) in {"Cc", "Cf", "Co", "Cs"}:
        return None
    has = (n for n in faces.carried if ord(character) in _glyphs(n))
    return next(has, None) or _font_of_reader(character)


def _glyphs(font: str) -> dict[int, int]:
    found: dict[int, int] = pdfmetrics.getFont(font).face.charToGlyph
    return found


def _font_of_reader(character: str) -> str | None:
    if unicodedata.east_asian_width(character) not in {"W", "F"}:
        return None
    readers = _READERS[2:] if _KANA.match(character) else _READERS
    return next((n for n, code in readers if _has(code, character)), None)


def _has(code: str, character: str) -> bool:
    return bool(character.encode(code, "ignore"))
