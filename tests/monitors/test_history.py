from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitors import history
from monitors.models import Overlay, StatusPeriod

START = datetime(2026, 3, 1, tzinfo=UTC)


def hours(number):
    return START + timedelta(hours=number)


def period(status, begin, end=None):
    return StatusPeriod(
        status=status,
        started_at=hours(begin),
        ended_at=None if end is None else hours(end),
    )


def overlay(kind, status, begin, end=None, counts=True):
    return Overlay(
        kind=kind,
        status=status,
        started_at=hours(begin),
        ended_at=None if end is None else hours(end),
        cause="somebody",
        counts=counts,
    )


def shown(found):
    return [(s.shown, (s.end - s.begin).total_seconds() / 3600) for s in found]


def test_time_without_a_period_is_no_data():
    found = history.segments([period("up", 2, 4)], [], START, hours(6))

    assert shown(found) == [("no_data", 2), ("up", 2), ("no_data", 2)]


def test_maintenance_lies_over_incident_over_checks_and_the_worst_of_a_kind_wins():
    found = history.segments(
        [period("up", 0)],
        [
            overlay("incident", "degraded", 1, 5),
            overlay("incident", "down", 2, 3),
            overlay("maintenance", "maintenance", 4),
        ],
        START,
        hours(6),
    )

    assert shown(found) == [
        ("up", 1),
        ("degraded", 1),
        ("down", 1),
        ("degraded", 1),
        ("maintenance", 1),
        ("maintenance", 1),
    ]


def test_automatic_incident_is_shown_but_does_not_enter_uptime():
    over = overlay("incident", "down", 0, 5, counts=False)

    found = history.segments([period("up", 0)], [over], START, hours(10))

    assert shown(found) == [("down", 5), ("up", 5)]
    assert history.uptime(found) == 100


def test_manual_incident_enters_uptime():
    found = history.segments(
        [period("up", 0)], [overlay("incident", "down", 0, 5)], START, hours(10)
    )

    assert history.uptime(found) == 50


def test_uptime_rounds_down_and_leaves_out_what_nobody_knows():
    known = [period("up", 0, 9_999), period("down", 9_999, 10_000)]

    found = history.segments(known, [], START, hours(20_000))
    barely = history.segments(
        [period("up", 0, 99_999), period("down", 99_999, 100_000)],
        [],
        START,
        hours(100_000),
    )

    assert history.uptime(found) == 99.99
    assert history.uptime(barely) == 99.99
    assert history.uptime([]) is None


@pytest.mark.parametrize(
    ("zone", "day", "length"),
    [
        ("Europe/Berlin", date(2026, 3, 29), 23),
        ("Europe/Berlin", date(2026, 10, 25), 25),
        ("Asia/Kathmandu", date(2026, 6, 1), 24),
        ("Australia/Lord_Howe", date(2026, 10, 4), 23.5),
        ("UTC", date(2026, 3, 29), 24),
    ],
)
def test_days_are_as_long_as_they_are_in_their_zone(zone, day, length):
    edges = history.midnights(day, 1, ZoneInfo(zone))
    whole = history.segments([period("up", -9999)], [], edges[0], edges[1])

    (found,) = history.by_day(whole, edges)

    assert found.date == day
    assert found.seconds == {"up": length * 3600}


def test_day_takes_its_worst_status():
    edges = history.midnights(START.date(), 2, UTC)
    line = history.segments(
        [period("up", 0, 30), period("down", 30, 31), period("up", 31)],
        [],
        START,
        hours(48),
    )

    first, second = history.by_day(line, edges)

    assert (first.worst, second.worst) == ("up", "down")
    assert second.seconds == {"up": 23 * 3600.0, "down": 3600.0}


statuses = st.sampled_from(["up", "degraded", "partial", "down", "no_data"])


@st.composite
def periods(draw):
    cuts = sorted(set(draw(st.lists(st.integers(-20, 120), min_size=2, max_size=12))))
    return [
        period(draw(statuses), a, b) for a, b in pairwise(cuts) if draw(st.booleans())
    ]


@st.composite
def overlays(draw):
    begin = draw(st.integers(-20, 120))
    end = draw(st.none() | st.integers(begin, 140))
    kind = draw(st.sampled_from(["incident", "maintenance"]))
    return overlay(kind, draw(statuses), begin, end, draw(st.booleans()))


@given(periods(), st.lists(overlays(), max_size=5))
def test_segments_cover_the_time_once_without_a_gap(found, laid):
    line = history.segments(found, laid, START, hours(100))

    assert line[0].begin == START
    assert line[-1].end == hours(100)
    assert all(a.end == b.begin for a, b in pairwise(line))
    assert all(s.begin < s.end for s in line)


@given(periods(), st.lists(overlays(), max_size=5))
def test_days_share_out_every_second(found, laid):
    edges = history.midnights(START.date(), 5, ZoneInfo("Asia/Kathmandu"))
    line = history.segments(found, laid, edges[0], edges[-1])

    days = history.by_day(line, edges)

    total = sum(sum(day.seconds.values()) for day in days)
    assert total == pytest.approx((edges[-1] - edges[0]).total_seconds())


def test_days_of_zones_a_day_apart_are_told_apart():
    """Midnight is at the same moment in both, of another day."""
    apia, niue = ZoneInfo("Pacific/Apia"), ZoneInfo("Pacific/Niue")
    east = history.midnights(date(2026, 3, 2), 1, apia)
    west = history.midnights(date(2026, 3, 1), 1, niue)
    assert east == west

    (one,), (other,) = history.by_day([], east), history.by_day([], west)

    assert (one.date, other.date) == (date(2026, 3, 2), date(2026, 3, 1))
