"""A record on paper: a title, facts in two columns, and what happened, day by day."""

import io
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import partial
from itertools import groupby
from typing import Any, Final, NamedTuple

from reportlab.lib.colors import HexColor
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus.doctemplate import SimpleDocTemplate
from reportlab.platypus.flowables import Flowable, HRFlowable
from reportlab.platypus.paragraph import Paragraph

from . import directions
from .scripts import (
    BOLD,
    REGULAR,
    Faces,
    is_shaped,
    load_fonts,
    markup,
    parted,
    shown,
    visible,
    width,
)

logger = logging.getLogger(__name__)

_Setter = Callable[..., Paragraph]

_INK: Final = HexColor("#10161a")
_QUIET: Final = HexColor("#56616a")
_SUNKEN: Final = HexColor("#ecefef")
_SIDE: Final = 20 * mm
# Between the sides, inside of what the frame keeps free.
_ROOM: Final = A4[0] - 2 * (_SIDE + 6) - 3
_COLUMN: Final = 28 * mm
# So many characters fit into every line, also into one of the title.
_LONGEST_WORD: Final = 18


class Entry(NamedTuple):
    """One thing that happened; `quoted` is what somebody wrote."""

    at: datetime
    who: str
    what: str
    quoted: str = ""


class Record(NamedTuple):
    kicker: str
    title: str
    colour: str
    facts: Mapping[str, str]
    entries: Sequence[Entry]
    printed_at: datetime


def _style(name: str, faces: Faces = REGULAR, **more: Any) -> ParagraphStyle:
    size = more.pop("size", 9.5)
    base = {"fontName": faces.first, "fontSize": size, "leading": size * 1.4}
    column = {"bulletFontName": REGULAR.first, "bulletFontSize": size}
    look = {"textColor": _INK, "bulletColor": _QUIET}
    return ParagraphStyle(name, **(base | column | look | more))


_KICKER: Final = _style("kicker", textColor=_QUIET)
_TITLE: Final = _style("title", BOLD, size=20, spaceBefore=2, spaceAfter=10)
_FACT: Final = _style("fact", leftIndent=_COLUMN, spaceAfter=2)
_HEADING: Final = _style("heading", BOLD, size=13, spaceBefore=14, keepWithNext=1)
_DAY: Final = _style("day", BOLD, spaceBefore=8, spaceAfter=4, keepWithNext=1)
_ENTRY: Final = _style("entry", leftIndent=_COLUMN, spaceAfter=4)
_QUOTED: Final = _style(
    "quoted",
    leftIndent=_COLUMN + 6,
    rightIndent=6,
    borderPadding=(3, 6, 5, 6),
    backColor=_SUNKEN,
    spaceBefore=3,
    spaceAfter=12,
)


def pdf(record: Record) -> bytes:
    """Return the record as PDF; the same record is always the same bytes."""
    try:
        return _printed(record, shapes=True)
    except Exception:
        # Shaping is the youngest part of the library; letters that are not joined
        # are better than no paper.
        logger.exception("%s could not be printed with joined letters", record.kicker)
        return _printed(record, shapes=False)


def _printed(record: Record, *, shapes: bool) -> bytes:
    load_fonts()
    paper = io.BytesIO()
    margins = {"leftMargin": _SIDE, "rightMargin": _SIDE, "topMargin": 18 * mm}
    title = visible(record.title)
    document = SimpleDocTemplate(
        paper, pagesize=A4, **margins, bottomMargin=22 * mm, title=title, invariant=1
    )
    note = f"{record.kicker}, as of {_moment(record.printed_at)}"
    told = list(_told(record, partial(_paragraph, shapes=shapes)))
    document.build(told, canvasmaker=partial(_Numbered, note=note))
    return paper.getvalue()


def _told(record: Record, paragraph: _Setter) -> Iterator[Flowable]:
    yield paragraph(record.kicker, _KICKER)
    yield paragraph(record.title, _TITLE, BOLD)
    line = HexColor(record.colour)
    yield HRFlowable(width="100%", thickness=2.5, color=line, spaceAfter=10)
    for name, value in record.facts.items():
        yield paragraph(value, _FACT, beside=name)
    yield paragraph("Timeline", _HEADING, BOLD)
    yield paragraph("All times are in UTC.", _KICKER)
    for day, entries in groupby(record.entries, _day):
        yield paragraph(f"{day:%A} {day.day} {day:%B %Y}", _DAY, BOLD)
        for entry in entries:
            yield from _entry(entry, paragraph)


def _entry(entry: Entry, paragraph: _Setter) -> Iterator[Flowable]:
    clock = f"{entry.at.astimezone(UTC):%H:%M:%S}"
    yield paragraph(f"{entry.who}: {entry.what}", _ENTRY, beside=clock)
    if entry.quoted:
        yield paragraph(entry.quoted, _QUOTED)


def _paragraph(
    text: str,
    style: ParagraphStyle,
    faces: Faces = REGULAR,
    *,
    beside: str = "",
    shapes: bool,
) -> Paragraph:
    """A paragraph, with a word of ours in the column beside it."""
    shapes = shapes and is_shaped(text, faces)
    if shapes:
        style = ParagraphStyle(style.name, style, shaping=1)
        text = parted(text, _LONGEST_WORD)
    if directions.has_right(text):
        if directions.begins_right(text):
            style = ParagraphStyle(style.name, style, alignment=TA_RIGHT)
        text = _turned(text, style, faces, shapes=shapes)
    return Paragraph(markup(text, faces), style, bulletText=beside or None)


def _turned(text: str, style: Any, faces: Faces, *, shapes: bool) -> str:
    """Text with words from the right, in lines that fit and as they are to be set."""
    room = _ROOM - style.leftIndent - style.rightIndent
    how_wide = partial(width, faces=faces, size=style.fontSize, is_shaped=shapes)
    lines = shown(parted(text, _LONGEST_WORD), faces)
    return "\n".join(
        part
        for line in lines
        for part in directions.turned(line, room, how_wide, is_shaped=shapes)
    )


def _day(entry: Entry) -> date:
    return entry.at.astimezone(UTC).date()


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


class _Numbered(Canvas):
    """Pages that say which of how many they are, which is known at the end."""

    def __init__(self, *args: Any, note: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._note = note
        self._pages: list[dict[str, Any]] = []

    def showPage(self) -> None:
        self._pages.append(dict(self.__dict__))
        self._startPage()

    def save(self) -> None:
        for number, page in enumerate(self._pages, 1):
            self.__dict__.update(page)
            self._foot(f"Page {number} of {len(self._pages)}")
            super().showPage()
        super().save()

    def _foot(self, number: str) -> None:
        self.setFont(REGULAR.first, 8)
        self.setFillColor(_QUIET)
        self.drawString(_SIDE + 6, 12 * mm, self._note)
        self.drawRightString(A4[0] - _SIDE - 6, 12 * mm, number)
