from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitors.models import Monitor, MonitorState
from monitors.observing import LAPSED, Seen, Standing

MINUTE = 60_000
START = 1_700_000_000_000
NAMES = {"u": "up", "d": "down", "g": "degraded", "n": "no_data"}


def plan(confirmations=1, retry=20):
    monitor = Monitor(
        pk=1,
        tag="shop",
        config={"url": "http://127.0.0.1:9/", "timeout": 10.0},
        confirmations=confirmations,
        retry_interval=retry,
    )
    monitor.state = MonitorState(monitor=monitor)
    return monitor.plan


def play(letters, confirmations=1, standing=None):
    """Observe letters a minute apart; return (minute, status) of each change."""
    standing, changes = standing or Standing(), []
    for minute, letter in enumerate(letters):
        seen = Seen(START + minute * MINUTE, NAMES[letter], letter)
        changes += standing.observe(seen, plan(confirmations))
    return [((c.at - START) // MINUTE, c.status) for c in changes], standing


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("letters", "confirmations", "expected"),
    [
        ("ud", 1, [(0, "up"), (1, "down")]),
        ("udd", 3, [(0, "up")]),
        # Dated back to the first of the three.
        ("uddd", 3, [(0, "up"), (1, "down")]),
        ("udduddd", 3, [(0, "up"), (4, "down")]),
        # Recovering is a change like any other.
        ("uddduu", 3, [(0, "up"), (1, "down")]),
        ("uddduuu", 3, [(0, "up"), (1, "down"), (4, "up")]),
        # What alternates counts on, and is dated from the last of its kind.
        ("ugdg", 3, [(0, "up"), (3, "degraded")]),
        ("ugdd", 3, [(0, "up"), (2, "down")]),
        # Not having looked needs no confirmation, and starts the count anew.
        ("uddnddd", 3, [(0, "up"), (3, "no_data"), (4, "down")]),
        # Nothing is known at first: up is shown at once, down is not.
        ("dd", 3, []),
        ("ddd", 3, [(0, "down")]),
    ],
)
def test_change_is_shown_when_confirmed_and_dated_back(
    letters, confirmations, expected
):
    assert play(letters, confirmations)[0] == expected


@pytest.mark.django_db
def test_raw_status_is_the_newest_whatever_is_shown():
    _, standing = play("ud", confirmations=3)

    assert (standing.status, standing.raw_status) == ("up", "down")
    assert standing.is_unconfirmed
    assert standing.unconfirmed_since == START + MINUTE


@pytest.mark.django_db
def test_unconfirmed_monitor_is_looked_at_sooner():
    watched = plan(confirmations=3, retry=20)

    assert watched.next_due(START, is_unconfirmed=True) <= START + 20_000
    assert watched.next_due(START) == watched.schedule.next(START)


@pytest.mark.django_db
def test_silence_is_no_data_from_where_the_last_result_ceased_to_speak():
    _, standing = play("u")

    assert standing.lapse(START + 130_000) == []
    (change,) = standing.lapse(START + 130_001)
    assert change == (START + 130_000, "no_data", LAPSED)
    assert standing.lapse(START + 999_999) == []


letters = st.text("udgn", max_size=30)


@pytest.mark.django_db
@given(letters, st.integers(1, 10))
def test_nothing_is_shown_that_was_not_seen_so_often(letters, confirmations):
    changes, standing = play(letters, confirmations)

    moments = [minute for minute, _ in changes]
    assert moments == sorted(moments)
    statuses = ["no_data", *(status for _, status in changes)]
    assert all(a != b for a, b in pairwise(statuses))
    if letters:
        assert standing.raw_status == NAMES[letters[-1]]
    tail = [NAMES[letter] for letter in letters[-confirmations:]]
    if len(tail) == confirmations and len(set(tail)) == 1:
        assert standing.status == tail[0]


@pytest.mark.django_db
@given(letters, st.integers(1, 10), st.integers(0, 30))
def test_any_split_of_what_is_seen_gives_the_same(letters, confirmations, cut):
    whole, end = play(letters, confirmations)

    first, standing = play(letters[:cut], confirmations)
    rest = []
    for minute, letter in enumerate(letters[cut:], start=len(letters[:cut])):
        seen = Seen(START + minute * MINUTE, NAMES[letter], letter)
        rest += standing.observe(seen, plan(confirmations))

    assert first + [((c.at - START) // MINUTE, c.status) for c in rest] == whole
    assert standing == end
