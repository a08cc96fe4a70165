import json
import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbox.channels import Content
from outbox.channels.base import (
    Notice,
    clean,
    cut,
    json_bytes,
    markdown,
    thread_key,
    utf16_units,
    with_query,
)

from .notices import (
    FACTS,
    TEXT,
    THREAD_KEY,
    URL,
    alert,
    envelope,
    hostile,
    news,
    resolved,
)


def test_alert_is_read_into_a_notice():
    assert Notice.of(alert()) == Notice(
        title="CRITICAL: Shop is down",
        text=TEXT,
        level="CRITICAL",
        facts=tuple(FACTS.items()),
        link=URL,
        link_label="Open alert",
        source="shop",
    )


def test_resolved_alert_says_when_and_after_how_long():
    notice = Notice.of(resolved(severity="WARNING"))

    assert (notice.level, notice.is_resolved) == ("RESOLVED", True)
    assert notice.facts[-2:] == (
        ("Resolved", "2026-03-01 13:01:02 UTC"),
        ("Lasted", "1 h 2 min 2 s"),
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min 0 s"), (None, None), ("9", None)],
)
def test_durations_in_words(seconds, words):
    notice = Notice.of(resolved(duration_seconds=seconds))

    assert dict(notice.facts).get("Lasted") == words


@pytest.mark.parametrize(
    ("kind", "level", "acknowledged"),
    [
        ("alert.reminded", "CRITICAL", False),
        ("alert.acknowledged", "INFO", True),
    ],
)
def test_kinds_of_notice(kind, level, acknowledged):
    notice = Notice.of(alert(kind))

    assert (notice.level, notice.is_acknowledged) == (level, acknowledged)
    assert not notice.is_resolved


def test_reminder_says_how_long_it_has_failed():
    content = alert("alert.reminded")
    content.values["reminder"] = 2
    told = replace(content, variables={"alert_duration": "47 min"})

    assert Notice.of(content).text == f"{TEXT}\nReminder 2"
    assert Notice.of(told).text == f"{TEXT}\nFailing for 47 min; reminder 2"


@pytest.mark.parametrize(
    ("by", "note", "said"),
    [
        ("ana", "On it", "Acknowledged by ana: On it"),
        ("", None, "Acknowledged"),
    ],
)
def test_acknowledgement_says_who_and_what(by, note, said):
    content = alert(is_acknowledged=True, acknowledged_by=by, note=note)

    assert Notice.of(content).text == f"{TEXT}\n{said}"


def test_test_says_so_and_is_not_loud():
    content = alert("alert.test")
    flagged = alert()
    flagged.values["is_test"] = True

    for notice in map(Notice.of, (content, flagged)):
        assert notice.title == "Test: CRITICAL: Shop is down"
        assert (notice.level, notice.is_test) == ("INFO", True)
    assert Notice.of(news()).title == "Test of Chat from Tocsin"


def test_what_is_not_about_an_alert_says_its_subject_and_text():
    notice = Notice.of(news(kind="other"))

    assert notice == Notice(
        title="Test of Chat from Tocsin",
        text="Nothing is wrong.",
        link="http://tocsin.test",
        link_label="Open Tocsin",
    )
    assert notice.body == "Nothing is wrong."


def test_incident_of_an_alert_is_a_fact_and_else_the_link():
    content = alert()
    incident = "http://tocsin.test/incidents/3/"
    content.values["incident"] = {"id": 3, "url": incident}
    alone = Content(values={"incident": {"url": incident}})

    assert ("Incident", incident) in Notice.of(content).facts
    assert (Notice.of(alone).link, Notice.of(alone).link_label) == (
        incident,
        "Open incident",
    )


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"type": None, "alert": "down", "monitor": [], "site": 3},
        {"type": 7, "alert": {"severity": "LOUD", "began_at": 5, "url": 5}},
        {"alert": {"severity": None, "failure_threshold": 0}, "incident": {}},
    ],
)
def test_values_of_any_form_are_read(values):
    notice = Notice.of(Content(subject="Hello", values=values))

    assert (notice.title, notice.level) == ("Hello", "INFO")
    assert notice.link == ""
    assert notice.body in ("Hello", "Severity: LOUD")


def test_nothing_at_all_still_has_a_title():
    assert Notice.of(Content()).title == "Tocsin"
    assert Notice.of(Content(text="first\nsecond")).title == "first second"


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "http://x/ y", "//x", "http://x/" + "é" * 500]
)
def test_link_is_one_that_may_be_opened(url):
    assert Notice.of(alert(url=url)).link == "http://tocsin.test"


def test_texts_hold_no_controls():
    notice = Notice.of(hostile())
    said = [notice.title, notice.text, notice.source, *map(str, notice.facts)]

    kept = {c for c in "".join(said) if unicodedata.category(c) in ("Cc", "Cs")}
    assert kept <= {"\n"}
    assert "\n" not in notice.title + notice.source + "".join(dict(notice.facts))
    assert not any("\n" in value for _, value in notice.facts)
    assert "<script>" in notice.title


@given(st.text())
def test_clean_text_can_be_sent(text):
    clean(text).encode()


@given(
    st.text(max_size=60),
    st.integers(8, 40),
    st.sampled_from([len, utf16_units, json_bytes]),
    st.sampled_from([str, markdown]),
)
def test_cut_text_fits_and_is_a_beginning(text, most, size, escape):
    text = clean(text)

    said = cut(text, most, size=size, escape=escape)

    assert size(said) <= most
    if said != escape(text):
        kept = next(n for n in range(len(text)) if escape(text[:n]) == said[:-1])
        assert said[-1] == "…"
        assert size(escape(text[: kept + 1])) + size("…") > most


def test_markdown_loses_its_meaning():
    assert markdown("*a* _b_ `c` [d](e) ~f~ |g| h-i\n# j\n > k\n - l\n+ m") == (
        "\\*a\\* \\_b\\_ \\`c\\` \\[d\\](e) \\~f\\~ \\|g\\| h-i\n"
        "\\# j\n \\> k\n \\- l\n\\+ m"
    )


def test_thread_key_is_one_for_a_topic_of_a_site():
    other = alert()
    other.values["site"] = {"url": "http://other.test"}

    assert thread_key(alert(), envelope()) == THREAD_KEY
    assert thread_key(resolved(), envelope(key="another")) == THREAD_KEY
    assert thread_key(alert(), envelope(topic="alert:8")) != THREAD_KEY
    assert thread_key(other, envelope()) != THREAD_KEY
    assert thread_key(news(), envelope(topic="")) != thread_key(
        news(), envelope(topic="", key="another")
    )


def test_query_is_added_to_and_replaced():
    url = with_query("https://x.test/a?key=1%2B2&wait=false&empty=", wait="true")

    assert url == "https://x.test/a?key=1%2B2&empty=&wait=true"


def test_json_bytes_count_what_json_writes():
    text = '"\\\n\x01é😀'

    assert json_bytes(text) == len(json.dumps(text, ensure_ascii=False).encode()) - 2
