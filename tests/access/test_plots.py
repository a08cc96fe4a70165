from datetime import UTC, datetime

import pytest

from access import plots
from access.plots import Mark, Plot, Span


def draw(lines, limit=None, say=str):
    return plots.draw(Plot("x", "X", "", ""), lines, [], say, limit)


@pytest.mark.parametrize(
    ("most", "top"),
    [(0, 1), (0.03, 0.04), (1, 1), (1.1, 2), (42.8, 60), (99, 100), (100.1, 200)],
)
def test_scale_ends_at_a_number_of_one_figure(most, top):
    assert plots.nice(most) == pytest.approx(top)


def test_line_is_broken_where_nothing_is_known():
    values = [1.0, 2.0, None, 4.0]

    assert plots.path(values, 4.0) == "M12.50 75.00L37.50 50.00M75.00 0.00h25.00"
    assert plots.area([0.0, 0.0, None, 0.0], values, 4.0) == (
        "M12.50 75.00L37.50 50.00L37.50 100.00L12.50 100.00zM87.50 0.00L87.50 100.00z"
    )


def test_levels_are_zero_half_and_top():
    plot = draw({"p50": [1.0, 7.0]})

    assert plot.levels == [
        Mark("100.00", "0.0"),
        Mark("50.00", "4.0"),
        Mark("0.00", "8.0"),
    ]


def test_what_is_over_the_limit_is_marked():
    plot = draw({"p50": [1.0] * 4, "p95": [2.0, 9.0, 9.0, None]}, limit=5.0)

    assert plot.limit == "50.00"
    assert plot.over == [Span("25.00", "50.00", "50.00")]
    assert plot.gaps == [Span("75.00", "25.00", "87.50")]


def test_limit_far_above_does_not_flatten_the_line():
    plot = draw({"p95": [2.0]}, limit=1000.0)

    assert (plot.limit, plot.over) == ("", [])


def test_labels_at_the_ends_do_not_cover_each_other():
    plot = draw({"p50": [50.0], "p95": [51.0]})
    low, high = plot.labels

    assert (low.text, high.text) == ("p50", "p95")
    assert float(low.at) - float(high.at) == pytest.approx(plots.APART)


def test_line_of_nothing_is_drawn_as_nothing():
    plot = draw({"p50": [None, None], "p95": [None, None]})

    assert [line.path for line in plot.lines] == ["", ""]
    assert plot.labels == []


def test_clock_is_of_whole_half_hours():
    begin = datetime(2026, 11, 21, 11, 10, tzinfo=UTC)

    marks = plots.clock(begin, begin.replace(hour=12, minute=50), 30)

    assert marks == [
        Mark("20.00", "11:30"),
        Mark("50.00", "12:00"),
        Mark("80.00", "12:30"),
    ]
