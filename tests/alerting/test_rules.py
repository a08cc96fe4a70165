from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting import rules
from alerting.conditions.status import VALUES as STATUS_VALUES
from alerting.rules import RESOLVED, TRIGGERED, Result, Rule, State

START = datetime(2026, 3, 1, tzinfo=UTC)
DOWN = Rule("STATUS", "DOWN", failure_threshold=3, success_threshold=2)


def sequence(letters):
    """Results a minute apart: u up, d down, g degraded, p partial, n no data."""
    names = {"u": "up", "d": "down", "g": "degraded", "p": "partial", "n": "no_data"}
    return [
        Result(n, START + timedelta(minutes=n), names[letter])
        for n, letter in enumerate(letters, start=1)
    ]


def play(rule, results, state=None, holds=()):
    """Return the changes as (minute, to), and the last state."""
    state, changes = state or State(), []
    while True:
        decided = rules.decide(rule, state, results, holds)
        state = decided.state
        if decided.change is None:
            return changes, state
        changes.append((decided.change.result.id, decided.change.to))


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        ("dd", []),
        ("ddd", [(3, TRIGGERED)]),
        ("ddudd", []),
        ("dddddd", [(3, TRIGGERED)]),
        ("dddu", [(3, TRIGGERED)]),
        ("ddduu", [(3, TRIGGERED), (5, RESOLVED)]),
        ("dddudu", [(3, TRIGGERED)]),
        ("ddduuddd", [(3, TRIGGERED), (5, RESOLVED), (8, TRIGGERED)]),
        # No data neither counts nor resets.
        ("dndnd", [(5, TRIGGERED)]),
        ("nnnnn", []),
        ("dddunu", [(3, TRIGGERED), (6, RESOLVED)]),
        # A rule on DOWN matches exactly: degraded breaks both streaks.
        ("ddgdd", []),
        ("ddgddd", [(6, TRIGGERED)]),
        ("dddugu", [(3, TRIGGERED)]),
    ],
)
def test_rule_on_down_changes_when_its_thresholds_are_met(letters, expected):
    assert play(DOWN, sequence(letters))[0] == expected


def test_rule_on_degraded_counts_partial_and_ignores_down():
    rule = replace(DOWN, alert_value="DEGRADED")

    assert play(rule, sequence("gpg"))[0] == [(3, TRIGGERED)]
    assert play(rule, sequence("ddd"))[0] == []


def test_first_failure_of_a_new_monitor_does_not_trigger_a_threshold_of_three():
    assert play(DOWN, sequence("d"))[0] == []


def test_change_tells_since_when_it_failed():
    decided = rules.decide(DOWN, State(), sequence("uddd"))

    assert decided.change.began_at == START + timedelta(minutes=2)
    assert decided.change.result.at == START + timedelta(minutes=4)


def test_results_inside_a_hold_neither_trigger_nor_count():
    hold = (START + timedelta(minutes=3), START + timedelta(minutes=6))

    changes, _ = play(DOWN, sequence("dddddddd"), holds=[hold])

    # 1 and 2 count, 3 to 5 are held, counting starts from zero at 6.
    assert changes == [(8, TRIGGERED)]


def test_triggered_alert_may_resolve_inside_a_hold():
    hold = (START + timedelta(minutes=4), None)

    changes, _ = play(DOWN, sequence("ddduu"), holds=[hold])

    assert changes == [(3, TRIGGERED), (5, RESOLVED)]


def test_new_thresholds_apply_to_the_running_streak():
    _, state = play(DOWN, sequence("dd"))
    sharper = replace(DOWN, failure_threshold=3)

    decided = rules.decide(sharper, state, sequence("ddd"))

    assert decided.change.to == TRIGGERED


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("STATUS", "BOGUS"),
        ("STATUS", "UP"),  # it could never resolve
        ("LATENCY", "0"),
        ("LATENCY", "fast"),
        ("UPTIME", "101"),
        ("CERT_DAYS", "nan"),
        ("BURN_RATE", "100"),
        ("MOOD", "bad"),
    ],
)
def test_rule_nobody_can_judge_by_is_refused(kind, value):
    with pytest.raises(rules.RuleInvalid):
        rules.decide(Rule(kind, value, 3, 2), State(), sequence("d"))


letters = st.text(alphabet="udgpn", max_size=40)
thresholds = st.integers(1, 6)


@st.composite
def some_rules(draw):
    value = draw(st.sampled_from(["DOWN", "DEGRADED"]))
    return Rule("STATUS", value, draw(thresholds), draw(thresholds))


@given(some_rules(), letters, st.integers(0, 40))
def test_any_split_of_the_sequence_gives_the_same_outcome(rule, letters, cut):
    results = sequence(letters)
    whole, end = play(rule, results)

    first, state = play(rule, results[:cut])
    second, state = play(rule, results[cut:], state)

    assert (first + second, state) == (whole, end)


@given(some_rules(), letters)
def test_changes_alternate_beginning_with_triggered(rule, letters):
    changes, state = play(rule, sequence(letters))

    expected = [TRIGGERED, RESOLVED] * len(changes)
    assert [to for _, to in changes] == expected[: len(changes)]
    assert state.is_triggered == (len(changes) % 2 == 1)


@given(some_rules(), letters)
def test_no_trigger_with_fewer_failures_than_the_threshold(rule, letters):
    results = sequence(letters)
    bad = STATUS_VALUES[rule.alert_value]

    changes, _ = play(rule, results)

    for number, to in changes:
        if to == TRIGGERED:
            seen = [r for r in results[:number] if r.status != "no_data"]
            last = seen[-rule.failure_threshold :]
            assert len(last) == rule.failure_threshold
            assert all(r.status in bad for r in last)


@given(some_rules(), letters, st.data())
def test_duplicates_and_late_results_change_nothing(rule, letters, data):
    results = sequence(letters)
    whole, end = play(rule, results)

    again = data.draw(st.permutations(results))

    assert play(rule, again, end) == ([], end)
    assert whole == play(rule, [r for r in results for _ in range(2)])[0]
