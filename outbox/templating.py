"""Operators' own templates for notices: Mustache, and nothing that runs.

A template reads keys of JSON's objects and no attribute of anything, so there
is nothing in it to break out with. What is put into it is escaped for what the
template makes, and no value can break a document that was whole without it.
"""

import html
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any, ClassVar, Final
from urllib.parse import quote

MOST_SOURCE: Final = 20_000
MOST_OUTPUT: Final = 200_000
MOST_NESTING: Final = 10
# So many pieces are put together at the most: sections in sections of long
# lists could go on for ever without writing a letter.
MOST_PIECES: Final = 20_000


class TemplateInvalid(ValueError):
    """The template makes nothing fit to be sent; the text says where and what to do."""


# What there is to be said: told by whoever renders notices.

_names: dict[str, str] = {}
_samples: list[Mapping[str, Any]] = []


def teach(names: Mapping[str, str], samples: Iterable[Mapping[str, Any]]) -> None:
    """Make known the variables with what they mean, and values to try templates on."""
    _names.update(names)
    _samples.extend(samples)
    check.cache_clear()


def taught() -> Mapping[str, str]:
    return _names


def unknown(source: str, known: Iterable[str] = ()) -> list[str]:
    """Return the names in a template that nothing is known by, in their order."""
    there = {*known} or {*_names, *(n for s in _samples for n in _paths(s))}
    used = dict.fromkeys(".".join(path) for path in _used(compiled(source)))
    return [name for name in used if name and name not in there]


def warnings(thing: Any) -> list[str]:
    """Say which names in the templates of a built kind nothing is known by."""
    return [
        f"{option.metadata['label']}: nothing is known by the name {', '.join(names)}; "
        "it stays empty."
        for option in fields(thing)
        if option.metadata.get("template")
        and (names := unknown(getattr(thing, option.name)))
    ]


