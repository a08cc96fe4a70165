import re
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incidents import markdown, words


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        "[x](javascript:alert(1))",
        '<img src=x onerror="alert(1)">',
        "<a href='data:text/html,x'>x</a>",
        '<p style="position:fixed">x</p>',
        "<iframe src=//example.org></iframe>",
        "![x](https://example.org/pixel.gif)",
        "<svg onload=alert(1)>",
    ],
)
def test_nothing_hostile_is_rendered(hostile):
    html = markdown.render(hostile)

    for word in (
        "<script",
        "javascript:",
        "onerror",
        "style=",
        "<iframe",
        "<img",
        "<svg",
        "data:",
    ):
        assert word not in html


def test_links_give_nothing_away():
    html = markdown.render("[more](https://example.org/)")

    assert html == (
        '<p><a href="https://example.org/" rel="nofollow noopener noreferrer">more</a></p>'
    )


def test_headings_are_below_those_of_the_pages():
    html = markdown.render("# A\n\n### B\n\n###### C\n\n<h1 class=x>D</h1>")

    assert html.split() == ["<h4>A</h4>", "<h4>B</h4>", "<h5>C</h5>", "<h4>D</h4>"]


@pytest.mark.parametrize(
    ("below", "headings"),
    [(1, ["h2", "h3"]), (3, ["h4", "h5"]), (4, ["h5", "h6"]), (6, ["h6", "h6"])],
)
def test_headings_are_below_that_of_their_place(below, headings):
    html = markdown.render("# A\n\n##### B\n\n`<h1>`")

    placed = markdown.placed(html, below=below)

    assert re.findall("<(h.)>", placed) == headings
    assert "&lt;h1&gt;" in placed


def test_tables_are_reached_by_keyboard():
    html = markdown.render("| a |\n| - |\n| b |")

    assert html.startswith('<table tabindex="0">')


texts = st.text(st.sampled_from("\\`*_{}[]()#+-.!|<>&~:;=\"'1a/ x") | st.characters())


@given(texts)
def test_escaped_text_is_shown_as_it_is(text):
    expected = " ".join("".join(c for c in text if c.isprintable()).split())

    alone = markdown.plain(markdown.render(markdown.escape(expected)))
    cell = markdown.render(
        f"| a | b |\n| :- | :- |\n| c | {markdown.escape(expected)} |"
    )

    assert alone == expected
    assert markdown.plain(cell).endswith(f" \N{EN DASH} {expected}".rstrip())


@pytest.mark.parametrize(
    "name", ["payment-api", "snake_case_v1.2", "99.9", "Shop (EU)!"]
)
def test_usual_names_stay_as_they_are(name):
    assert markdown.escape(name) == name


@given(st.text(max_size=300))
def test_rendering_never_fails_and_never_lets_a_script_through(text):
    assert "<script" not in markdown.render(text).lower()


@pytest.mark.parametrize(
    ("length", "said"),
    [
        (timedelta(seconds=-5), "0 seconds"),
        (timedelta(seconds=1), "1 second"),
        (timedelta(seconds=59), "59 seconds"),
        (timedelta(minutes=1), "1 minute"),
        (timedelta(minutes=47, seconds=20), "47 minutes"),
        (timedelta(hours=1, minutes=5), "1 hour 5 minutes"),
        (timedelta(hours=2), "2 hours"),
        (timedelta(days=1, minutes=1), "1 day 1 minute"),
    ],
)
def test_durations_are_said_in_words(length, said):
    assert words.duration(length) == said
