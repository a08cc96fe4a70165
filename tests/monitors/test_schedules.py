from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitors.instants import instant, ms
from monitors.schedules import ScheduleInvalid, cron, every, spread


def slots(expression, zone, begin, count):
    schedule, at, found = cron(expression, zone), ms(begin), []
    for _ in range(count):
        at = schedule.next(at)
        found.append(f"{instant(at).astimezone(ZoneInfo(zone)):%d %H:%M %z}")
    return found


def test_fixed_time_in_the_gap_of_spring_has_the_offset_before_it():
    begin = datetime(2026, 3, 27, 12, tzinfo=UTC)

    assert slots("30 2 * * *", "Europe/Berlin", begin, 3) == [
        "28 02:30 +0100",
        "29 03:30 +0200",
        "30 02:30 +0200",
    ]


def test_fixed_time_that_happens_twice_in_autumn_is_taken_once():
    begin = datetime(2026, 10, 24, 12, tzinfo=UTC)

    assert slots("30 2 * * *", "Europe/Berlin", begin, 2) == [
        "25 02:30 +0200",
        "26 02:30 +0100",
    ]


def test_what_runs_every_half_hour_runs_through_the_change():
    begin = datetime(2026, 10, 25, 0, tzinfo=UTC)

    assert slots("*/30 * * * *", "Europe/Berlin", begin, 4) == [
        "25 02:30 +0200",
        "25 02:00 +0100",
        "25 02:30 +0100",
        "25 03:00 +0100",
    ]


def test_slot_in_the_gap_is_found_from_within_the_hour_after_it():
    begin = datetime(2026, 3, 29, 1, 10, tzinfo=UTC)

    assert slots("30 2 * * *", "Europe/Berlin", begin, 1) == ["29 03:30 +0200"]


def test_result_of_a_cron_monitor_speaks_for_two_slots():
    schedule = cron("0 6 * * *", "UTC")
    at = ms(datetime(2026, 3, 1, 6, 0, 1, tzinfo=UTC))

    assert instant(schedule.holds(at)) == datetime(2026, 3, 3, 6, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "zone", "said"),
    [
        ("x", "UTC", "This is no cron expression"),
        ("61 * * * *", "UTC", "This is no cron expression"),
        ("0 0 31 2 *", "UTC", "This is no cron expression"),
        ("0 0 * * *", "Mars/Olympus", "There is no time zone Mars/Olympus"),
        ("0 0 * * *", "../etc/passwd", "There is no time zone"),
        ("0 0 * * *", "", "There is no time zone"),
    ],
)
def test_unfit_schedule_is_refused_saying_what_to_do(expression, zone, said):
    with pytest.raises(ScheduleInvalid, match=said):
        cron(expression, zone)


zones = st.sampled_from(
    [
        "UTC",
        "Europe/Berlin",
        "America/St_Johns",
        "Asia/Kathmandu",
        "Australia/Lord_Howe",
    ]
)
moments = st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1)).map(
    lambda at: ms(at.replace(tzinfo=UTC))
)


@given(
    st.sampled_from(["*/5 * * * *", "30 2 * * *", "0 6 * * 1-5", "15 */2 * * *"]),
    zones,
    moments,
)
def test_slots_lie_after_and_in_order(expression, zone, at):
    schedule = cron(expression, zone)

    first = schedule.next(at)
    second = schedule.next(first)

    assert at < first < second
    # Nothing lies between: the slot is found from just before it, too.
    assert schedule.next(first - 1) == first


@given(st.text("abc-", min_size=1), st.integers(5, 86_400), moments)
def test_slots_of_an_interval_follow_each_other_exactly(tag, seconds, at):
    schedule = every(seconds, tag)

    first = schedule.next(at)

    assert at < first <= at + seconds * 1000
    assert schedule.next(first) == first + seconds * 1000
    assert 0 <= spread(tag) < 1
