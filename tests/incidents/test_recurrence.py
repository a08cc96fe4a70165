import sys
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import rrulestr
from hypothesis import example, given, reject
from hypothesis import strategies as st

from incidents import recurrence
from incidents.recurrence import (
    RecurrenceInvalid,
    check_exdates,
    parse,
    part_exdates,
)

BERLIN = "Europe/Berlin"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def at(*clock, zone=BERLIN, fold=0):
    return datetime(*clock, tzinfo=ZoneInfo(zone), fold=fold)


def rule(text, *clock, zone=BERLIN, lasts=HOUR, **options):
    """The recurrence that begins at a time on the clock of its zone."""
    return parse(text, at(*clock, zone=zone), zone, lasts, **options)


def told(found, count):
    """The first windows: when they begin on the clock of the zone."""
    windows = found.after(found.starts_at - DAY, count)
    return [f"{w.starts_at.astimezone(found.zone):%Y-%m-%d %H:%M %z}" for w in windows]


def days(found, count):
    return [text[:10] for text in told(found, count)]


def refused(text, *clock, **options):
    with pytest.raises(RecurrenceInvalid) as caught:
        rule(text, *(clock or (2026, 3, 2, 2)), **options)
    return caught.value


# Changes of the clock.


def test_time_in_the_gap_of_spring_has_the_offset_before_it():
    assert told(rule("FREQ=DAILY", 2026, 3, 28, 2, 30), 3) == [
        "2026-03-28 02:30 +0100",
        "2026-03-29 03:30 +0200",
        "2026-03-30 02:30 +0200",
    ]
    assert told(rule("FREQ=WEEKLY", 2027, 3, 21, 2, 30), 2)[1] == (
        "2027-03-28 03:30 +0200"
    )


def test_time_that_happens_twice_in_autumn_is_the_first():
    assert told(rule("FREQ=DAILY", 2026, 10, 24, 2, 30), 3) == [
        "2026-10-24 02:30 +0200",
        "2026-10-25 02:30 +0200",
        "2026-10-26 02:30 +0100",
    ]


def test_first_window_begins_as_it_was_said_be_it_the_second_of_two():
    second = at(2026, 10, 25, 2, 30, fold=1).astimezone(UTC)

    found = parse("FREQ=YEARLY", second, BERLIN, HOUR)

    assert found.starts_at == second == datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    assert found.after(second - HOUR)[0].starts_at == second


def test_start_given_in_a_gap_of_its_zone_keeps_its_time_of_day():
    found = rule("FREQ=DAILY", 2026, 3, 29, 2, 30)

    assert told(found, 2) == ["2026-03-29 03:30 +0200", "2026-03-30 02:30 +0200"]
    assert found.after(found.starts_at - HOUR)[0].local_start == (
        datetime(2026, 3, 29, 2, 30)
    )


def test_lord_howe_has_gaps_and_folds_of_half_an_hour():
    zone = "Australia/Lord_Howe"

    spring = rule("FREQ=DAILY", 2026, 10, 3, 2, 15, zone=zone)
    autumn = rule("FREQ=DAILY", 2026, 4, 4, 1, 45, zone=zone)

    assert told(spring, 3)[1:] == ["2026-10-04 02:45 +1100", "2026-10-05 02:15 +1100"]
    assert told(autumn, 3)[1:] == ["2026-04-05 01:45 +1100", "2026-04-06 01:45 +1030"]


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("Africa/Cairo", date(2026, 4, 24)),
        ("America/Havana", date(2026, 3, 8)),
        ("Asia/Beirut", date(2026, 3, 29)),
    ],
)
def test_midnight_that_is_skipped_is_one_o_clock_of_the_same_day(zone, day):
    eve = day - DAY

    found = rule("FREQ=DAILY", eve.year, eve.month, eve.day, zone=zone)

    clocks = [text[:16] for text in told(found, 3)]
    assert clocks == [f"{eve} 00:00", f"{day} 01:00", f"{day + DAY} 00:00"]


def test_gap_before_midnight_leads_into_the_next_day():
    found = rule("FREQ=DAILY", 2026, 3, 27, 23, 30, zone="America/Nuuk")
    late = found.after(found.starts_at)[0]

    assert told(found, 2)[1] == "2026-03-29 00:30 -0100"
    assert late.local_start == datetime(2026, 3, 28, 23, 30)
    assert found.between(late.starts_at, late.starts_at + HOUR) == [late]


def test_day_that_a_zone_skipped_is_left_out():
    found = rule("FREQ=DAILY", 2011, 12, 28, 9, zone="Pacific/Apia")

    assert days(found, 4) == ["2011-12-28", "2011-12-29", "2011-12-31", "2012-01-01"]


def test_duration_is_elapsed_time():
    found = rule("FREQ=DAILY", 2026, 3, 28, 1, lasts=4 * HOUR)

    first, second = found.after(found.starts_at - HOUR, 2)

    assert first.ends_at - first.starts_at == 4 * HOUR
    assert second.ends_at == at(2026, 3, 29, 6).astimezone(UTC)