def _paths(values: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """The dotted names in values, and each key as a section finds it."""
    for name, value in values.items():
        yield name
        yield f"{before}{name}"
        if isinstance(value, Mapping):
            yield from _paths(value, f"{before}{name}.")


# Reading


@dataclass(frozen=True, slots=True)
class _Text:
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class _Value:
    path: tuple[str, ...]
    is_raw: bool
    line: int


@dataclass(frozen=True, slots=True)
class _Section:
    path: tuple[str, ...]
    is_inverted: bool
    line: int
    inner: list["_Node"] = field(default_factory=list)


_Node = _Text | _Value | _Section

# Braces in a name would be a mistake, and looking past them would take long.
_TAG: Final = re.compile(
    r"\{\{(?:\{(?P<raw>[^{}]*)\}|(?P<mark>[#^/!>&=]?)(?P<name>[^{}]*))\}\}"
)
_NAME: Final = re.compile(r"\.|[\w-]+(?:\.[\w-]+)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Tag:
    mark: str
    name: str
    line: int

    def __str__(self) -> str:
        return "{{" + self.mark + self.name + "}}"


@lru_cache(maxsize=256)
def compiled(source: str) -> tuple[_Node, ...]:
    """Return what the template is made of; raises TemplateInvalid."""
    if len(source) > MOST_SOURCE:
        raise TemplateInvalid(
            f"The template has {len(source):,} characters; {MOST_SOURCE:,} are the most."
        )
    reader = _Reader()
    for piece in _pieces(source):
        reader.take(piece)
    return tuple(reader.whole())


class _Reader:
    """Puts the pieces of a template into the sections they stand in."""

    def __init__(self) -> None:
        self.top: list[_Node] = []
        self.open: list[_Section] = []

    def take(self, piece: _Text | _Tag) -> None:
        if isinstance(piece, _Text):
            self._put(piece)
        elif piece.mark == "/":
            self._close(piece)
        elif piece.mark in ("#", "^"):
            self._open(piece)
        elif piece.mark in ("", "&", "{"):
            self._put(_Value(_path(piece), bool(piece.mark), piece.line))
        elif piece.mark != "!":
            raise TemplateInvalid(
                f"Line {piece.line}: {piece} is not supported; there are values, "
                "sections and comments only."
            )

    def whole(self) -> list[_Node]:
        if self.open:
            section = self.open[-1]
            name = ".".join(section.path)
            raise TemplateInvalid(
                f"Line {section.line}: The section {name} is not closed; "
                f"write {{{{/{name}}}}} where it ends."
            )
        return self.top

    def _put(self, node: _Node) -> None:
        (self.open[-1].inner if self.open else self.top).append(node)

    def _open(self, tag: _Tag) -> None:
        if len(self.open) >= MOST_NESTING:
            raise TemplateInvalid(
                f"Line {tag.line}: {tag} is in too many sections; {MOST_NESTING} are "
                "the most."
            )
        section = _Section(_path(tag), tag.mark == "^", tag.line)
        self._put(section)
        self.open.append(section)

    def _close(self, tag: _Tag) -> None:
        if not self.open or self.open[-1].path != _path(tag):
            begun = ".".join(self.open[-1].path) if self.open else ""
            wanted = f"the open section is {begun}" if begun else "no section is open"
            raise TemplateInvalid(f"Line {tag.line}: {tag} closes nothing; {wanted}.")
        self.open.pop()


def _pieces(source: str) -> Iterator[_Text | _Tag]:
    """Part the template into texts and tags."""
    at = line = 0
    for found in _TAG.finditer(source):
        raw = found["raw"] is not None
        mark = "{" if raw else found["mark"]
        start, end = found.span()
        if mark and mark in "#^/!>=":
            start, end = _whole_line(source, start, end)
        start = max(start, at)  # the tag before may have taken the blank between
        if start > at:
            yield _text(source[at:start], line + 1)
        line += source.count("\n", at, found.start())
        yield _Tag(mark, (found["raw"] if raw else found["name"]).strip(), line + 1)
        line += source.count("\n", found.start(), end)
        at = end
    if at < len(source):
        yield _text(source[at:], line + 1)


def _text(text: str, line: int) -> _Text:
    """Return a text between tags, in which no tag may have begun."""
    if (at := text.find("{{")) >= 0:
        raise TemplateInvalid(
            f"Line {line + text.count(chr(10), 0, at)}: {{{{ begins a tag that does not "
            "end; write a name and }} after it."
        )
    return _Text(text, line)


def _whole_line(source: str, start: int, end: int) -> tuple[int, int]:
    """A tag that shows nothing takes its line with it, if it is alone there."""
    begin = source.rfind("\n", 0, start) + 1
    after = source.find("\n", end) + 1 or len(source)
    alone = not source[begin:start].strip() and not source[end:after].strip()
    return (begin, after) if alone else (start, end)


def _path(tag: _Tag) -> tuple[str, ...]:
    if not _NAME.fullmatch(tag.name):
        raise TemplateInvalid(
            f"Line {tag.line}: {tag} holds no name; names are letters, digits and _, "
            "with dots between."
        )
    return () if tag.name == "." else tuple(tag.name.split("."))


def _used(nodes: Iterable[_Node]) -> Iterator[tuple[str, ...]]:
    for node in nodes:
        if not isinstance(node, _Text):
            yield node.path
        if isinstance(node, _Section):
            yield from _used(node.inner)


# Writing


class _Writer(ABC):
    """Collects what a template makes, every value escaped for its form."""

    # Whether {{{name}}} is let in, treated as {{name}} is.
    takes_raw: ClassVar = True

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.lines: list[int] = []
        self.size = self.pieces = 0

    @abstractmethod
    def escaped(self, value: Any, line: int) -> str: ...

    def text(self, node: _Text) -> None:
        self.add(node.text, node.line)

    def value(self, node: _Value, value: Any) -> None:
        if node.is_raw and not self.takes_raw:
            name = ".".join(node.path)
            raise TemplateInvalid(
                f"Line {node.line}: {{{{{{{name}}}}}}} would put in unescaped what "
                f"strangers wrote; write {{{{{name}}}}}."
            )
        self.add(self.escaped(value, node.line), node.line)

    def add(self, text: str, line: int) -> None:
        self.parts.append(text)
        self.lines.append(line)
        self.size += len(text)
        if self.size > MOST_OUTPUT:
            raise TemplateInvalid(
                f"Line {line}: This makes more than {MOST_OUTPUT:,} characters; say less."
            )

    def count(self, line: int) -> None:
        self.pieces += 1
        if self.pieces > MOST_PIECES:
            raise TemplateInvalid(
                f"Line {line}: Sections go through their lists too often; nest them less."
            )

    def whole(self) -> str:
        return "".join(self.parts)


class _TextWriter(_Writer):
    def escaped(self, value: Any, line: int) -> str:
        return plain(value)


class _LineWriter(_Writer):
    """One line, such as a subject: a break in it would begin a header."""

    def escaped(self, value: Any, line: int) -> str:
        return plain(value)

    def whole(self) -> str:
        return " ".join(_CONTROL.sub(" ", super().whole()).split())


class _URLWriter(_Writer):
    """Values of a form or an address."""

    def escaped(self, value: Any, line: int) -> str:
        return quote(plain(value), safe="")


class _HTMLWriter(_Writer):
    takes_raw = False

    def __init__(self) -> None:
        super().__init__()
        self.in_tag, self.quote = False, ""

    def text(self, node: _Text) -> None:
        super().text(node)
        for found in _HTML_MARK.finditer(node.text):
            self._pass(found[0])

    def _pass(self, mark: str) -> None:
        if self.quote:
            self.quote = "" if mark == self.quote else self.quote
        elif self.in_tag and mark in ("'", '"'):
            self.quote = mark
        elif mark == ">":
            self.in_tag = False
        elif mark[0] == "<" and not mark.startswith("<!--"):
            self.in_tag = True

    def escaped(self, value: Any, line: int) -> str:
        # There, a blank in a value would begin an attribute of its own.
        if self.in_tag and not self.quote:
            raise TemplateInvalid(
                f"Line {line}: Put quotes around what stands in the tag."
            )
        return html.escape(plain(value))


class _JSONWriter(_Writer):
    """Inside a string a value is its text, outside it is JSON of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.in_string = False

    def text(self, node: _Text) -> None:
        super().text(node)
        for found in _JSON_MARK.finditer(node.text):
            if found[0] == '"':
                self.in_string = not self.in_string
            elif found[0] == "\\":
                line = node.line + node.text.count("\n", 0, found.start())
                raise TemplateInvalid(
                    f"Line {line}: A backslash stands before a tag; take it away."
                )

    def escaped(self, value: Any, line: int) -> str:
        return _literal(plain(value))[1:-1] if self.in_string else _literal(value)

    def whole(self) -> str:
        made = super().whole()
        try:
            json.loads(made, parse_constant=_no_constant)
        except RecursionError:
            raise TemplateInvalid("This is JSON too deep to be read.") from None
        except ValueError as error:
            raise TemplateInvalid(self._wrong(error)) from None
        return made

    def _wrong(self, error: ValueError) -> str:
        if not isinstance(error, json.JSONDecodeError):
            return f"This makes no JSON: {error}."
        words = error.msg[:1].lower() + error.msg[1:]
        hint = ""
        if "control character" in words:
            words, hint = "a string goes over its line", " Write \\n for a line break."
        where = f"Line {self._line_of(error.pos)}"
        near = repr(error.doc[max(0, error.pos - 20) : error.pos + 10])
        return f"{where}: This makes no JSON: {words}, at {near}.{hint}"

    def _line_of(self, position: int) -> int:
        """The line of the template that made what stands at a position."""
        at = 0
        for part, line in zip(self.parts, self.lines, strict=True):
            if at + len(part) > position:
                return line + part.count("\n", 0, position - at)
            at += len(part)
        return self.lines[-1] if self.lines else 1


_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_HTML_MARK: Final = re.compile(r"<!--.*?-->|</?[A-Za-z!]|[>'\"]", re.DOTALL)
# A whole escape, a quote, or a backslash with which the text ends too early.
_JSON_MARK: Final = re.compile(r"\\(?:u[0-9A-Fa-f]{4}|[^u])|\"|\\", re.DOTALL)

_WRITERS: Final[Mapping[str, Callable[[], _Writer]]] = {
    "text": _TextWriter,
    "line": _LineWriter,
    "url": _URLWriter,
    "html": _HTMLWriter,
    "json": _JSONWriter,
}
FORMS: Final = frozenset(_WRITERS)


def plain(value: Any) -> str:
    """Return a value as people write it: nothing for null, and no 5.0 for 5."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return _sendable(value) if isinstance(value, str) else _literal(value)


def _literal(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return "null"  # neither infinity nor what is not JSON has a literal
    return _sendable(text)


def _sendable(text: str) -> str:
    """Return the text; halves of letters, which cannot be sent, become a ?."""
    return text.encode("utf-8", "replace").decode()


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no value of JSON")


def render(source: str, values: Mapping[str, Any], form: str) -> str:
    """Return what the template makes of values; raises TemplateInvalid."""
    writer = _WRITERS[form]()
    _write(writer, compiled(source), [values])
    return writer.whole()


def _write(writer: _Writer, nodes: Iterable[_Node], around: list[Any]) -> None:
    for node in nodes:
        writer.count(node.line)
        if isinstance(node, _Text):
            writer.text(node)
        elif isinstance(node, _Value):
            writer.value(node, _found(node.path, around))
        else:
            for value in _turns(node, _found(node.path, around)):
                _write(writer, node.inner, [*around, value])


def _turns(section: _Section, value: Any) -> Iterable[Any]:
    """For which values the inside of a section is written, one after the other."""
    is_nothing = value in (None, "", 0) or value == []
    if section.is_inverted:
        return [{}] if is_nothing else []
    if is_nothing:
        return []
    return value if isinstance(value, list) else [value]


def _found(path: tuple[str, ...], around: list[Any]) -> Any:
    """The value of a name: its first part in what is nearest, the others in that."""
    if not path:
        return around[-1]
    value: Any = next((near for near in reversed(around) if _has(near, path[0])), None)
    for part in path:
        value = value[part] if _has(value, part) else None
    return value


def _has(value: Any, name: str) -> bool:
    return isinstance(value, Mapping) and name in value


@lru_cache(maxsize=256)
def check(source: str, form: str) -> None:
    """Raise TemplateInvalid unless the template makes something fit of all samples."""
    for values in _samples or [{}]:
        render(source, values, form)


def fault(source: str, form: str) -> str:
    """Say what is wrong with a template, or nothing."""
    try:
        check(source, form)
    except TemplateInvalid as invalid:
        return str(invalid)
    return ""
