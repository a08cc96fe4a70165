from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from incidents.models import Incident
from statuspages import words
from statuspages.words import Standing

NOW = datetime(2026, 11, 21, 14, 32, tzinfo=UTC)


def standing(name, status="up", *, since=None, is_paused=False):
    return Standing(name, status, since, is_paused)


def said(*standings, incidents=(), last_end=None):
    return words.headline(standings, incidents, now=NOW, last_end=last_end)


@pytest.mark.parametrize(
    ("length", "told"),
    [
        (timedelta(seconds=-5), "0 s"),
        (timedelta(seconds=40), "40 s"),
        (timedelta(minutes=51, seconds=59), "51 min"),
        (timedelta(hours=2), "2 h"),
        (timedelta(hours=2, minutes=5), "2 h 5 min"),
        (timedelta(days=1), "1 day"),
        (timedelta(days=3, hours=4, minutes=9), "3 days 4 h"),
    ],
)
def test_length_is_told_briefly(length, told):
    assert words.short(length) == told


@pytest.mark.parametrize(
    ("length", "told"),
    [
        (timedelta(seconds=-5), "just now"),
        (timedelta(minutes=7), "7 min ago"),
        (timedelta(hours=2, minutes=50), "2 h ago"),
        (timedelta(days=1, hours=5), "1 day ago"),
    ],
)
def test_relative_time_is_rounded_down(length, told):
    assert words.ago(length) == told


def test_moment_carries_its_date_unless_it_is_today():
    assert words.moment(NOW - timedelta(minutes=51), NOW) == "13:41"
    assert words.moment(NOW - timedelta(days=1), NOW) == "20 November, 14:32"
    assert words.moment(NOW - timedelta(days=365), NOW) == "21 November 2025, 14:32"


def test_moment_is_told_in_the_zone_of_now():
    tokyo = NOW.astimezone(ZoneInfo("Asia/Tokyo"))

    assert words.moment(NOW, tokyo) == "23:32"
    assert words.offset(tokyo) == "UTC+9"
    assert words.offset(NOW.astimezone(ZoneInfo("Asia/Kolkata"))) == "UTC+5:30"
    assert words.offset(NOW.astimezone(ZoneInfo("America/St_Johns"))) == "UTC-3:30"


def test_span_names_its_day_once():
    begin = NOW - timedelta(days=3)

    assert words.span(NOW - timedelta(hours=1), NOW, NOW) == "13:32 to 14:32"
    assert (
        words.span(begin, begin + timedelta(hours=1), NOW)
        == "14:32 to 15:32 on 18 November"
    )
    assert words.span(begin, NOW, NOW) == "18 November, 14:32 to 14:32"


def test_headline_names_the_service_that_is_down():
    headline = said(
        standing("Checkout API", "down", since=NOW - timedelta(minutes=51)),
        standing("Card payments", "degraded"),
        *(standing(f"S{n}") for n in range(8)),
        standing("Job queue", "maintenance"),
        standing("Reports", "no_data"),
    )

    assert headline == (
        "down",
        "Checkout API is down",
        "Since 13:41, for 51 minutes. Card payments is degraded. "
        "Job queue is under maintenance. "
        "Eight of twelve services are up and one has not reported.",
    )


def test_headline_counts_when_many_are_down():
    headline = said(*(standing(f"S{n}", "down") for n in range(3)), standing("A"))

    assert headline.title == "Three services are down"
    assert headline.more == "One of four services is up."


def test_headline_says_that_all_are_down():
    assert said(standing("A", "down"), standing("B", "down")).title == (
        "All services are down"
    )


def test_headline_shows_a_partial_outage_as_degraded():
    headline = said(standing("A", "partial"), standing("B"))

    assert (headline.look, headline.title) == ("degraded", "A is partly down")


def test_headline_of_all_up_tells_of_the_last_incident():
    up = [standing("A"), standing("B")]

    assert said(*up) == (
        "up",
        "All services are up",
        "No incident in the last seven days.",
    )
    assert said(*up, last_end=NOW - timedelta(days=2)).more == (
        "The last incident ended 2 days ago."
    )


def test_headline_names_an_incident_that_no_monitor_shows():
    incident = Incident(
        title="Phones are dead",
        severity=Incident.Severity.CRITICAL,
        started_at=NOW - timedelta(minutes=51),
    )

    assert said(standing("A"), standing("B"), incidents=[incident]) == (
        "down",
        "Phones are dead",
        "Investigating, since 13:41. All two services are up.",
    )


def test_headline_admits_what_it_cannot_see():
    since = NOW - timedelta(hours=1)
    headline = said(standing("Reports", "no_data", since=since), standing("B"))

    assert headline == (
        "no_data",
        "We cannot see Reports",
        "It has not reported since 13:32. One of two services is up.",
    )


def test_headline_of_a_service_never_checked_says_so():
    assert said(standing("Shop", "no_data")) == (
        "no_data",
        "We cannot see Shop",
        "It has not been checked yet.",
    )


def test_headline_does_not_complain_of_what_is_paused():
    headline = said(standing("A"), standing("B", "no_data", is_paused=True))

    assert (headline.look, headline.title) == ("up", "All watched services are up")
    assert "one is paused" in headline.more


def test_headline_of_paused_services_is_not_green():
    assert said(standing("A", "no_data", is_paused=True)).look == "no_data"


def test_headline_of_an_empty_page_is_not_green():
    assert said().look == "no_data"
