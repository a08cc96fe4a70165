"""What each kind of rule promises, however results come, and what it decides."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from alerting import flapping, rules
from alerting.conditions import CONDITIONS, condition_of
from alerting.rules import RESOLVED, TRIGGERED, Result, Rule, State

START = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
STATUSES = ["up", "down", "degraded", "partial", "no_data", "maintenance"]
NAMES = {"u": "up", "d": "down", "g": "degraded", "p": "partial", "n": "no_data"}
UNKNOWN = {"no_data", "maintenance"}


def sequence(letters, every=MINUTE, begin=START):
    """Results one after the other: u up, d down, g degraded, p partial, n no data."""
    return [
        Result(n, begin + n * every, NAMES[letter])
        for n, letter in enumerate(letters, 1)
    ]


def latencies(*values, every=MINUTE):
    return [
        Result(n, START + n * every, "up", value) for n, value in enumerate(values, 1)
    ]


def play(rule, results, state=None, holds=()):
    """Return all changes, and the last state."""
    state, changes = state or State(), []
    while True:
        decided = rules.decide(rule, state, results, holds)
        state = decided.state
        if decided.change is None:
            return changes, state
        changes.append(decided.change)


def turns(rule, results, **more):
    """Return each change as (number of the result, to)."""
    return [(c.result.id, c.to) for c in play(rule, results, **more)[0]]


def reasons(changes):
    return [change.reason for change in changes]


# Whatever the kind


thresholds = st.integers(1, 5)
VALUES = {
    "STATUS": st.sampled_from(["DOWN", "DEGRADED"]),
    "LATENCY": st.sampled_from(["100", "250.5"]),
    "UPTIME": st.sampled_from(["50", "75", "99"]),
    "CERT_DAYS": st.just("30"),
    "BURN_RATE": st.sampled_from(["50", "90", "99.9"]),
}


@st.composite
def some_rules(draw, kind, units=("CHECKS", "SECONDS")):
    unit = draw(st.sampled_from(units))
    times = 1 if unit == "CHECKS" else 60
    value = draw(VALUES[kind])
    window = 0
    if kind == "LATENCY":
        window = draw(st.sampled_from([0, 1, 5, 60]))
    return Rule(
        kind,
        value,
        draw(thresholds) * times,
        draw(thresholds) * times,
        unit,
        includes_worse=value == "DEGRADED" and draw(st.booleans()),
        window_minutes=window,
        degraded=draw(st.sampled_from(["up", "half", "down"])),
    )


@st.composite
def some_results(draw):
    """Results seconds to hours apart; clocks may go back a little."""
    found, at = [], START
    for number in range(1, draw(st.integers(0, 40)) + 1):
        at += timedelta(seconds=draw(st.sampled_from([-2, 1, 30, 60, 60, 60, 3600])))
        status = draw(st.sampled_from(STATUSES))
        latency = draw(st.sampled_from([None, 50.0, 100.0, 250.5, 900.1239]))
        ends = draw(st.sampled_from([None, START + 10 * DAY, START + 90 * DAY]))
        found.append(Result(number, at, status, latency, "", ends))
    return found


every_kind = pytest.mark.parametrize("kind", CONDITIONS)
# There are five kinds, each with its own examples.
settings.register_profile("kinds", max_examples=40)
few = settings(settings.get_profile("kinds"))


@every_kind
@few
@given(st.data(), some_results(), st.lists(st.integers(0, 40), max_size=4))
def test_any_split_gives_the_same_changes_and_state(kind, data, results, cuts):
    rule = data.draw(some_rules(kind))
    whole, end = play(rule, results)

    changes, state, before = [], State(), 0
    for cut in [*sorted(cuts), len(results)]:
        # The state between two flushes is what the row keeps: a window as bytes.
        assert isinstance(state.window, bytes)
        more, state = play(rule, results[before:cut], state)
        changes += more
        before = max(before, cut)

    assert (changes, state) == (whole, end)


@every_kind
@few
@given(st.data(), some_results())
def test_turns_alternate_beginning_with_triggered(kind, data, results):
    changes, state = play(data.draw(some_rules(kind)), results)

    expected = [TRIGGERED, RESOLVED] * len(changes)
    assert [c.to for c in changes] == expected[: len(changes)]
    assert state.is_triggered == (len(changes) % 2 == 1)
    assert all(c.began_at <= c.result.at for c in changes)
    assert all(len(c.observed) <= 40 for c in changes)


@every_kind
@few
@given(st.data(), some_results())
def test_nothing_triggers_with_fewer_results_than_the_threshold(kind, data, results):
    rule = data.draw(some_rules(kind, units=("CHECKS",)))

    since = 0
    for change in play(rule, results)[0]:
        if change.to == TRIGGERED:
            known = [r for r in results[since : change.result.id] if _counts(kind, r)]
            assert len(known) >= rule.failure_threshold
        since = change.result.id


def _counts(kind, result):
    """Whether a result can count at all for a rule of this kind."""
    if kind == "CERT_DAYS":
        return result.expires_at is not None
    return result.status not in UNKNOWN


@every_kind
@few
@given(st.data(), some_results())
def test_duplicates_and_late_ids_change_nothing(kind, data, results):
    rule = data.draw(some_rules(kind))
    whole, end = play(rule, results)

    again = data.draw(st.permutations(results))

    assert play(rule, again, end) == ([], end)
    assert play(rule, [r for r in results for _ in range(2)]) == (whole, end)


@every_kind
@few
@given(st.data(), some_results(), st.integers(0, 3600), st.integers(0, 7200))
def test_results_inside_a_hold_never_trigger(kind, data, results, after, lasting):
    begin = START + timedelta(seconds=after)
    hold = (begin, begin + timedelta(seconds=lasting))

    for change in play(data.draw(some_rules(kind)), results, holds=[hold])[0]:
        is_held = hold[0] <= change.result.at < hold[1]
        assert not (is_held and change.to == TRIGGERED)


@every_kind
@few
@given(st.data(), some_results())
def test_what_was_held_back_does_not_count_afterwards(kind, data, results):
    """What there is after a hold is judged as if it had begun there."""
    rule = data.draw(some_rules(kind))
    assume(results)
    until = max(r.at for r in results) + MINUTE
    hold = (START - DAY, until)
    later = [
        r._replace(id=r.id + len(results), at=until + (r.at - START) + MINUTE)
        for r in results
    ]

    alone = play(rule, later)[0]

    assert play(rule, [*results, *later], holds=[hold])[0] == alone


@every_kind
@few
@given(st.data(), some_results())
def test_a_rule_at_rest_remembers_no_more_than_it_may(kind, data, results):
    _, state = play(data.draw(some_rules(kind)), results)

    assert len(state.window) < 8192


# STATUS


DOWN = Rule("STATUS", "DOWN", 3, 2)
DEGRADED = Rule("STATUS", "DEGRADED", 3, 2)


def test_degraded_is_exact_unless_it_includes_worse():
    wider = replace(DEGRADED, includes_worse=True)

    assert turns(DEGRADED, sequence("gpg")) == [(3, TRIGGERED)]
    assert turns(DEGRADED, sequence("gdg")) == []
    assert turns(DEGRADED, sequence("ddd")) == []
    assert turns(wider, sequence("gdg")) == [(3, TRIGGERED)]
    assert turns(wider, sequence("ddd")) == [(3, TRIGGERED)]


def test_down_never_sees_degraded_even_if_asked_for_worse():
    assert turns(replace(DOWN, includes_worse=True), sequence("ggg")) == []


def test_missing_data_neither_counts_nor_resets():
    assert turns(DOWN, sequence("dndnd")) == [(5, TRIGGERED)]
    assert turns(DOWN, sequence("nnnnnnn")) == []


def test_reason_counts_the_failures():
    changes, _ = play(DOWN, sequence("ddduu"))

    assert reasons(changes) == ["3 failures in a row", "2 successes in a row"]
    assert [c.observed for c in changes] == ["down", "up"]


# SECONDS


TWO_MINUTES = Rule("STATUS", "DOWN", 120, 60, "SECONDS")


def test_seconds_count_from_the_first_failure():
    assert turns(TWO_MINUTES, sequence("dd")) == []
    assert turns(TWO_MINUTES, sequence("ddd")) == [(3, TRIGGERED)]


def test_seconds_need_fewer_checks_of_a_slower_monitor():
    slow = sequence("dd", every=5 * MINUTE)

    assert turns(TWO_MINUTES, slow) == [(2, TRIGGERED)]


def test_one_failure_alone_has_lasted_no_second():
    assert turns(TWO_MINUTES, sequence("d")) == []
    assert turns(TWO_MINUTES, sequence("dudud")) == []


def test_seconds_of_passing_resolve():
    changes, _ = play(TWO_MINUTES, sequence("ddduu"))

    assert [(c.result.id, c.to) for c in changes] == [(3, TRIGGERED), (5, RESOLVED)]
    assert reasons(changes) == ["failing for 120 seconds", "passing for 60 seconds"]


def test_note_says_how_short_the_failing_was():
    [note] = rules.decide(TWO_MINUTES, State(), sequence("ddu")).notes

    assert note.gate == rules.THRESHOLD
    assert note.began_at == START + MINUTE
    assert "120 needed" in note.reason


# LATENCY


SLOW = Rule("LATENCY", "1000", 3, 2)


def test_latency_equal_to_the_value_is_neither():
    assert turns(SLOW, latencies(1500, 1500, 1000, 1500)) == []
    assert turns(SLOW, latencies(1500, 1500, 1500, 900, 1000, 900)) == [(3, TRIGGERED)]


def test_latency_over_the_value_triggers_and_under_it_resolves():
    found = latencies(900, 1000.001, 1200, 5000, 999.9, 12)

    assert turns(SLOW, found) == [(4, TRIGGERED), (6, RESOLVED)]


def test_what_is_down_or_unanswered_says_nothing_about_latency():
    found = latencies(1500, 1500, 60_000, 1500)
    found[2] = found[2]._replace(status="down")
    unanswered = latencies(1500, None, 1500, None, 1500)

    assert turns(SLOW, found) == [(4, TRIGGERED)]
    assert turns(SLOW, unanswered) == [(5, TRIGGERED)]


def test_p95_is_by_nearest_rank_of_the_window():
    rule = Rule("LATENCY", "500", 1, 1, window_minutes=20)
    found = latencies(*[100] * 18, 900, 100, 100, 900)

    # The 19th of 20 is the 95th percentile: one slow one of 20 lies above it. At
    # the 22nd there are two.
    assert turns(rule, found[18:21]) != []  # 900 alone is all there is
    assert turns(rule, found[:21]) == [(19, TRIGGERED), (20, RESOLVED)]


def test_p95_of_twenty_bears_one_slow_answer_and_not_two():
    rule = Rule("LATENCY", "500", 1, 1, window_minutes=30)

    def found(slow):
        values = [100] * 20
        for n in slow:
            values[n] = 900
        return latencies(*values)

    assert turns(rule, found([19])) == []
    assert turns(rule, found([18, 19])) == [(19, TRIGGERED)]
    assert turns(rule, found([19]) + latencies(*[100] * 21)[20:]) == []


def test_p95_forgets_what_is_older_than_its_window():
    rule = Rule("LATENCY", "500", 1, 1, window_minutes=5)

    changes, _ = play(rule, latencies(900, 100, 100, 100, 100, 100))

    assert [(c.result.id, c.to) for c in changes] == [(1, TRIGGERED), (6, RESOLVED)]
    assert [c.observed for c in changes] == ["p95 900 ms", "p95 100 ms"]


# UPTIME


TEN = Rule("UPTIME", "99", 10, 10)


def test_kener_bug_uptime_99_over_10_checks_with_50_percent_triggers():
    assert turns(TEN, sequence("du" * 5)) == [(10, TRIGGERED)]


def test_kener_bug_uptime_99_over_10_checks_with_8_percent_in_12_rows_triggers():
    assert turns(TEN, sequence("d" * 11 + "u")) == [(10, TRIGGERED)]


def test_kener_bug_fewer_rows_than_the_threshold_never_trigger():
    assert turns(TEN, sequence("d" * 9)) == []
    assert turns(TEN, sequence("d" * 9 + "n" * 20)) == []


def test_kener_bug_a_new_monitor_with_one_failure_does_not_trigger():
    for kind, value in (("STATUS", "DOWN"), ("UPTIME", "99"), ("LATENCY", "1")):
        failed = [Result(1, START, "down", 5.0), Result(2, START + MINUTE, "down", 5.0)]
        assert turns(Rule(kind, value, 3, 2), failed) == []


def test_uptime_resolves_when_its_own_window_is_good():
    rule = Rule("UPTIME", "90", 5, 10)

    # Of the last ten one may be bad, as it is from the 14th on.
    assert turns(rule, sequence("uuudd" + "u" * 12)) == [(5, TRIGGERED), (14, RESOLVED)]


def test_uptime_exactly_the_value_is_good():
    assert turns(Rule("UPTIME", "90", 10, 10), sequence("u" * 9 + "d")) == []


@pytest.mark.parametrize(
    ("degraded", "expected"), [("up", []), ("half", []), ("down", [(10, TRIGGERED)])]
)
def test_degraded_enters_an_uptime_as_its_monitor_says(degraded, expected):
    rule = Rule("UPTIME", "75", 10, 10, degraded=degraded)

    # Half of ten: as up 100 %, half 75 %, as down 50 %.
    assert turns(rule, sequence("gu" * 5)) == expected


def test_uptime_over_seconds_waits_until_it_has_seen_so_many():
    rule = Rule("UPTIME", "50", 600, 300, "SECONDS")

    assert turns(rule, sequence("d" * 10)) == []
    assert turns(rule, sequence("d" * 11)) == [(11, TRIGGERED)]


def test_uptime_began_with_the_first_bad_result_of_its_window():
    [change], _ = play(Rule("UPTIME", "90", 5, 5), sequence("uudud"))

    assert change.began_at == START + 3 * MINUTE
    assert change.observed == "60.00 %"
    assert change.reason == "too low over 5 checks"


# CERT_DAYS


def certificates(*days):
    """A check a day that showed a certificate with so many days left; None if none."""
    return [
        Result(
            n,
            START + n * DAY,
            "up",
            expires_at=None if left is None else START + n * DAY + left * DAY,
        )
        for n, left in enumerate(days, 1)
    ]


def test_certificate_triggers_below_the_days_and_resolves_when_it_is_renewed():
    rule = Rule("CERT_DAYS", "30", 2, 1)
    changes, _ = play(rule, certificates(31, 30, 29, 28, 27, 90))

    assert [(c.result.id, c.to) for c in changes] == [(4, TRIGGERED), (6, RESOLVED)]
    assert [c.observed for c in changes] == ["28 days", "90 days"]


def test_what_shows_no_certificate_is_not_asked():
    rule = Rule("CERT_DAYS", "30", 2, 1)

    assert turns(rule, certificates(None, None, None)) == []
    assert turns(rule, certificates(5, None, 4)) == [(3, TRIGGERED)]


def test_expired_certificate_says_so():
    [change], _ = play(Rule("CERT_DAYS", "30", 1, 1), certificates(-0.5))

    assert change.observed == "expired"


# BURN_RATE


SLO = Rule("BURN_RATE", "99.9", 1, 1)


def every_tenth(share, hours, begin=START, seconds=10):
    """A check every ten seconds, of which such a share, spread evenly, is bad."""
    found, bad = [], 0.0
    for n in range(1, hours * 3600 // seconds + 1):
        bad += share
        status = "down" if bad >= 1 else "up"
        bad -= status == "down"
        found.append(Result(n, begin + n * timedelta(seconds=seconds), status))
    return found


def test_rates_are_those_of_the_workbook():
    """2 % of a 30-day budget in an hour is a rate of 14.4, 5 % in six hours is 6.

    https://sre.google/workbook/alerting-on-slos/, table 5-2 and 5-8.
    """
    assert condition_of(SLO).rates == pytest.approx([14.4, 6.0])


def test_rates_follow_the_length_of_the_objective():
    week = replace(SLO, window_minutes=7 * 24 * 60)

    # 0.02 of 168 h in 1 h, 0.05 of them in 6 h.
    assert condition_of(week).rates == pytest.approx([3.36, 1.4])


def test_steady_burning_below_both_rates_never_triggers():
    # Five times the 0.1 % that the objective allows.
    assert turns(SLO, every_tenth(0.005, hours=12)) == []


def test_burning_at_seven_triggers_by_the_slow_pair_alone():
    # Seven times: over 6, under 14.4. Once there are 30 minutes and six hours of it.
    changes, _ = play(SLO, every_tenth(0.007, hours=12))

    assert changes[0].to == TRIGGERED
    assert condition_of(SLO).words() == "BURN_RATE of 99.9 % over 30 days"


def test_an_outage_triggers_once_it_has_used_two_percent_of_the_budget():
    """After a good day, all fails: at 14.4 % bad in the hour… of 0.1 % allowed that
    is 1.44 % of the hour, 51.84 s of it."""
    good = every_tenth(0, hours=24)
    bad = [
        Result(len(good) + n, good[-1].at + n * timedelta(seconds=10), "down")
        for n in range(1, 60)
    ]

    [change] = play(SLO, [*good, *bad])[0]

    failed = (change.result.at - good[-1].at).total_seconds()
    assert failed == 60  # the first check at which 51.84 s are over


def test_burning_ends_with_the_short_window():
    """Five minutes after an outage the short window is good, the long one is not."""
    good = every_tenth(0, hours=24)
    found = list(good)
    for n in range(1, 121):
        status = "down" if n <= 12 else "up"
        found.append(
            Result(len(good) + n, good[-1].at + n * timedelta(seconds=10), status)
        )

    triggered, resolved = play(SLO, found)[0]

    assert (triggered.to, resolved.to) == (TRIGGERED, RESOLVED)
    lasted = (resolved.result.at - good[-1].at).total_seconds()
    assert 5 * 60 < lasted <= 8 * 60


# Flapping


def nagios(statuses):
    """The formula as its documentation tells it, newest last, not at all fast."""
    known = [s for s in statuses if s in ("up", "degraded", "partial", "down")][-21:]
    total = 0.0
    for place, (before, after) in enumerate(pairwise(known)):
        if before != after:
            # Places are counted from the oldest of twenty possible changes.
            place += 20 - (len(known) - 1)
            total += 0.75 + 0.5 * place / 19
    return 100 * total / 20


@given(st.lists(st.sampled_from(STATUSES), max_size=60))
def test_percent_is_that_of_nagios(statuses):
    history = flapping.pushed(0, statuses)

    assert flapping.percent(history) == pytest.approx(nagios(statuses))


@given(st.lists(st.sampled_from(STATUSES), max_size=60), st.integers(0, 60))
def test_history_may_be_written_in_parts(statuses, cut):
    parts = flapping.pushed(flapping.pushed(0, statuses[:cut]), statuses[cut:])

    assert parts == flapping.pushed(0, statuses)
    assert parts < 2**63


def test_percent_of_all_changes_and_of_none():
    assert flapping.percent(flapping.pushed(0, ["up"] * 30)) == 0
    assert flapping.percent(0) == 0
    alternating = flapping.pushed(0, ["up", "down"] * 15)
    assert flapping.percent(alternating) == pytest.approx(100)


def test_newer_changes_weigh_more():
    newest = flapping.pushed(0, ["up"] * 20 + ["down"])
    oldest = flapping.pushed(0, ["down"] + ["up"] * 20)

    assert flapping.percent(newest) == pytest.approx(6.25)
    assert flapping.percent(oldest) == pytest.approx(3.75)


def test_flapping_begins_and_ends_at_different_percentages():
    limits = flapping.Limits(start=30, stop=20)
    calm = flapping.pushed(0, ["up"] * 21)
    between = flapping.pushed(calm, ["down", "up", "down", "up"])

    assert 20 < flapping.percent(between) < 30
    assert not flapping.is_flapping(between, False, limits)
    assert flapping.is_flapping(between, True, limits)
    assert not flapping.is_flapping(between, True, limits._replace(is_on=False))


def test_first_failure_of_a_new_monitor_burns_no_budget():
    """One bad result of one would be a rate of a thousand."""
    assert turns(SLO, sequence("d")) == []
    assert turns(SLO, sequence("u" * 30 + "d")) == []


def test_one_failure_an_hour_after_an_outage_burns_no_budget():
    day = every_tenth(0, hours=24)
    outage = [
        Result(len(day) + n, day[-1].at + n * timedelta(seconds=10), status)
        for n, status in enumerate(["down"] * 12 + ["up"] * 400 + ["down"], start=1)
    ]

    assert [to for _, to in turns(SLO, [*day, *outage])] == [TRIGGERED, RESOLVED]