def test_duration_by_the_clock_ends_when_the_clock_says_so():
    spring = rule("FREQ=DAILY", 2026, 3, 29, 1, lasts=4 * HOUR, wall_clock=True)
    autumn = rule("FREQ=DAILY", 2026, 10, 25, 1, lasts=4 * HOUR, wall_clock=True)

    (short,) = spring.after(spring.starts_at - HOUR)
    (long,) = autumn.after(autumn.starts_at - HOUR)

    assert short.ends_at == at(2026, 3, 29, 5).astimezone(UTC)
    assert short.ends_at - short.starts_at == 3 * HOUR
    assert long.ends_at - long.starts_at == 5 * HOUR


def test_duration_by_the_clock_never_ends_before_it_begins():
    half = HOUR / 2
    found = rule("FREQ=DAILY", 2026, 3, 29, 2, 30, lasts=half, wall_clock=True)

    (window,) = found.after(found.starts_at - HOUR)

    assert window.ends_at - window.starts_at == half


# Dates.


@pytest.mark.parametrize(
    ("text", "start", "expected"),
    [
        ("FREQ=DAILY;INTERVAL=3", (2026, 3, 1), ["03-01", "03-04", "03-07"]),
        ("FREQ=WEEKLY", (2026, 3, 3), ["03-03", "03-10", "03-17"]),
        ("FREQ=WEEKLY;BYDAY=TU,FR", (2026, 3, 3), ["03-03", "03-06", "03-10"]),
        ("FREQ=MONTHLY;BYDAY=2TU", (2026, 3, 10), ["03-10", "04-14", "05-12"]),
        ("FREQ=MONTHLY;BYDAY=-1FR", (2026, 3, 27), ["03-27", "04-24", "05-29"]),
        ("FREQ=MONTHLY;BYDAY=5MO", (2026, 3, 30), ["03-30", "06-29", "08-31"]),
        ("FREQ=MONTHLY;BYMONTHDAY=-1", (2026, 1, 31), ["01-31", "02-28", "03-31"]),
        (
            "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=1",
            (2026, 7, 1),
            ["07-01", "08-03", "09-01"],
        ),
        (
            "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=1,-1",
            (2026, 7, 1),
            ["07-01", "07-31", "08-03"],
        ),
        (
            "FREQ=MONTHLY;BYMONTHDAY=13;BYDAY=FR",
            (2026, 2, 13),
            ["02-13", "03-13", "11-13"],
        ),
        ("FREQ=DAILY;BYMONTH=1,3", (2026, 1, 30), ["01-30", "01-31", "03-01"]),
        ("FREQ=YEARLY;BYMONTH=3,6", (2026, 3, 5), ["03-05", "06-05", "03-05"]),
        ("FREQ=YEARLY;BYMONTHDAY=15", (2026, 3, 15), ["03-15", "04-15", "05-15"]),
        ("FREQ=YEARLY;BYDAY=20MO", (2026, 5, 18), ["05-18", "05-17", "05-15"]),
        (
            "FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU",
            (2026, 3, 29),
            ["03-29", "03-28", "03-26"],
        ),
    ],
)
def test_dates_of_a_rule(text, start, expected):
    found = rule(text, *start)

    assert [day[5:] for day in days(found, 3)] == expected


def test_months_without_a_31st_are_left_out():
    found = rule("FREQ=MONTHLY", 2026, 1, 31)

    assert days(found, 4) == ["2026-01-31", "2026-03-31", "2026-05-31", "2026-07-31"]
    assert found.warnings == ["A month without the 31st is left out."]
    assert rule("FREQ=YEARLY", 2026, 1, 31).warnings == []


def test_29_february_is_in_leap_years_only():
    found = rule("FREQ=YEARLY", 2028, 2, 29)

    assert days(found, 3) == ["2028-02-29", "2032-02-29", "2036-02-29"]


def test_week_begins_where_the_rule_says():
    # The example of RFC 5545.
    text = "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST="

    monday = rule(f"{text}MO", 1997, 8, 5, 9)
    sunday = rule(f"{text}SU", 1997, 8, 5, 9)

    assert [day[5:] for day in days(monday, 9)] == ["08-05", "08-10", "08-19", "08-24"]
    assert [day[5:] for day in days(sunday, 9)] == ["08-05", "08-17", "08-19", "08-31"]


def test_count_ends_exactly():
    found = rule("FREQ=WEEKLY;COUNT=3", 2026, 3, 3, 2)

    assert days(found, 9) == ["2026-03-03", "2026-03-10", "2026-03-17"]
    assert found.last == date(2026, 3, 17)


@pytest.mark.parametrize(
    ("until", "last"),
    [
        ("20260328", "2026-03-28"),
        ("20260329", "2026-03-29"),
        ("20260329T023000", "2026-03-29"),
        ("20260329T022959", "2026-03-28"),
        # The gap makes 02:30 begin at 03:30, which is 01:30 in UTC.
        ("20260329T013000Z", "2026-03-29"),
        ("20260329T012959Z", "2026-03-28"),
        ("20260329T235959Z", "2026-03-29"),
    ],
)
def test_until_is_inclusive(until, last):
    found = rule(f"FREQ=DAILY;UNTIL={until}", 2026, 3, 26, 2, 30)

    assert days(found, 9)[-1] == last
    assert rule(found.ical(), 2026, 3, 26, 2, 30) == found


