import re
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.template import Context, Template

from statuspages.templatetags import moments

NOW = datetime(2026, 11, 21, 14, 32, tzinfo=UTC)


def rendered(text, **more):
    template = Template("{% load moments %}" + text)
    return template.render(Context({"now": NOW, **more}))


@pytest.mark.parametrize(
    ("days", "told"),
    [
        ([15], "15 November"),
        ([15, 16], "15 and 16 November"),
        ([15, 17, 18, 19], "15 and 17 to 19 November"),
        ([15, 16, 18, 20], "15, 16, 18 and 20 November"),
        ([15, 16, 17, 18, 19, 20, 21], "15 to 21 November"),
    ],
)
def test_quiet_days_are_told_in_one_line(days, told):
    assert moments.days_listed([date(2026, 11, day) for day in days]) == told


def test_quiet_days_of_two_months_name_both():
    days = [date(2026, 10, 30), date(2026, 10, 31), date(2026, 11, 2)]

    assert moments.days_listed(days) == "30, 31 October and 2 November"


def test_moment_is_absolute_and_exact_for_machines():
    at = NOW - timedelta(days=1)

    assert rendered("{% moment at %}", at=at) == (
        '<time datetime="2026-11-20T14:32:00Z">20 November, 14:32</time>'
    )


@pytest.mark.parametrize(
    ("days", "hours", "told"),
    [
        (2, 3, "23 November, 12:00 to 15:00"),
        (2, 24, "23 November, 12:00 to 24 November, 12:00"),
        (0, 3, "12:00 to 15:00"),
        (0, 24, "12:00 to 22 November, 12:00"),
        (-1, 24, "20 November, 12:00 to 21 November, 12:00"),
    ],
)
def test_window_names_a_day_once(days, hours, told):
    begin = NOW.replace(hour=12, minute=0) + timedelta(days=days)

    html = rendered(
        "{% window begin end %}", begin=begin, end=begin + timedelta(hours=hours)
    )

    assert re.sub(r"<[^>]+>", "", html) == told


def test_day_of_a_window_is_that_of_the_page():
    zone = ZoneInfo("Asia/Tokyo")
    begin = datetime(2026, 11, 23, 14, tzinfo=UTC)

    html = rendered(
        "{% window begin end %}",
        begin=begin,
        end=begin + timedelta(hours=2),
        now=NOW.astimezone(zone),
    )

    assert re.sub(r"<[^>]+>", "", html) == "23 November, 23:00 to 24 November, 01:00"


def test_relative_time_can_be_refreshed():
    at = NOW - timedelta(minutes=7)

    assert rendered("{% ago at %}", at=at) == (
        '<small data-ago="2026-11-21T14:25:00Z">7 min ago</small>'
    )
