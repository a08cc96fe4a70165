"""Text that is read from the right, for paper whose words are set from the left.

A line is broken first and turned then. A word goes as a whole: the way of its first
letter, a number the way of what is before it, and what is neither the way of what is
around it. Signs at the ends of a run against the line's own way go the line's way.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final, NamedTuple

# What a character is: a letter from the right or from the left, a digit, what goes
# with digits, or nothing of it.
_KINDS: Final = {"R": "R", "AL": "R", "L": "L", "EN": "1", "AN": "1", "ET": "%"}
_FROM_LEFT: Final = re.compile("%*[L1](?:[^R]*[L1])?%*")
_ENDS: Final = re.compile("^([^RL1%]*)(.*?)([^RL1%]*)$")
_MIRRORED: Final = str.maketrans("()[]{}<>«»", ")(][}{><»«")


class Word(NamedTuple):
    text: str
    is_right: bool
    # Signs before and after it that go another way.
    before: str = ""
    after: str = ""

    @property
    def whole(self) -> str:
        return f"{self.before}{self.text}{self.after}"


def has_right(text: str) -> bool:
    return "R" in _kinds(text)


def begins_right(text: str) -> bool:
    return _strong(text) == "R"


def turned(
    line: str, room: float, width: Callable[[str], float], *, is_shaped: bool
) -> Iterator[str]:
    """Return what is set for a line of text, in as many lines as it takes.

    Whoever shapes letters turns each word of them too: such words are left to it.
    """
    is_right = begins_right(line)
    words = _loosened(_directed(_words(line), is_right), is_right)
    for some in _broken(words, room, width):
        runs = [list(run) for _, run in groupby(some, lambda word: word.is_right)]
        set_runs = [_run(run, is_right, is_shaped) for run in runs]
        yield " ".join(set_runs[::-1] if is_right else set_runs)


def _words(line: str) -> list[str]:
    """Words, parted where letters from the left are followed by some from the right."""
    return [part for word in line.split() for part in _parted(word)]


def _parted(word: str) -> list[str]:
    first = _kinds(word).find("R")
    is_parted = first > 0 and _strong(word) == "L"
    return [word[:first], word[first:]] if is_parted else [word]


def _directed(words: Sequence[str], base_is_right: bool) -> list[Word]:
    ways: list[str] = []
    before = base = "R" if base_is_right else "L"
    for word in words:
        strong = _strong(word)
        before = strong or before
        ways.append(strong or (before if "1" in _kinds(word) else ""))
    coming = _filled(ways[::-1], base)[::-1]
    around = zip(_filled(ways, base), coming, strict=True)
    return [
        Word(word, (way or (last if last == following else base)) == "R")
        for word, way, (last, following) in zip(words, ways, around, strict=True)
    ]


def _filled(ways: Sequence[str], first: str) -> list[str]:
    """Each, or the one before it where there is none."""
    filled = []
    for way in ways:
        first = way or first
        filled.append(first)
    return filled


def _loosened(words: Sequence[Word], base_is_right: bool) -> Iterator[Word]:
    """Take the signs off the ends of what goes against the line's own way."""
    for is_right, run in groupby(words, lambda word: word.is_right):
        some = list(run)
        if is_right != base_is_right:
            some[0] = _off(some[0], is_first=True)
            some[-1] = _off(some[-1], is_first=False)
        yield from some


def _off(word: Word, *, is_first: bool) -> Word:
    found = _ENDS.match(_kinds(word.text))
    begin, end = found.span(2) if found else (0, len(word.text))
    if is_first:
        return word._replace(before=word.text[:begin], text=word.text[begin:])
    return word._replace(text=word.text[:end], after=word.text[end:])


def _broken(
    words: Iterable[Word], room: float, width: Callable[[str], float]
) -> Iterator[list[Word]]:
    """As many words in every line as there is room for."""
    line: list[Word] = []
    left = room
    for word in words:
        needed = width(word.whole)
        if line and needed > left:
            yield line
            line, left = [], room
        line.append(word)
        left -= needed + width(" ")
    yield line


def _run(words: Sequence[Word], base_is_right: bool, is_shaped: bool) -> str:
    """Words of one way as they stand from left to right."""
    left, right = words[0].before, words[-1].after
    if base_is_right:
        left, right = _backwards(right), _backwards(left)
    texts = [_set(word, is_shaped) for word in words]
    texts = texts[::-1] if words[0].is_right else texts
    texts[0] = _beside(texts[0], is_shaped, left=left)
    texts[-1] = _beside(texts[-1], is_shaped, right=right)
    return " ".join(texts)


def _beside(text: str, is_shaped: bool, *, left: str = "", right: str = "") -> str:
    if is_shaped and has_right(text):
        return f"{_backwards(right)}{text}{_backwards(left)}"
    return f"{left}{text}{right}"


def _set(word: Word, is_shaped: bool) -> str:
    if not word.is_right:
        return word.text
    text = word.text
    # What is from the left in it is turned once more.
    for some in _FROM_LEFT.finditer(_kinds(text)):
        begin, end = some.span()
        text = text[:begin] + _backwards(text[begin:end]) + text[end:]
    return text if is_shaped and has_right(text) else _backwards(text)


def _backwards(text: str) -> str:
    return text[::-1].translate(_MIRRORED)


def _strong(text: str) -> str:
    """The way of its first letter, "L" or "R", or nothing without letters."""
    return next((kind for kind in _kinds(text) if kind in "LR"), "")


def _kinds(text: str) -> str:
    """A letter for each character."""
    return "".join(_KINDS.get(unicodedata.bidirectional(c), "-") for c in text)
