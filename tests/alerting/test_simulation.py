"""What a rule would have done is what it does."""

import random
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from alerting import evaluation, simulation
from alerting.models import Alert, AlertRule, Decision, FlapDetection
from alerting.rules import RuleInvalid
from alerting.simulation import TooMuch, simulate
from monitors.instants import instant, ms
from monitors.models import CheckResult, Monitor, MonitorState, Overlay
from monitors.models.result import Certificate

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
NAMES = {"u": "up", "d": "down", "g": "degraded", "p": "partial", "n": "no_data"}

pytestmark = pytest.mark.django_db


@pytest.fixture
def now():
    return instant(ms(timezone.now()))


@pytest.fixture
def write(now):
    """Write results, the last of them a minute ago; return when each was."""

    def write(monitor, letters, every=MINUTE, **more):
        begin = now - len(letters) * every
        moments = [begin + n * every for n in range(len(letters))]
        CheckResult.objects.bulk_create(
            CheckResult(monitor=monitor, checked_at=at, status=NAMES[letter], **more)
            for at, letter in zip(moments, letters, strict=True)
        )
        return moments

    return write


@pytest.fixture
def no_flaps(db):
    FlapDetection.objects.create(is_on=False)


def down(**more):
    more = {"failure_threshold": 3, "success_threshold": 2, **more}
    return AlertRule(alert_for="STATUS", alert_value="DOWN", **more)


def test_alerts_are_told_with_their_moments(make_monitor, write, now):
    shop = make_monitor()
    at = write(shop, "uuddduuu")

    found = simulate(down(), [shop], now - DAY, now)

    [alert] = found.alerts
    assert (alert.monitor, alert.observed) == (shop, "down")
    assert (alert.began_at, alert.triggered_at) == (at[2], at[4])
    assert (alert.resolved_at, alert.told_at) == (at[6], at[4])
    assert alert.reason == "3 failures in a row"
    assert (found.results, found.data_from, found.decisions) == (8, at[0], [])


def test_what_is_not_over_has_no_end(make_monitor, write, now):
    shop = make_monitor()
    write(shop, "udddd")

    [alert] = simulate(down(), [shop], now - DAY, now).alerts

    assert alert.resolved_at is None


def test_nothing_is_written(make_monitor, write, now):
    shop = make_monitor()
    write(shop, "ududddddddd")

    with CaptureQueriesContext(connection) as queries:
        simulate(down(create_incident=True), [shop], now - DAY, now)

    assert all(query["sql"].startswith("SELECT") for query in queries)
    assert not Alert.objects.exists()
    assert not Decision.objects.exists()


def test_a_streak_that_was_too_short_is_a_decision(make_monitor, write, now):
    shop = make_monitor()
    at = write(shop, "uddudu")

    [two, one] = simulate(down(), [shop], now - DAY, now).decisions

    assert (two.gate, two.verdict) == ("threshold", "REFUSED")
    assert (two.began_at, two.at) == (at[1], at[3])
    assert two.reason == "Only 2 of 3 failures in a row"
    assert one.reason == "Only 1 of 3 failures in a row"


def test_decisions_are_capped_and_the_newest_stay(
    make_monitor, write, now, monkeypatch, no_flaps
):
    shop = make_monitor()
    at = write(shop, "du" * 10)
    monkeypatch.setattr(simulation, "MOST_DECISIONS", 4)

    found = simulate(down(), [shop], now - DAY, now)

    assert (len(found.decisions), found.more_decisions) == (4, 6)
    assert found.decisions[-1].at == at[-1]


def test_holds_keep_alerts_back(make_monitor, write, now):
    shop = make_monitor()
    at = write(shop, "u" + "d" * 9)
    Overlay.objects.create(
        monitor=shop,
        kind="maintenance",
        status="maintenance",
        started_at=at[2],
        ended_at=at[6],
        cause="maintenance:1",
        holds_alerts=True,
    )

    found = simulate(down(), [shop], now - DAY, now)

    assert [alert.triggered_at for alert in found.alerts] == [at[8]]
    [held] = found.decisions
    assert (held.began_at, held.at, held.times) == (at[2], at[5], 4)


