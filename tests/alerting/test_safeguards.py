"""What keeps an alert back, and that it comes when the reason ends."""

from datetime import timedelta

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from alerting import announcing, evaluation, flapping
from alerting.models import Alert, Decision, FlapDetection, Silence, Transition
from incidents.models import Incident
from monitors.models import (
    CheckResult,
    Label,
    Monitor,
    MonitorState,
    Overlay,
    StatusPeriod,
)
from outbox.models import Message


@pytest.fixture
def observe(db):
    """Record statuses of a monitor, a second apart up to now, and evaluate them."""

    def observe(monitor, *statuses, at=None):
        state = MonitorState.objects.get(pk=monitor.pk)
        begin = (at or timezone.now()) - timedelta(seconds=len(statuses) - 1)
        for n, status in enumerate(statuses):
            CheckResult.objects.create(
                monitor=monitor,
                checked_at=begin + timedelta(seconds=n),
                status=status,
                position=state.last_result + n + 1,
            )
        failing = begin if statuses[-1] == "down" else None
        MonitorState.objects.filter(pk=monitor.pk).update(
            last_result=state.last_result + len(statuses),
            failing_since=state.failing_since or failing if failing else None,
        )
        evaluation.evaluate_monitors([monitor.pk])

    return observe


@pytest.fixture
def shop(make_monitor):
    monitor = make_monitor("shop")
    Monitor.objects.update(counts_from=timezone.now() - timedelta(days=1))
    return Monitor.objects.get(pk=monitor.pk)


@pytest.fixture
def rule(shop, make_rule, make_trigger):
    trigger = make_trigger("webhook", url="http://127.0.0.1:9/")
    rule = make_rule(shop, failure_threshold=2, success_threshold=1, triggers=[trigger])
    type(rule).objects.update(counts_from=timezone.now() - timedelta(days=1))
    return rule


def later(seconds=60):
    """Let time pass, and ask the gates again."""
    return time_machine.travel(timezone.now() + timedelta(seconds=seconds), tick=False)


def lay_hold(monitor, ended_at=None):
    return Overlay.objects.create(
        monitor=monitor,
        kind=Overlay.Kind.MAINTENANCE,
        status="maintenance",
        started_at=timezone.now() + timedelta(seconds=1),
        ended_at=ended_at,
        cause="maintenance:1",
        holds_alerts=True,
    )


def silence(monitor, rule, make_monitor):
    made = Silence.objects.create(
        reason="We know", ends_at=timezone.now() + timedelta(hours=1), author="ana"
    )
    made.monitors.add(monitor)
    return lambda: Silence.objects.update(ended_at=timezone.now())


def silence_by_label(monitor, rule, make_monitor):
    label = Label.objects.create(name="payments")
    monitor.label([label])
    made = Silence.objects.create(
        reason="We know", ends_at=timezone.now() + timedelta(hours=1), author="ana"
    )
    made.labels.add(label)
    return lambda: monitor.label([])


def silence_of_rule(monitor, rule, make_monitor):
    made = Silence.objects.create(
        reason="We know", ends_at=timezone.now() + timedelta(hours=1), author="ana"
    )
    made.rules.add(rule)
    return lambda: Silence.objects.update(ended_at=timezone.now())


def down_parent(monitor, rule, make_monitor):
    parent = make_monitor("database", name="Database")
    MonitorState.objects.filter(pk=parent.pk).update(status="down", raw_status="down")
    monitor.depend_on([parent])
    states = MonitorState.objects.filter(pk=parent.pk)
    return lambda: states.update(status="up", raw_status="up")


def flap(monitor, rule, make_monitor):
    MonitorState.objects.filter(pk=monitor.pk).update(
        recent=flapping.pushed(0, ["up", "down"] * 11), is_flapping=True
    )
    calm = flapping.pushed(0, ["down"] * 21)
    states = MonitorState.objects.filter(pk=monitor.pk)
    return lambda: states.update(recent=calm, is_flapping=False)


GATES = {
    "silence": (silence, "We know"),
    "silence by label": (silence_by_label, "We know"),
    "silence of rule": (silence_of_rule, "We know"),
    "parent": (down_parent, "Its parent Database is down"),
    "flapping": (flap, "Flapping: "),
}