def test_until_has_a_start_of_tomorrow_from_before_the_clock_was_set_back():
    # At one past midnight it became 23:01 of the day before.
    zone, until = "America/St_Johns", "20101107T024500Z"

    found = rule(f"FREQ=DAILY;UNTIL={until}", 2010, 11, 6, zone=zone)

    assert told(found, 9)[-1] == "2010-11-07 00:00 -0230"


def test_until_may_be_the_start():
    assert days(rule("FREQ=DAILY;UNTIL=20260301T010000Z", 2026, 3, 1, 2), 9) == [
        "2026-03-01"
    ]


def test_dates_end_with_the_last_year():
    assert days(rule("FREQ=YEARLY", 2098, 6, 1), 9) == ["2098-06-01", "2099-06-01"]


def test_kener_s_way_to_write_once_is_read_by_its_parts():
    once = rule("FREQ=MINUTELY;COUNT=1", 2026, 3, 3, 2)
    ten = rule("FREQ=DAILY;COUNT=10", 2026, 3, 3, 2)

    assert (once.is_once, days(once, 99)) == (True, ["2026-03-03"])
    assert (ten.is_once, len(days(ten, 99))) == (False, 10)
    assert "too often" in str(refused("FREQ=MINUTELY;COUNT=10"))


# Dates left out.


@pytest.mark.parametrize(
    "exdate",
    [
        datetime(2026, 3, 29, 2, 30),
        datetime(2026, 3, 29, 1, 30, tzinfo=UTC),
        at(2026, 3, 29, 3, 30),
        at(2026, 3, 29, 2, 30),
        at(2026, 3, 29, 2, 30, zone="Europe/Paris"),
        datetime(2026, 3, 29, 1, 30, 0, 7, tzinfo=UTC),
        date(2026, 3, 29),
    ],
)
def test_date_is_left_out_however_it_is_given(exdate):
    found = rule("FREQ=DAILY;COUNT=4", 2026, 3, 28, 2, 30, exdates=[exdate])

    assert found.exdates == (datetime(2026, 3, 29, 2, 30),)
    # It counts for COUNT.
    assert days(found, 9) == ["2026-03-28", "2026-03-30", "2026-03-31"]
    assert found.warnings == []


def test_moment_of_the_next_day_leaves_out_a_start_in_a_gap_before_midnight():
    moment = at(2026, 3, 29, 0, 30, zone="America/Nuuk")

    found = rule(
        "FREQ=DAILY", 2026, 3, 27, 23, 30, zone="America/Nuuk", exdates=[moment]
    )

    assert found.exdates == (datetime(2026, 3, 28, 23, 30),)


@pytest.mark.parametrize(
    "line",
    [
        "EXDATE:20260329T023000,20260331T023000",
        "EXDATE;TZID=Europe/Berlin:20260329T023000\r\nexdate:20260331T003000Z",
        "EXDATE;VALUE=DATE:20260329,20260331",
        "EXDATE:20260329T023\n 000,20260331T023000",
    ],
)
def test_exdate_lines_leave_dates_out(line):
    found = rule(f"rrule:freq=daily\r\n{line}\r\n", 2026, 3, 28, 2, 30)

    assert days(found, 3) == ["2026-03-28", "2026-03-30", "2026-04-01"]


def test_exdate_that_no_window_has_is_told():
    stale = datetime(2026, 3, 31, 2)

    found = rule("FREQ=WEEKLY", 2026, 3, 3, 2, 30, exdates=[stale, date(2026, 3, 10)])

    said = ["To leave out 2026-03-31 02:00 changes nothing: no window begins then."]
    assert found.warnings == found.idle_exdates == said


@pytest.mark.parametrize(
    ("text", "alone", "left_out"),
    [
        ("FREQ=DAILY", "FREQ=DAILY", []),
        ("FREQ=DAILY\nEXDATE:20260329T023000", "FREQ=DAILY", ["2026-03-29T02:30:00"]),
        (
            "exdate;value=date:20260329,20260331\r\nrrule:freq=daily\r\n",
            "rrule:freq=daily",
            ["2026-03-29", "2026-03-31"],
        ),
        (
            "FREQ=DAILY\nEXDATE:20260329T003\n 000Z\nEXDATE:20260331T003000Z",
            "FREQ=DAILY",
            ["2026-03-29T00:30:00+00:00", "2026-03-31T00:30:00+00:00"],
        ),
    ],
)
def test_exdate_lines_are_parted_from_the_rule(text, alone, left_out):
    assert part_exdates(text, BERLIN) == (alone, left_out)
    check_exdates(left_out)


@pytest.mark.parametrize(
    ("line", "zone", "field"),
    [("EXDATE:soon", BERLIN, "exdates"), ("EXDATE:20260329", "Moon", "time_zone")],
)
def test_unfit_exdate_line_is_refused_when_it_is_parted(line, zone, field):
    with pytest.raises(RecurrenceInvalid) as caught:
        part_exdates(f"FREQ=DAILY\n{line}", zone)

    assert caught.value.field == field


