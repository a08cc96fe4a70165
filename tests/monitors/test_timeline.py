from datetime import UTC, datetime, timedelta

import pytest

from monitors import timeline
from monitors.history import Segment

AT = datetime(2026, 11, 20, 14, 2, 3, 457_000, tzinfo=UTC)


def segment(status, begin, minutes, counted=""):
    at = AT + timedelta(minutes=begin)
    end = at + timedelta(minutes=minutes)
    return Segment(at, end, status, counted or status, "")


def drawn(*found):
    return timeline.draw(found, found[0].begin, found[-1].end)


def test_an_outage_of_a_minute_is_seen_in_ninety_days():
    days = 90 * 1440
    lane = drawn(
        segment("up", 0, 1000), segment("down", 1000, 1), segment("up", 1001, days)
    ).lanes[0]

    assert [stroke.look for stroke in lane.strokes] == ["up", "down", "up"]
    assert float(lane.strokes[1].width.rstrip("%")) == 100 / timeline.PARTS
    assert lane.strokes[1].says.startswith("Down 1 min, ")


def test_strokes_lie_side_by_side_from_edge_to_edge():
    lane = drawn(
        segment("up", 0, 60), segment("partial", 60, 7), segment("no_data", 67, 33)
    ).lanes[0]

    assert [stroke.look for stroke in lane.strokes] == ["up", "degraded", "no_data"]
    reached = 0.0
    for stroke in lane.strokes:
        assert float(stroke.x.rstrip("%")) == pytest.approx(reached, abs=1e-3)
        reached += float(stroke.width.rstrip("%"))
    assert reached == pytest.approx(100, abs=1e-3)


def test_the_drawing_says_what_it_shows():
    said = drawn(
        segment("up", 0, 60), segment("down", 60, 5), segment("up", 65, 60)
    ).summary

    assert said == "down 5 min, up 2 h in 2 stretches"


@pytest.mark.parametrize(
    ("minutes", "texts"),
    [
        (3, ["14:03", "14:04"]),
        (24 * 60, ["15:00", "18:00", "21:00", "21 Nov", "03:00", "06:00", "09:00"]),
        (7 * 1440, ["21 Nov", "22 Nov", "23 Nov", "24 Nov", "25 Nov", "26 Nov"]),
        (8 * 365 * 1440, ["Feb 2027", "Feb 2028", "Feb 2029"]),
    ],
)
def test_the_axis_has_a_few_round_moments(minutes, texts):
    found = [t.text for t in timeline.ticks(AT, AT + timedelta(minutes=minutes))]

    assert found[: len(texts)] == texts
    assert len(found) <= 8