@pytest.mark.django_db
@pytest.mark.parametrize("name", GATES)
def test_alert_held_back_is_told_of_when_the_reason_ends(
    name, shop, rule, observe, make_monitor
):
    begin, reason = GATES[name]
    end = begin(shop, rule, make_monitor)

    observe(shop, "down", "down")

    alert = Alert.objects.get()
    assert alert.state == Alert.State.TRIGGERED
    assert alert.withheld == name.split()[0]
    assert not Message.objects.exists()
    assert not Incident.objects.exists()
    decision = Decision.objects.get()
    assert (decision.gate, decision.verdict) == (alert.withheld, "WITHHELD")
    assert reason in decision.reason

    # It is asked again, and still refused: one row, last seen later.
    with later(60):
        announcing.announce_due()
        assert not Message.objects.exists()
        again = Decision.objects.get()
        assert (again.count, again.last_at > decision.last_at) == (1, True)

    end()
    with later(120):
        announcing.announce_due()

    alert.refresh_from_db()
    assert alert.withheld == ""
    assert Message.objects.count() == 1
    assert Incident.objects.get().started_at == alert.began_at
    assert Transition.objects.get().announced_at


@pytest.mark.django_db
@pytest.mark.parametrize("name", GATES)
def test_nobody_hears_the_end_of_what_nobody_was_told_of(
    name, shop, rule, observe, make_monitor
):
    GATES[name][0](shop, rule, make_monitor)
    observe(shop, "down", "down")

    with later(30):
        observe(shop, "up")

    assert Alert.objects.get().state == Alert.State.RESOLVED
    with later(120):
        announcing.announce_due()
    assert not Message.objects.exists()
    assert not Incident.objects.exists()
    assert not Transition.objects.filter(announced_at=None).exists()


@pytest.mark.django_db(transaction=True)
def test_two_announcers_let_one_alert_through_once(
    shop, rule, observe, make_monitor, at_once
):
    end = silence(shop, rule, make_monitor)
    observe(shop, "down", "down")
    end()
    Transition.objects.update(due_at=timezone.now())

    at_once(*[announcing.announce_due] * 3)

    assert Message.objects.count() == 1
    assert Incident.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_alert_resolved_while_it_is_let_through_is_told_of_wholly_or_not_at_all(
    shop, rule, observe, make_monitor, at_once
):
    end = silence(shop, rule, make_monitor)
    observe(shop, "down", "down")
    end()
    Transition.objects.update(due_at=timezone.now())
    alert = Alert.objects.get()

    at_once(
        announcing.announce_due,
        lambda: alert.resolve(reason="By hand", at=timezone.now()),
    )
    announcing.announce_due()

    assert Message.objects.count() in (0, 2)
    assert Incident.objects.open().count() == 0
    assert not Transition.objects.filter(announced_at=None).exists()


@pytest.mark.django_db
def test_gates_are_asked_in_their_order(shop, rule, observe, make_monitor):
    flap(shop, rule, make_monitor)
    end_silence = silence(shop, rule, make_monitor)
    end_parent = down_parent(shop, rule, make_monitor)

    observe(shop, "down", "down")
    assert Alert.objects.get().withheld == "parent"

    end_parent()
    with later(60):
        announcing.announce_due()
        assert Alert.objects.get().withheld == "silence"
    end_silence()
    with later(120):
        announcing.announce_due()
        assert Alert.objects.get().withheld == "flapping"
    gates = set(Decision.objects.values_list("gate", "count"))
    assert gates == {("parent", 1), ("silence", 1), ("flapping", 1)}


@pytest.mark.django_db
def test_failures_inside_a_hold_make_one_decision_and_no_alert(shop, rule, observe):
    lay_hold(shop)
    with later(30):
        observe(shop, *["down"] * 5)

        decision = Decision.objects.get()
        assert (decision.gate, decision.count) == ("maintenance", 5)
        assert not Alert.objects.exists()

        observe(shop, "down", at=timezone.now() + timedelta(seconds=1))
        assert Decision.objects.get().count == 6


@pytest.mark.django_db
def test_maintenance_that_begins_while_an_alert_is_held_back_keeps_it(
    shop, rule, observe, make_monitor
):
    end = silence(shop, rule, make_monitor)
    observe(shop, "down", "down")
    lay_hold(shop)
    end()

    with later(60):
        announcing.announce_due()

    assert Alert.objects.get().withheld == "maintenance"
    Overlay.objects.update(ended_at=timezone.now() + timedelta(seconds=70))
    with later(200):
        announcing.announce_due()
    assert Message.objects.count() == 1


@pytest.mark.django_db
def test_streak_too_short_to_matter_is_told_once(shop, rule, observe):
    observe(shop, "down", "up", "down", "up")

    decisions = Decision.objects.order_by("episode_at")
    assert [(d.gate, d.reason) for d in decisions] == [
        ("threshold", "Only 1 of 2 failures in a row"),
        ("threshold", "Only 1 of 2 failures in a row"),
    ]


@pytest.mark.django_db
def test_half_an_hour_of_failing_is_told_of_however_it_flapped(
    shop, rule, observe, make_monitor
):
    flap(shop, rule, make_monitor)
    observe(shop, "down", "down")
    assert Alert.objects.get().withheld == "flapping"

    with later(29 * 60):
        announcing.announce_due()
        assert not Message.objects.exists()
    with later(31 * 60):
        announcing.announce_due()
        assert Message.objects.count() == 1