@pytest.mark.parametrize(
    "text",
    [
        *("2026-03-04", "2026-03-04T02:30", "2026-03-04T02:30:00"),
        *("2026-03-04T02:30Z", "2026-03-04T02:30:00+01:00", "2026-03-04T02:30-11:30"),
    ],
)
def test_dates_to_leave_out_are_written_so(text):
    check_exdates([text])


@pytest.mark.parametrize(
    "text",
    [
        *("20260304", "2026-W10-3", "2026-063", "2026-3-4", "2026-02-30", ""),
        *("2026-03-04T02", "2026-03-04 02:00", "2026-03-04T02:00:00.5"),
        *("2026-03-04T25:00", "2026-03-04T02:00+25:00", "\uff12026-03-04", "Friday"),
        "2026-03-04\n",
    ],
)
def test_dates_to_leave_out_are_written_no_other_way(text):
    with pytest.raises(RecurrenceInvalid) as caught:
        check_exdates(["2026-03-03", text])

    assert caught.value.field == "exdates"
    assert f'not "{text}"' in str(caught.value)


# Questions.


def test_between_has_what_begins_in_it_and_its_end_is_not_in_it():
    found = rule("FREQ=DAILY", 2026, 3, 1, 2)
    second, third = found.starts_at + DAY, found.starts_at + 2 * DAY

    assert [w.starts_at for w in found.between(second, third)] == [second]
    assert len(found.between(second, third + HOUR)) == 2
    assert found.between(third, second) == []
    assert len(found.between(second, second + 99 * DAY, most=5)) == 5


def test_between_two_times_on_a_clock_that_is_set_back():
    found = rule("FREQ=DAILY", 2026, 10, 24, 2, 40)
    begin, end = at(2026, 10, 25, 2, 30), at(2026, 10, 25, 2, 10, fold=1)

    assert len(found.between(begin, end)) == 1


def test_what_is_finer_than_a_second_is_cut_off():
    found = rule("FREQ=DAILY", 2026, 3, 1, 2, 0, 0, 7)

    assert found == rule("FREQ=DAILY", 2026, 3, 1, 2)


def test_after_does_not_have_the_moment_itself():
    found = rule("FREQ=DAILY", 2026, 3, 1, 2)

    assert found.after(found.starts_at)[0].starts_at == found.starts_at + DAY
    assert found.after(found.starts_at - HOUR / 60)[0].starts_at == found.starts_at
    assert found.after(datetime.max.replace(tzinfo=UTC)) == []
    assert len(found.after(datetime.min.replace(tzinfo=UTC), 3)) == 3


def test_window_longer_than_its_period_overlaps_and_is_told():
    found = rule("FREQ=WEEKLY;BYDAY=TU,TH", 2026, 3, 3, 2, lasts=2 * DAY + HOUR)
    first, second = found.after(found.starts_at - HOUR, 2)

    assert second.starts_at < first.ends_at
    assert found.warnings == ["The window is longer than its period: dates overlap."]
    assert rule("FREQ=DAILY", 2026, 3, 1, lasts=DAY).warnings == []


def test_same_rule_written_differently_is_the_same():
    one = rule("RRULE:FREQ=MONTHLY;INTERVAL=1;BYDAY=-1FR,+1MO;WKST=SU", 2026, 3, 2)
    other = rule("byday=1mo,-1fr,1MO; freq=monthly;", 2026, 3, 2)

    assert one == other
    assert one.ical() == "FREQ=MONTHLY;BYDAY=1MO,-1FR"


def test_canonical_text_has_until_in_utc():
    found = rule("FREQ=DAILY;UNTIL=20260701;BYMONTH=07,6,7", 2026, 6, 1, 2)

    assert found.ical() == "FREQ=DAILY;UNTIL=20260701T000000Z;BYMONTH=6,7"


@pytest.mark.parametrize(
    ("text", "start", "words"),
    [
        ("FREQ=DAILY", (2026, 3, 3, 2, 30), "Every day"),
        ("FREQ=DAILY;INTERVAL=2", (2026, 3, 3, 2, 30), "Every 2 days"),
        (
            "FREQ=DAILY;BYDAY=TU,WE;BYMONTH=3,4",
            (2026, 3, 3, 2, 30),
            "Every day, if that is a Tuesday or Wednesday, only in March and April,",
        ),
        (
            "FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,TH",
            (2026, 3, 3, 2, 30),
            "Every 2 weeks on Tuesday and Thursday",
        ),
        (
            "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR",
            (2026, 3, 3, 2, 30),
            "Every week on every weekday",
        ),
        (
            "FREQ=MONTHLY;BYDAY=2TU",
            (2026, 3, 10, 2, 30),
            "Every month on the second Tuesday",
        ),
        (
            "FREQ=MONTHLY;BYMONTHDAY=1,-2,-1",
            (2026, 3, 1, 2, 30),
            "Every month on the 1st, the second last day and the last day",
        ),
        (
            "FREQ=MONTHLY;BYMONTHDAY=13;BYDAY=FR",
            (2026, 3, 13, 2, 30),
            "Every month on the 13th, if that is a Friday,",
        ),
        (
            "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=1,-1",
            (2026, 7, 1, 2, 30),
            "Every month on the first and last weekday",
        ),
        (
            "FREQ=MONTHLY;BYDAY=1MO,1TH;BYSETPOS=1",
            (2026, 7, 2, 2, 30),
            "Every month on the first of these: the first Monday and the first Thursday",
        ),
        ("FREQ=YEARLY", (2028, 2, 29, 2, 30), "Every year on the 29th of February"),
        (
            "FREQ=YEARLY;BYDAY=22TU",
            (2026, 6, 2, 2, 30),
            "Every year on the 22nd Tuesday",
        ),
        (
            "FREQ=YEARLY;BYMONTHDAY=11",
            (2026, 6, 11, 2, 30),
            "Every year on the 11th of every month",
        ),
        (
            "FREQ=YEARLY;BYMONTH=3;BYDAY=SU",
            (2026, 3, 1, 2, 30),
            "Every year on every Sunday of March",
        ),
        ("FREQ=MINUTELY;COUNT=1", (2026, 3, 3, 2, 30), "Once, on 3 March 2026"),
    ],
)
def test_rule_in_words(text, start, words):
    found = rule(text, *start, lasts=2 * HOUR)

    assert found.describe() == f"{words} at 02:30 Europe/Berlin, for 2 hours"