def test_an_alert_waits_until_a_monitor_flaps_no_more(make_monitor, write, now):
    shop = make_monitor()
    at = write(shop, "u" * 25 + "du" * 6 + "d" * 20)

    [alert] = simulate(down(), [shop], now - DAY, now).alerts
    found = simulate(down(), [shop], now - DAY, now)

    assert alert.triggered_at == at[39]
    # 20 % and less: the changes have grown old, or have left the last 21.
    assert alert.triggered_at < alert.told_at < at[39] + 30 * MINUTE
    withheld = [d for d in found.decisions if d.gate == "flapping"]
    assert [d.verdict for d in withheld] == ["WITHHELD"]
    assert withheld[0].reason.startswith("Flapping: ")


def test_what_fails_for_long_is_told_of_however_it_flapped(make_monitor, write, now):
    FlapDetection.objects.create(start_percent=10, stop_percent=1, escape_minutes=5)
    shop = make_monitor()
    at = write(shop, "u" * 25 + "du" * 6 + "d" * 20)

    [alert] = simulate(down(), [shop], now - DAY, now).alerts

    assert alert.told_at == at[37] + 5 * MINUTE


def test_nobody_is_told_of_what_ends_while_it_is_held_back(make_monitor, write, now):
    shop = make_monitor()
    write(shop, "u" * 25 + "du" * 6 + "dddd" + "uu")

    [alert] = simulate(down(), [shop], now - DAY, now).alerts

    assert alert.told_at is None
    assert alert.resolved_at is not None


def test_consequences_of_a_parent_are_not_told_of(make_monitor, write, now):
    shop = make_monitor()
    at = write(shop, "udddddd")
    CheckResult.objects.filter(checked_at__lt=at[5]).update(is_consequence=True)

    found = simulate(down(), [shop], now - DAY, now)

    assert found.alerts[0].triggered_at == at[3]
    assert found.alerts[0].told_at == at[5]
    assert [d.gate for d in found.decisions] == ["parent"]


def test_certificates_are_those_of_their_time(make_monitor, write, now):
    shop = make_monitor()
    at = write(shop, "u" * 10, every=DAY)
    for seen, left in ((at[0] - 5 * DAY, 12), (at[7], 90)):
        Certificate.objects.create(
            monitor=shop, seen_at=seen, expires_at=at[0] + left * DAY
        )
    rule = AlertRule(
        alert_for="CERT_DAYS", alert_value="9", failure_threshold=1, success_threshold=1
    )

    [alert] = simulate(rule, [shop], now - 30 * DAY, now).alerts

    assert (alert.triggered_at, alert.resolved_at) == (at[4], at[7])
    assert alert.observed == "8 days"


def test_degraded_counts_as_the_monitor_says(make_monitor, write, now):
    lenient, strict = make_monitor("a"), make_monitor("b", degraded_counts="down")
    for monitor in (lenient, strict):
        write(monitor, "uggggggggg")
    rule = AlertRule(alert_for="UPTIME", alert_value="99", failure_threshold=5)

    found = simulate(rule, [lenient, strict], now - DAY, now)

    assert [alert.monitor for alert in found.alerts] == [strict]


def test_history_and_what_lies_in_the_time_alone_is_read(make_monitor, write, now):
    """Position 0 is what no rule has read when it came: here it counts."""
    shop = make_monitor(created_at=now - MINUTE)
    at = write(shop, "dddddd", position=0)

    found = simulate(down(), [shop], at[1], at[4])

    assert found.results == 3
    assert [alert.triggered_at for alert in found.alerts] == [at[3]]
    assert found.data_from == at[1]


def test_reads_in_pages(make_monitor, write, now, monkeypatch):
    shop = make_monitor()
    at = write(shop, "uuddduuuuddduu")
    monkeypatch.setattr(simulation, "AT_ONCE", 3)

    found = simulate(down(), [shop], now - DAY, now)

    assert [alert.triggered_at for alert in found.alerts] == [at[4], at[11]]
    assert found.results == 14


def test_without_results_there_is_nothing(make_monitor, now):
    found = simulate(down(), [make_monitor()], now - DAY, now)

    assert (found.alerts, found.results, found.data_from) == ([], 0, None)
    assert simulate(down(), [], now - DAY, now).alerts == []


def test_a_sketch_has_the_worst_of_each_part(make_monitor, write, now):
    shop = make_monitor()
    write(shop, "u" * 100 + "d" + "u" * 27)

    found = simulate(down(), [shop], now - 128 * MINUTE, now, sketched=True)

    worst = found.sketches[shop.pk].worst
    assert len(worst) == simulation.PARTS
    assert set(worst) == {-1, 1, 5}
    assert worst.index(5) == 250