@pytest.mark.django_db
def test_monitor_that_turns_to_and_fro_flaps_until_it_rests(shop, rule, observe):
    observe(shop, *["up", "down"] * 11)
    state = MonitorState.objects.get(pk=shop.pk)
    assert state.is_flapping
    assert flapping.percent(state.recent) == 100

    with later(60):
        observe(shop, *["up"] * 21)
    state.refresh_from_db()
    assert not state.is_flapping
    assert flapping.percent(state.recent) == 0


@pytest.mark.django_db
def test_flap_detection_that_is_off_keeps_nothing_back(shop, rule, observe):
    FlapDetection.objects.create(is_on=False)

    observe(shop, *["up", "down"] * 11, "down")

    assert Alert.objects.get().withheld == ""


@pytest.mark.django_db
def test_monitor_at_rest_writes_no_more_than_before(shop, rule, observe):
    observe(shop, *["up"] * 21)

    with CaptureQueriesContext(
        connection,
    ) as asked:
        observe(shop, "up")

    written = [q["sql"] for q in asked if q["sql"].startswith("UPDATE")]
    assert len(written) == 2  # the test's own, and how far it is evaluated


@pytest.mark.django_db
def test_parent_that_was_seen_down_and_is_not_confirmed_holds_back_already(
    shop, rule, observe, make_monitor
):
    parent = make_monitor("database")
    MonitorState.objects.filter(pk=parent.pk).update(status="up", raw_status="down")
    shop.depend_on([parent])

    observe(shop, "down", "down")

    assert Alert.objects.get().withheld == "parent"


@pytest.mark.django_db
def test_silence_ended_by_hand_is_noticed_within_half_a_minute(
    shop, rule, observe, make_monitor
):
    end = silence(shop, rule, make_monitor)
    observe(shop, "down", "down")
    end()

    with later(31):
        announcing.announce_due()

    assert Message.objects.count() == 1


@pytest.mark.django_db
def test_gates_need_the_same_queries_for_any_number(make_monitor, make_rule, observe):
    def statements(number):
        monitors = [make_monitor(f"m{number}-{n}") for n in range(number)]
        make_rule(*monitors, failure_threshold=1, create_incident=False)
        now = timezone.now() + timedelta(seconds=1)
        for monitor in monitors:
            CheckResult.objects.create(
                monitor=monitor, checked_at=now, status="down", position=1
            )
        ids = [m.pk for m in monitors]
        MonitorState.objects.filter(pk__in=ids).update(last_result=1)
        Silence.objects.create(
            reason="All", silences_all=True, ends_at=now + timedelta(hours=1)
        )
        with CaptureQueriesContext(connection) as asked:
            evaluation.evaluate_monitors(ids)
        Silence.objects.all().delete()
        assert Alert.objects.filter(withheld="silence").count() >= number
        return len(asked)

    assert statements(1) == statements(30)


@pytest.mark.django_db
def test_rules_by_label_and_for_all_watch_what_is_still_to_come(
    make_monitor, make_rule, observe
):
    label = Label.objects.create(name="payments")
    by_label = make_rule(name="Label", failure_threshold=1)
    by_label.watch([], labels=[label])
    for_all = make_rule(name="All", failure_threshold=1)
    for_all.watch([], watches_all=True)
    plain, labelled = make_monitor("plain"), make_monitor("labelled")
    labelled.label([label])

    with later(5):
        observe(plain, "down")
        observe(labelled, "down")
        found = set(Alert.objects.values_list("rule_name", "monitor_tag"))
        assert found == {("All", "plain"), ("All", "labelled"), ("Label", "labelled")}

        # Without the label its alert resolves, and says why.
        labelled.label([])
        resolved = Alert.objects.get(state=Alert.State.RESOLVED)
        assert (resolved.rule_name, resolved.monitor_tag) == ("Label", "labelled")
        last = resolved.transitions.last()
        assert last.reason == "The monitor was removed from the rule."

        for_all.watch([], watches_all=False)
        assert not Alert.objects.triggered().exists()


@pytest.mark.django_db
def test_monitor_watched_in_three_ways_counts_once(make_monitor, make_rule, observe):
    label = Label.objects.create(name="payments")
    monitor = make_monitor()
    monitor.label([label])
    rule = make_rule(failure_threshold=2)
    rule.watch([monitor], labels=[label], watches_all=True)

    with later(5):
        observe(monitor, "down")
        assert rule.states.get().failures == 1
        assert list(rule.watched()) == [monitor]
        assert list(type(rule).objects.watching(monitor)) == [rule]
    assert StatusPeriod.objects.exists()