def test_ending_in_words():
    some = [date(2026, 3, 4), date(2026, 3, 5)]
    counted = rule("FREQ=DAILY;COUNT=9", 2026, 3, 3, 2, exdates=some)
    many = [date(2026, 3, day) for day in range(4, 9)]
    ended = rule(
        "FREQ=DAILY;UNTIL=20261225", 2026, 3, 3, 2, 0, 5, exdates=many, wall_clock=True
    )

    assert counted.describe() == (
        "Every day at 02:00 Europe/Berlin, for 1 hour, 9 times, except on "
        "4 March 2026 and 5 March 2026"
    )
    assert ended.describe() == (
        "Every day at 02:00:05 Europe/Berlin, for 1 hour by the clock, until "
        "25 December 2026, except on 5 dates"
    )


# Refusals.


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Give one rule, such as"),
        ("FREQ=DAILY\nFREQ=WEEKLY", "Give one rule, such as"),
        ("DTSTART:20260101T000000Z\nRRULE:FREQ=DAILY", "DTSTART cannot be used"),
        ("RDATE:20260101\nFREQ=DAILY", "RDATE cannot be used"),
        ("COUNT=3", "FREQ must be one of DAILY, WEEKLY, MONTHLY or YEARLY"),
        ("FREQ=FORTNIGHTLY", "FREQ must be one of"),
        ("FREQ=SECONDLY", "FREQ=SECONDLY is too often"),
        ("FREQ=HOURLY;COUNT=1", "FREQ=HOURLY is too often"),
        ("FREQ=DAILY;BYHOUR=2", "the time of day is that of the start"),
        ("FREQ=DAILY;BYMINUTE=2", "the time of day is that of the start"),
        ("FREQ=DAILY;BYSECOND=2", "the time of day is that of the start"),
        (
            "FREQ=YEARLY;BYWEEKNO=2",
            "BYWEEKNO cannot be used: calendar engines disagree",
        ),
        ("FREQ=YEARLY;BYYEARDAY=2", "BYYEARDAY cannot be used"),
        ("FREQ=YEARLY;BYEASTER=2", "BYEASTER cannot be used"),
        (
            "FREQ=DAILY;COUNT=3;UNTIL=20270101",
            "COUNT and UNTIL cannot be used together",
        ),
        ("FREQ=DAILY;FREQ=DAILY", "FREQ is given twice"),
        ("FREQ=DAILY;SKIP=OMIT", '"SKIP" is not known'),
        ("FREQ=DAILY;COUNT", "COUNT has no value"),
        ("FREQ=DAILY;INTERVAL=0", "INTERVAL must be a whole number from 1 to 1000"),
        ("FREQ=DAILY;INTERVAL=1001", "INTERVAL must be a whole number"),
        ("FREQ=DAILY;INTERVAL=1,2", "INTERVAL must be a whole number"),
        ("FREQ=DAILY;COUNT=10001", "COUNT must be a whole number from 1 to 10000"),
        ("FREQ=DAILY;COUNT=1_0", "COUNT must be a whole number"),
        (
            "FREQ=MONTHLY;BYMONTHDAY=0",
            "BYMONTHDAY must be whole numbers from -31 to 31",
        ),
        ("FREQ=MONTHLY;BYMONTHDAY=1,", "BYMONTHDAY must be whole numbers"),
        ("FREQ=YEARLY;BYMONTH=13", "BYMONTH must be whole numbers from 1 to 12"),
        ("FREQ=MONTHLY;BYDAY=MO;BYSETPOS=367", "BYSETPOS must be"),
        ("FREQ=WEEKLY;BYDAY=XX", "BYDAY must be made of MO"),
        ("FREQ=MONTHLY;BYDAY=54MO", "BYDAY cannot be 54MO"),
        ("FREQ=WEEKLY;WKST=1MO", "WKST must be made of MO"),
        ("FREQ=WEEKLY;BYDAY=1MO", "with FREQ=MONTHLY or YEARLY only"),
        ("FREQ=MONTHLY;BYDAY=MO,1TU", "numbers on all days or on none"),
        ("FREQ=MONTHLY;BYDAY=1MO;BYMONTHDAY=2", "leave BYMONTHDAY out"),
        ("FREQ=WEEKLY;BYMONTHDAY=2", "BYMONTHDAY cannot be used with FREQ=WEEKLY"),
        ("FREQ=MONTHLY;BYSETPOS=1", "BYSETPOS picks from days"),
        ("FREQ=WEEKLY;BYDAY=MO;BYSETPOS=1", "BYSETPOS needs FREQ=MONTHLY or YEARLY"),
        ("FREQ=DAILY;UNTIL=tomorrow", "UNTIL must be written as 20261225"),
        ("FREQ=DAILY;UNTIL=20260230", "UNTIL must be written as"),
        ("FREQ=DAILY;UNTIL=20260301", "UNTIL lies before the start"),
        ("FREQ=DAILY;UNTIL=20260302T015959", "UNTIL lies before the start"),
        ("FREQ=DAILY;UNTIL=20260302T005959Z", "UNTIL lies before the start"),
        ("FREQ=DAILY;UNTIL=99991231", "UNTIL must lie in the years 1970 to 2099"),
        ("FREQ=DAILY;UNTIL=99991231T235959Z", "UNTIL must lie in the years"),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "names no date from 2 March 2026"),
        ("FREQ=DAILY;INTERVAL=7;BYDAY=TU", "names no date from"),
        ("FREQ=DAILY;X=ß", "must be plain letters"),
        ("FREQ=DAILY;" * 50, "has 550 characters; 500 are allowed"),
    ],
)
def test_unfit_rule_is_refused_saying_what_to_do(text, said):
    error = refused(text)

    assert said in str(error)
    assert (error.field, error.first) == ("rrule", None)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("EXDATE:never", "EXDATE must be written as"),
        ("EXDATE", "EXDATE must be written as"),
        ("EXDATE;TZID=Europe/Paris:20260302T020000", "EXDATE must be in Europe/Berlin"),
        ("EXDATES:20260302T020000", "EXDATE must be in Europe/Berlin"),
        ("EXDATE:18000101T000000Z", "EXDATE must lie in the years"),
    ],
)
def test_unfit_exdate_is_refused(line, said):
    error = refused(f"FREQ=DAILY\n{line}")

    assert said in str(error)
    assert error.field == "exdates"


