"""Markdown from operators and monitors into the one HTML of pages, mails, feeds."""

import re

import markdown as library
import nh3

_TAGS = {
    "p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre", "code",
    "em", "strong", "del", "a", "ul", "ol", "li",
    "table", "thead", "tbody", "tr", "th", "td",
}  # fmt: skip
_ATTRIBUTES = {"a": {"href", "title"}, "th": {"align"}, "td": {"align"}}
# What means something within a line, and what only at its beginning. An
# underscore within a word and most punctuation mean nothing: names and tags
# should stay readable for those who get the source.
_WITHIN = re.compile(r"[\\`*\[\]|]|(?<![^\W_])_|_(?![^\W_])")
_AT_THE_BEGINNING = re.compile(r"^(?:[#+\->]|\d+(?=\.(?:\s|$)))")


def render(text: str) -> str:
    """Return sanitised HTML: no script, style, image or foreign element in it.

    Its headings are below those of the workspace and of an incident's page.
    """
    html = library.markdown(
        text, extensions=["tables", "fenced_code", "sane_lists", "nl2br"]
    )
    # nl2br and the tables extension write style attributes; nh3 drops them.
    clean = nh3.clean(
        html,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes={"http", "https", "mailto"},
        link_rel="nofollow noopener noreferrer",
    )
    return placed(clean, below=3)


def placed(html: str, *, below: int) -> str:
    """Return sanitised HTML for a place below a heading of that level.

    Its tables can be reached by keyboard, since a wide one is to be scrolled.
    """

    def heading(found: re.Match[str]) -> str:
        level = below + (1 if found[2] in "1234" else 2)
        return f"<{found[1]}h{min(level, 6)}>"

    html = re.sub(r"<(/?)h([1-6])>", heading, html)
    return html.replace("<table>", '<table tabindex="0">')


def escape(text: str) -> str:
    """Return text on one line that Markdown shows as it is, also in a table."""
    line = _WITHIN.sub(r"\\\g<0>", " ".join(text.split()))
    line = re.sub(r"&(?=#?\w+;)", "&amp;", line)
    line = re.sub(r"<(?=[a-zA-Z/!?])", "&lt;", line)
    begin = _AT_THE_BEGINNING.match(line)
    if begin is None:
        return line
    # "1." is a list because of its dot, "#" because of itself.
    digits = begin.end() if begin[0].isdigit() else 0
    return f"{line[:digits]}\\{line[digits:]}"


def plain(html: str) -> str:
    """Return the words of rendered HTML, for mails without it and for previews."""
    # Line breaks between the parts of a table mean nothing.
    html = re.sub(r"\s*(</?(?:table|thead|tbody|tr|t[hd])\b[^>]*>)\s*", r"\1", html)
    html = re.sub(r"(<table\b)", r"\n\1", html).replace("</table>", "</table>\n")
    spaced = re.sub(r"</(p|li|h[1-6]|tr|pre|blockquote)>|<br ?/?>", "\n", html)
    spaced = re.sub(r"</t[hd]>\s*<t[hd]", " \u2013 <td", spaced)
    text = nh3.clean(spaced, tags=set())
    for entity, character in (
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", '"'),
        ("&nbsp;", " "),
        ("&amp;", "&"),
    ):
        text = text.replace(entity, character)
    lines = (" ".join(line.split()) for line in text.splitlines())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