def test_too_much_names_the_cap_and_what_to_choose(make_monitor, write, now):
    monitors = [Monitor(pk=n) for n in range(1, 301)]

    with pytest.raises(TooMuch) as many:
        simulate(down(), monitors, now - 7 * DAY, now)
    with pytest.raises(TooMuch) as far_too_many:
        simulate(down(), monitors * 5, now - MINUTE, now)

    assert str(many.value) == (
        "300 monitors over 7 days are more than 1,000 monitor-days. "
        "Choose at most 142 monitors, or 3 days."
    )
    assert "Choose at most 1,000 monitors." in str(far_too_many.value)


def test_too_many_results_are_refused_before_they_are_read(
    make_monitor, write, now, monkeypatch
):
    shop = make_monitor()
    write(shop, "uuuuu")
    monkeypatch.setattr(simulation, "MOST_RESULTS", 4)

    with pytest.raises(TooMuch, match="more than 4 results"):
        simulate(down(), [shop], now - DAY, now)


def test_a_rule_nobody_can_judge_by_is_refused(make_monitor, write, now):
    shop = make_monitor()
    write(shop, "u")

    with pytest.raises(RuleInvalid):
        simulate(AlertRule(alert_value="BOGUS"), [shop], now - DAY, now)


def test_queries_grow_with_the_pages_alone(make_monitor, write, now):
    monitors = [make_monitor(f"m{n}") for n in range(4)]
    for monitor in monitors:
        write(monitor, "uuuddduuu")
    with CaptureQueriesContext(connection) as one:
        simulate(down(), monitors[:1], now - DAY, now)

    with CaptureQueriesContext(connection) as four:
        simulate(down(), monitors, now - DAY, now)

    assert len(four) == len(one) + 3


# As it was live


KINDS = [
    {"alert_for": "STATUS", "alert_value": "DOWN"},
    {"alert_for": "STATUS", "alert_value": "DEGRADED", "includes_worse": True},
    {"alert_for": "STATUS", "alert_value": "DOWN", "unit": "SECONDS"},
    {"alert_for": "LATENCY", "alert_value": "200"},
    {"alert_for": "LATENCY", "alert_value": "200", "window_minutes": 5},
    {"alert_for": "UPTIME", "alert_value": "75"},
    {"alert_for": "UPTIME", "alert_value": "75", "unit": "SECONDS"},
    {"alert_for": "BURN_RATE", "alert_value": "90"},
]


def recorded(monitor, dice, begin, count):
    """Record results as workers would, and return them in their order."""
    found, at = [], begin
    letter = "u"
    for position in range(1, count + 1):
        if dice.random() < 0.3:
            letter = dice.choice("uuudddgpn")
        at += timedelta(seconds=dice.choice([5, 60, 60, 60, 90]))
        latency = None if letter == "d" else dice.choice([50.0, 200.0, 900.123])
        found.append(
            CheckResult(
                monitor=monitor,
                checked_at=at,
                status=NAMES[letter],
                latency_ms=latency,
                position=position,
            )
        )
    CheckResult.objects.bulk_create(found)
    return found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("asked", KINDS)
def test_the_past_is_replayed_as_it_was_live(
    asked, seed, make_monitor, make_rule, now, no_flaps
):
    dice = random.Random(f"{seed} {asked}")
    begin = now - 5 * 60 * MINUTE
    shop = make_monitor(interval=3600, degraded_counts=dice.choice(["up", "half"]))
    times = 60 if asked.get("unit") == "SECONDS" else 1
    rule = make_rule(
        shop,
        failure_threshold=dice.randint(1, 4) * times,
        success_threshold=dice.randint(1, 4) * times,
        **asked,
    )
    Monitor.objects.update(counts_from=begin)
    AlertRule.objects.update(counts_from=begin)
    MonitorState.objects.update(evaluated_at=begin)
    results = recorded(shop, dice, begin, 150)
    Overlay.objects.create(
        monitor=shop,
        kind="maintenance",
        status="maintenance",
        started_at=results[60].checked_at,
        ended_at=results[80].checked_at,
        cause="maintenance:1",
        holds_alerts=True,
    )

    reached = 0
    while reached < len(results):
        reached = min(len(results), reached + dice.randint(1, 40))
        MonitorState.objects.update(last_result=reached)
        evaluation.evaluate_monitors([shop.pk])

    live = Alert.objects.order_by("triggered_at").values_list(
        "began_at", "triggered_at", "resolved_at"
    )
    found = simulate(rule, [shop], begin, now)
    assert [
        (alert.began_at, alert.triggered_at, alert.resolved_at)
        for alert in found.alerts
    ] == list(live)