def test_too_many_exdates_are_refused():
    error = refused("FREQ=DAILY", exdates=[date(2026, 3, 5)] * 201)

    assert "201 dates are left out; at most 200" in str(error)
    assert refused("FREQ=DAILY", exdates=[date.max]).field == "exdates"


def test_start_that_is_no_date_of_its_rule_is_refused_with_the_first_that_is():
    error = refused("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO", 2026, 3, 25, 2)

    assert error.field == "starts_at"
    assert "The start, Wednesday 25 March 2026, is no date of the rule" in str(error)
    assert "start on Monday 6 April 2026" in str(error)
    assert error.first == at(2026, 4, 6, 2)
    assert parse("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO", error.first, BERLIN, HOUR)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../etc/passwd", "", "\0"])
def test_unknown_zone_is_refused(zone):
    with pytest.raises(RecurrenceInvalid, match="There is no time zone") as caught:
        parse("FREQ=DAILY", at(2026, 3, 1), zone, HOUR)
    assert caught.value.field == "time_zone"


@pytest.mark.parametrize(
    "start",
    [
        datetime(2026, 3, 1),
        datetime.max.replace(tzinfo=UTC),
        datetime.min.replace(tzinfo=UTC),
    ],
)
def test_unfit_start_is_refused(start):
    with pytest.raises(RecurrenceInvalid, match="The start must") as caught:
        parse("FREQ=DAILY", start, BERLIN, HOUR)
    assert caught.value.field == "starts_at"


@pytest.mark.parametrize("lasts", [timedelta(0), -HOUR, 367 * DAY, timedelta.max])
def test_unfit_duration_is_refused(lasts):
    assert refused("FREQ=DAILY", lasts=lasts).field == "duration"


# Bounds.


def tried(text):
    try:
        return rule(text, 2026, 3, 2, 2)
    except RecurrenceInvalid as error:
        assert str(error).endswith(".")
        return None


def steps(call, *arguments):
    """How many lines of the module a call runs."""
    counted, before = 0, sys.gettrace()

    def trace(frame, event, argument):
        nonlocal counted
        if frame.f_code.co_filename != recurrence.__file__:
            return None
        counted += event == "line"
        return trace

    sys.settrace(trace)
    try:
        call(*arguments)
    finally:
        sys.settrace(before)
    return counted


# Seventy-four years have 27,000 days, and a look at one takes up to 20 lines.
MOST_STEPS = 600_000
ALL_BUT_SUNDAY = "BYDAY=MO,TU,WE,TH,FR,SA"
NUMBERED = ",".join(
    f"{n}{day}" for n in range(1, 13) for day in ("MO", "TU", "WE", "SU")
)


