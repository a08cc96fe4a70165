from datetime import date, timedelta

import pytest

from monitors.history import Day
from statuspages import bars

DAY = 86_400.0
FIRST = date(2026, 11, 19)


def days(*seconds):
    return [
        Day(FIRST + timedelta(days=n), seconds=some) for n, some in enumerate(seconds)
    ]


def height(stroke):
    return sum(float(part) for part in stroke.path.split("v")[1:2])


def down(seconds):
    return {"down": seconds, "up": DAY - seconds}


def test_good_days_in_a_row_are_one_stroke():
    drawn = bars.draw(days({"up": DAY}, {"up": DAY}, down(360), {"up": DAY}))

    assert [s.letter for s in drawn.strokes] == ["u", "x", "u"]
    assert drawn.strokes[0].path == "M0 16H12"
    assert drawn.summary == "3 up, 1 down"


def test_bad_day_says_what_happened_and_how_long():
    drawn = bars.draw(days({"down": 360, "degraded": 1200, "up": DAY - 1560}))

    [bar] = drawn.told
    assert (bar.when, bar.what) == ("19 November", "Down 6 min, Degraded 20 min")


def test_bar_grows_with_how_long_it_lasted():
    drawn = bars.draw(days(down(60), down(360), down(6 * 3600), {"down": DAY}))

    heights = [height(stroke) for stroke in drawn.strokes]
    assert heights == sorted(set(heights))
    assert heights[0] > 16
    assert heights[-1] == 32


def test_today_says_that_it_goes_on():
    [today] = days(down(360))
    today.ongoing = True

    assert bars.draw([today]).told[0].what == "Down 6 min so far"


def test_days_without_data_are_low_and_told_as_one():
    drawn = bars.draw(days({"no_data": DAY}, {"no_data": DAY}, {"up": DAY}))

    assert [s.letter for s in drawn.strokes] == ["n", "u"]
    assert [(bar.when, bar.what) for bar in drawn.told] == [
        ("19 to 20 November", "No data")
    ]


def test_good_day_is_shorter_by_the_time_nobody_looked():
    drawn = bars.draw(days({"up": DAY / 2, "no_data": DAY / 2}))

    [stroke] = drawn.strokes
    assert (stroke.letter, stroke.path) == ("g", "M2 16v8")
    assert stroke.what == "Up, no data for 12 h"


def test_degraded_day_is_broken_in_two():
    drawn = bars.draw(days({"degraded": DAY}))

    assert drawn.strokes[0].path == "M2 4v10m0 4v10"


@pytest.mark.parametrize(
    ("seconds", "what"),
    [
        ({"up": DAY}, "Up, corrected"),
        ({"up": DAY / 2, "no_data": DAY / 2}, "Up, no data for 12 h, corrected"),
        (down(300), "Down 5 min, corrected"),
        ({"no_data": DAY}, "No data, corrected"),
    ],
)
def test_corrected_day_stands_alone_and_says_so(seconds, what):
    before, day, after = days(seconds, seconds, seconds)
    day.is_corrected = True

    drawn = bars.draw([before, day, after])

    assert [bar.when for bar in drawn.strokes if bar.what == what] == ["20 November"]
    assert drawn.summary.endswith(", 1 of them corrected")


def test_corrected_good_day_is_as_high_as_any_good_day():
    [day] = days({"up": DAY - 60, "no_data": 60})
    day.is_corrected = True

    [stroke] = bars.draw([day]).strokes

    assert (stroke.letter, stroke.path) == ("g", "M2 8v16")


def test_corrected_today_goes_on():
    [today] = days(down(300))
    today.ongoing = today.is_corrected = True

    assert bars.draw([today]).told[0].what == "Down 5 min so far, corrected"
