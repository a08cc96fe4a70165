from datetime import UTC, datetime, timedelta

import pytest

from incidents.safeguards import (
    OPENED,
    REFUSED,
    REOPENED,
    Limits,
    PastIncident,
    is_storm,
    joins,
    judge,
    month_of,
    quota,
    trips,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def after(minutes):
    return NOON + timedelta(minutes=minutes)


def limits(reopen=0, cooldown=0):
    return Limits(timedelta(minutes=reopen), timedelta(minutes=cooldown))


# One that lasted for an hour until noon.
ENDED = PastIncident(after(-60), NOON, pk=1)


def test_first_alert_opens():
    assert judge([], NOON, NOON, limits(30, 15)).verdict == OPENED


def test_open_one_refuses_whatever_the_windows_are():
    going_on = PastIncident(after(-5))

    verdict = judge([ENDED, going_on], NOON, NOON, limits(30, 15))

    assert (verdict.verdict, verdict.gate) == (REFUSED, "duplicate")
    assert verdict.until is None


@pytest.mark.parametrize(
    ("began", "expected"), [(0, REOPENED), (30, REOPENED), (31, OPENED)]
)
def test_reopen_window_is_measured_from_the_end_to_the_first_failure(began, expected):
    verdict = judge([ENDED], after(began), after(began + 20), limits(reopen=30))

    assert verdict.verdict == expected
    assert (verdict.of == ENDED) is (expected == REOPENED)


def test_reopen_window_comes_before_the_cooldown():
    past, both = [ENDED], limits(reopen=5, cooldown=15)

    assert judge(past, after(4), after(4), both).gate == "reopen"
    assert judge(past, after(6), after(6), both).gate == "cooldown"


def test_cooldown_says_until_when_in_words():
    verdict = judge([ENDED], after(4), after(4), limits(cooldown=15))

    assert (verdict.verdict, verdict.until) == (REFUSED, after(15))
    assert verdict.reason == (
        "Its last incident ended 4 minutes ago; the cooldown is 15 minutes, until "
        "12:15 UTC."
    )


def test_cooldown_names_the_day_if_it_is_another_one():
    late = PastIncident(NOON, after(11 * 60 + 55))

    verdict = judge([late], after(716), after(716), limits(cooldown=15))

    assert verdict.reason.endswith("until 2 March 00:10 UTC.")


def test_what_still_fails_at_the_end_of_the_cooldown_opens():
    assert judge([ENDED], after(4), after(15), limits(cooldown=15)).verdict == OPENED


def test_withdrawn_one_is_never_reopened_but_cools_down():
    gone = PastIncident(after(-60), NOON, is_withdrawn=True)

    assert judge([gone], after(1), after(1), limits(reopen=30)).verdict == OPENED
    assert judge([gone], after(1), after(1), limits(cooldown=5)).gate == "cooldown"


def test_last_is_the_one_that_ended_last():
    older = PastIncident(after(-600), after(-500), pk=2)

    assert judge([older, ENDED], NOON, NOON, limits(reopen=1)).of == ENDED


def test_quota_is_a_calendar_month_in_utc():
    assert month_of(datetime(2026, 12, 31, 23, 59, tzinfo=UTC)) == (
        datetime(2026, 12, 1, tzinfo=UTC),
        datetime(2027, 1, 1, tzinfo=UTC),
    )
    assert quota(4, 5, NOON) is None
    assert quota(99, None, NOON) is None
    verdict = quota(5, 5, NOON)
    assert verdict.until == datetime(2026, 4, 1, tzinfo=UTC)
    assert "5 automatic incidents this month" in verdict.reason


@pytest.mark.parametrize(("hours", "expected"), [(23, True), (24, False)])
def test_breaker_counts_24_hours_back(hours, expected):
    opened = [NOON, NOON, NOON - timedelta(hours=hours)]

    assert trips(opened, NOON, 3) is expected
    assert not trips(opened, NOON, None)


@pytest.mark.parametrize(
    ("failing", "active", "expected"),
    [
        (10, 12, True),
        (9, 12, False),
        (20, 100, True),
        (19, 100, False),
        (20, 101, False),
        (21, 101, True),
    ],
)
def test_storm_is_a_share_and_a_number(failing, active, expected):
    assert is_storm(failing, active, at_least=10, percent=20) is expected


@pytest.mark.parametrize(
    ("seconds", "expected"), [(-60, True), (60, True), (61, False)]
)
def test_alert_joins_what_began_within_a_minute(seconds, expected):
    assert joins(NOON, NOON + timedelta(seconds=seconds)) is expected