@pytest.mark.parametrize(
    "text",
    [
        "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=DAILY;INTERVAL=7;BYDAY=TU,WE,TH,FR,SA,SU",
        "FREQ=WEEKLY;INTERVAL=1000;COUNT=10000",
        "FREQ=DAILY;COUNT=10000",
        f"FREQ=YEARLY;{ALL_BUT_SUNDAY};BYSETPOS=366",
        f"FREQ=MONTHLY;{ALL_BUT_SUNDAY};BYSETPOS=31",
        f"FREQ=MONTHLY;BYDAY={NUMBERED};BYSETPOS=31",
        f"FREQ=YEARLY;BYDAY={NUMBERED};BYSETPOS=-366",
        f"FREQ=MONTHLY;BYDAY=MO;BYSETPOS={','.join(map(str, range(250, 350)))}",
    ],
)
def test_hostile_rule_takes_bounded_steps(text):
    begin, far = at(2026, 3, 2, 2), at(2100, 1, 1)
    found = tried(text)

    assert steps(tried, text) < MOST_STEPS
    if found is not None:
        assert steps(found.after, begin) < MOST_STEPS
        assert steps(lambda: found.warnings) < MOST_STEPS
        assert steps(found.after, far) < 1000


def test_question_far_from_the_start_costs_as_much_as_one_at_it():
    found = rule("FREQ=WEEKLY", 1970, 1, 6, 2)

    near, far = at(1970, 2, 1), at(2098, 2, 1)

    assert steps(found.after, far) < 2 * steps(found.after, near)
    assert steps(found.between, far, far + 7 * DAY) < 1000


def test_between_looks_only_at_the_days_between():
    sparse = rule("FREQ=DAILY;BYMONTH=2;BYMONTHDAY=29;BYDAY=TU", 2028, 2, 29, 2)
    begin = at(2030, 1, 1)

    assert sparse.after(begin)[0].local_start == datetime(2056, 2, 29, 2)
    assert steps(sparse.between, begin, begin + 7 * DAY) < 100


letters = st.text("FREQ=DAILYWKMONTHCUBSP;:,0123456789-+ \n", max_size=80)
parts = st.lists(
    st.sampled_from(
        [
            *("FREQ=DAILY", "FREQ=WEEKLY", "FREQ=MONTHLY", "FREQ=YEARLY", "COUNT=2"),
            *("INTERVAL=7", "INTERVAL=1000", "COUNT=9999", "UNTIL=20270101", "WKST=SU"),
            *("BYMONTH=2", "BYMONTH=1,12", "BYMONTHDAY=30", "BYMONTHDAY=-31,1,29"),
            *("BYDAY=MO", "BYDAY=-53FR", "BYDAY=5MO,1TU", "BYDAY=MO,TU,WE,TH,FR,SA,SU"),
            *("BYSETPOS=1", "BYSETPOS=-366", "\nEXDATE:20260401T020000Z", "BYHOUR=1"),
            *("BYDAY=", "=", "UNTIL=20270230", "\nEXDATE;:", "RRULE:FREQ=DAILY"),
        ]
    ),
    max_size=6,
).map(";".join)


@given(st.one_of(letters, parts, st.text(max_size=600)))
@example("FREQ=DAILY;INTERVAL=²")
@example("freq=daily;wkst=ﬆ")
def test_any_text_is_a_rule_or_is_refused_in_bounded_steps(text):
    assert steps(tried, text) < MOST_STEPS
    if found := tried(text):
        assert found.describe()
        assert rule(found.ical(), 2026, 3, 2, 2).rule == found.rule


@given(st.text(max_size=30), st.datetimes(), st.timedeltas())
def test_any_zone_start_and_duration_are_fit_or_refused(zone, start, lasts):
    for time_zone in (zone, BERLIN):
        try:
            found = parse("FREQ=MONTHLY", start.replace(tzinfo=UTC), time_zone, lasts)
        except RecurrenceInvalid:
            continue
        assert found.after(found.starts_at - HOUR)[0].starts_at == found.starts_at


# Properties.


numbers = st.integers
weekdays = st.sampled_from(["MO", "TU", "WE", "TH", "FR", "SA", "SU"])


def listed(values, most=4):
    return st.lists(values, min_size=1, max_size=most, unique=True).map(
        lambda some: ",".join(map(str, some))
    )


@st.composite
def rules(draw):
    """Text of rules that are fit but for their start."""
    freq = draw(st.sampled_from(["DAILY", "WEEKLY", "MONTHLY", "YEARLY"]))
    found = {"FREQ": freq, "INTERVAL": draw(numbers(1, 4))}
    if draw(st.booleans()):
        found["BYMONTH"] = draw(listed(numbers(1, 12)))
    if freq == "WEEKLY":
        found["WKST"] = draw(weekdays)
    named = draw(st.sampled_from(["", "days", "numbered", "month days", "both"]))
    if named in ("days", "both"):
        found["BYDAY"] = draw(listed(weekdays, 7))
    if named == "numbered" and freq in ("MONTHLY", "YEARLY"):
        high = 53 if freq == "YEARLY" and "BYMONTH" not in found else 5
        nth = numbers(1, high) | numbers(-high, -1)
        found["BYDAY"] = draw(listed(st.builds("{}{}".format, nth, weekdays)))
    if named in ("month days", "both") and freq != "WEEKLY":
        found["BYMONTHDAY"] = draw(listed(numbers(1, 31) | numbers(-31, -1), 8))
    is_named = "BYDAY" in found or "BYMONTHDAY" in found
    if is_named and freq in ("MONTHLY", "YEARLY") and draw(st.booleans()):
        found["BYSETPOS"] = draw(listed(numbers(1, 5) | numbers(-5, -1)))
    return ";".join(f"{name}={value}" for name, value in found.items())


zones = st.sampled_from(
    [
        *("UTC", BERLIN, "Australia/Lord_Howe", "Africa/Cairo", "America/Havana"),
        *("Asia/Beirut", "America/Nuuk", "Asia/Kathmandu", "Pacific/Apia"),
    ]
)
starts = st.datetimes(datetime(2009, 1, 1), datetime(2030, 1, 1)).map(
    lambda moment: moment.replace(microsecond=0, tzinfo=UTC)
)
lengths = st.timedeltas(timedelta(seconds=1), timedelta(days=40))
spans = st.timedeltas(timedelta(0), timedelta(days=1500))


def begun(text, start, zone="UTC", lasts=HOUR, **options):
    """The recurrence, begun at the first date from the start on that fits."""
    try:
        return parse(text, start, zone, lasts, **options)
    except RecurrenceInvalid as error:
        if error.first is None:
            reject()
        return parse(text, error.first, zone, lasts, **options)


@given(rules(), starts, zones, lengths, st.booleans())
def test_windows_come_in_order_and_begin_with_the_start(text, start, zone, lasts, wall):
    found = begun(text, start, zone, lasts, wall_clock=wall)

    windows = found.after(found.starts_at - DAY, 50)

    assert windows[0].starts_at == found.starts_at
    assert all(one.starts_at < other.starts_at for one, other in pairwise(windows))
    assert all(one.local_start < other.local_start for one, other in pairwise(windows))
    assert all(window.starts_at < window.ends_at for window in windows)
    assert {window.starts_at.tzinfo for window in windows} == {UTC}


@given(rules(), starts, zones, st.lists(spans, min_size=3, max_size=3))
def test_between_is_the_same_however_it_is_split(text, start, zone, later):
    found = begun(text, start, zone)
    begin, middle, end = sorted(found.starts_at - 30 * DAY + span for span in later)

    whole = found.between(begin, end, most=9999)

    split = found.between(begin, middle, 9999) + found.between(middle, end, 9999)
    assert split == whole
    # A split at a start loses and doubles nothing.
    for window in whole[:3]:
        assert window in found.between(window.starts_at, end, 9999)
        assert window not in found.between(begin, window.starts_at, 9999)


@given(rules(), starts, zones, spans, numbers(0, 8), numbers(0, 8))
def test_fewer_windows_are_the_beginning_of_more(text, start, zone, later, few, more):
    found = begun(text, start, zone)
    at = found.starts_at - DAY + later

    some, all_of_them = found.after(at, few), found.after(at, few + more)

    assert all_of_them[:few] == some
    # Each is what follows the one before it.
    for one, other in pairwise(all_of_them):
        assert found.after(one.starts_at) == [other]


@given(rules(), starts, zones, numbers(1, 30), st.sets(numbers(0, 29), max_size=5))
def test_count_until_and_exdates_take_away_only_what_they_say(
    text, start, zone, count, places
):
    endless = begun(text, start, zone)
    begin = endless.starts_at
    windows = endless.after(begin - DAY, count)
    out = [window.starts_at for place, window in enumerate(windows) if place in places]
    last = f"{windows[-1].starts_at:%Y%m%dT%H%M%SZ}"

    counted = parse(f"{text};COUNT={count}", begin, zone, HOUR, out)
    ended = parse(f"{text};UNTIL={last}", begin, zone, HOUR, out)

    left = [window for window in windows if window.starts_at not in out]
    assert ended.after(begin - DAY, 99) == left
    # A date that a zone skipped counts, too; one year has such a date.
    if zone != "Pacific/Apia":
        assert counted.after(begin - DAY, 99) == left


@given(rules(), starts, spans)
@example("FREQ=YEARLY;BYDAY=53MO", datetime(2012, 1, 1, tzinfo=UTC), 1500 * DAY)
def test_dates_in_utc_are_those_of_dateutil(text, start, span):
    found = begun(text, start)
    begin = found.starts_at.replace(tzinfo=None)
    theirs = rrulestr(text, dtstart=begin).replace(until=begin + span)

    ours = found.between(found.starts_at, found.starts_at + span, most=9999)

    # The end is in theirs and not in ours.
    expected = [moment for moment in theirs if moment < begin + span]
    assert [window.local_start for window in ours] == expected


@given(rules(), starts, zones, lengths)
def test_canonical_text_is_the_same_rule(text, start, zone, lasts):
    found = begun(text, start, zone, lasts)

    again = parse(found.ical(), found.starts_at, zone, lasts)

    assert again.rule == found.rule
    assert again.ical() == found.ical()
    assert again.describe() == found.describe()
