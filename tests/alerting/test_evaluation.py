from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from alerting import evaluation
from alerting.models import (
    Alert,
    AlertRule,
    EvaluationFailure,
    RuleState,
    Transition,
)
from alerting.signals import alert_triggered
from incidents.models import Incident, State
from monitors.models import CheckResult, Monitor, MonitorState, Overlay
from outbox.models import Message


@pytest.fixture
def observe(db):
    """Record statuses of a monitor a second apart, without evaluating them."""
    clock = iter(timezone.now() + timedelta(seconds=n) for n in range(1, 100_000))

    def observe(monitor, *statuses):
        state = MonitorState.objects.get(pk=monitor.pk)
        for position, status in enumerate(statuses, state.last_result + 1):
            result = CheckResult.objects.create(
                monitor=monitor,
                checked_at=next(clock),
                status=status,
                position=position,
            )
        MonitorState.objects.filter(pk=monitor.pk).update(last_result=position)
        return result

    return observe


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("attempt", range(3))
def test_two_workers_leave_one_alert_one_incident_one_message_each(
    attempt, make_monitor, make_rule, make_trigger, observe, at_once
):
    trigger = make_trigger("webhook", url="http://127.0.0.1:9/")
    monitors = [make_monitor(f"m{n}") for n in range(8)]
    rule = make_rule(*monitors, failure_threshold=3, triggers=[trigger])
    for monitor in monitors:
        observe(monitor, "down", "down", "down")
    ids = [monitor.pk for monitor in monitors]

    at_once(*[lambda: evaluation.evaluate_monitors(ids)] * 3)
    evaluation.sweep()

    assert Alert.objects.triggered().count() == 8
    assert Transition.objects.exclude(announced_at=None).count() == 8
    assert Incident.objects.count() == 8
    assert Message.objects.filter(trigger=trigger).count() == 8
    assert set(rule.states.values_list("failures", flat=True)) == {3}


@pytest.mark.django_db(transaction=True)
def test_worker_that_comes_late_does_not_count_a_result_twice(
    make_monitor, make_rule, observe, at_once
):
    monitor = make_monitor()
    rule = make_rule(monitor, failure_threshold=3)
    observe(monitor, "down", "down")

    at_once(*[lambda: evaluation.evaluate_monitors([monitor.pk])] * 4)
    observe(monitor, "up")
    evaluation.evaluate_monitors([monitor.pk])
    observe(monitor, "down")
    evaluation.evaluate_monitors([monitor.pk])

    state = rule.states.get()
    assert (state.failures, Alert.objects.count()) == (1, 0)


@pytest.mark.django_db(transaction=True)
def test_switching_off_at_the_moment_of_triggering_leaves_nothing_open(
    make_monitor, make_rule, observe, at_once
):
    for n in range(6):
        monitor = make_monitor(f"m{n}")
        rule = make_rule(monitor, failure_threshold=1)
        observe(monitor, "down")

        at_once(
            lambda pk=monitor.pk: evaluation.evaluate_monitors([pk]),
            lambda rule=rule: AlertRule.objects.get(pk=rule.pk).switch_off(
                at=timezone.now()
            ),
        )
        evaluation.sweep()

    assert not Alert.objects.triggered().exists()
    assert not Incident.objects.open().exists()


@pytest.mark.django_db(transaction=True)
def test_pausing_at_the_moment_of_triggering_leaves_nothing_open(
    make_monitor, make_rule, observe, at_once
):
    for n in range(6):
        monitor = make_monitor(f"m{n}")
        make_rule(monitor, failure_threshold=1)
        observe(monitor, "down")

        at_once(
            lambda pk=monitor.pk: evaluation.evaluate_monitors([pk]),
            lambda pk=monitor.pk: Monitor.objects.get(pk=pk).pause(at=timezone.now()),
        )
        evaluation.sweep()

    assert not Alert.objects.triggered().exists()
    assert not Incident.objects.open().exists()


@pytest.mark.django_db(transaction=True)
def test_two_announcers_open_one_incident(make_monitor, make_rule, observe, at_once):
    monitor = make_monitor()
    rule = make_rule(monitor, failure_threshold=1)
    result = observe(monitor, "down")
    change = evaluation.rules.Change(
        "TRIGGERED",
        evaluation.rules.Result(result.pk, result.checked_at, "down"),
        result.checked_at,
        "1 failures in a row",
    )
    Alert.trigger(rule, monitor, change)

    at_once(*[evaluation.announce_due] * 4)

    assert Incident.objects.count() == 1
    assert Transition.objects.get().announced_at is not None


@pytest.mark.django_db
def test_one_bad_monitor_of_500_stops_no_other_and_is_tried_again(
    make_monitor, make_rule, observe
):
    now = timezone.now()
    monitors = Monitor.objects.bulk_create(
        Monitor(tag=f"m{n}", name=f"M{n}", config={"url": "http://127.0.0.1:9/"})
        for n in range(500)
    )
    MonitorState.begin(monitors)
    rule = make_rule(*monitors, failure_threshold=1)
    bad = make_rule(monitors[250], failure_threshold=1, name="Bad")
    AlertRule.objects.filter(pk=bad.pk).update(alert_value="NONSENSE")
    at = now + timedelta(seconds=9)
    CheckResult.objects.bulk_create(
        CheckResult(monitor=m, checked_at=at, status="down", position=1)
        for m in monitors
    )
    MonitorState.objects.update(last_result=1)

    evaluation.evaluate_monitors(m.pk for m in monitors)

    failure = EvaluationFailure.objects.get()
    assert failure.monitor == monitors[250]
    assert "NONSENSE" in failure.error
    # The bad rule of this one monitor held up not even its good rule.
    assert Alert.objects.filter(rule=rule).count() == 500
    evaluation.announce_due()
    assert Incident.objects.count() == 500

    # Not before its time, and then, once mended, it decides as well.
    AlertRule.objects.filter(pk=bad.pk).update(alert_value="DOWN")
    EvaluationFailure.objects.update(due_at=timezone.now() + timedelta(hours=1))
    evaluation.sweep()
    assert not Alert.objects.filter(rule=bad).exists()
    EvaluationFailure.objects.update(due_at=timezone.now())
    evaluation.sweep()
    assert Alert.objects.filter(rule=bad).count() == 1
    assert not EvaluationFailure.objects.exists()


@pytest.mark.django_db
def test_failing_listener_leaves_alert_and_notices_and_is_repeated_when_mended(
    make_monitor, make_rule, make_trigger, observe
):
    monitor = make_monitor()
    trigger = make_trigger("webhook", url="http://127.0.0.1:9/")
    make_rule(monitor, failure_threshold=1, triggers=[trigger])
    observe(monitor, "down")

    def explode(**kwargs):
        raise RuntimeError("a template has a bug")

    alert_triggered.connect(explode)
    try:
        evaluation.evaluate_monitors([monitor.pk])
    finally:
        alert_triggered.disconnect(explode)

    transition = Transition.objects.get()
    assert Alert.objects.triggered().count() == 1
    assert Message.objects.filter(trigger=trigger).count() == 1
    assert not Incident.objects.exists()
    assert (transition.announced_at, transition.attempts) == (None, 1)
    assert "a template has a bug" in transition.error

    Transition.objects.update(due_at=timezone.now())
    evaluation.sweep()
    assert Incident.objects.count() == 1
    assert Transition.objects.get().error == ""


@pytest.mark.django_db
def test_resolved_waits_until_triggered_has_been_announced(
    make_monitor, make_rule, observe
):
    monitor = make_monitor()
    make_rule(monitor, failure_threshold=1, success_threshold=1)
    observe(monitor, "down")

    def explode(**kwargs):
        raise RuntimeError

    alert_triggered.connect(explode)
    try:
        evaluation.evaluate_monitors([monitor.pk])
        observe(monitor, "up")
        evaluation.evaluate_monitors([monitor.pk])
    finally:
        alert_triggered.disconnect(explode)
    assert not Incident.objects.exists()

    Transition.objects.update(due_at=timezone.now())
    evaluation.sweep()
    incident = Incident.objects.get()
    assert incident.state == State.RESOLVED
    assert incident.updates.count() == 2


@pytest.mark.django_db
def test_sweep_evaluates_in_order_what_was_left(make_monitor, make_rule, observe):
    monitor = make_monitor()
    make_rule(monitor, failure_threshold=2, success_threshold=2)
    observe(monitor, *["down"] * 3, *["up"] * 2, *["down"] * 2)

    evaluation.sweep()

    assert list(Alert.objects.order_by("pk").values_list("state", flat=True)) == [
        "RESOLVED",
        "TRIGGERED",
    ]
    assert Incident.objects.count() == 2


@pytest.mark.django_db
def test_results_from_before_the_rule_do_not_count(make_monitor, make_rule, observe):
    monitor = make_monitor()
    observe(monitor, "down", "down")
    evaluation.evaluate_monitors([monitor.pk])

    make_rule(monitor, failure_threshold=3)
    observe(monitor, "down", "down")
    evaluation.evaluate_monitors([monitor.pk])

    assert RuleState.objects.get().failures == 2
    assert not Alert.objects.exists()


@pytest.mark.django_db
def test_results_from_before_a_resume_do_not_count(make_monitor, make_rule, observe):
    monitor = make_monitor()
    make_rule(monitor, failure_threshold=3)
    last = observe(monitor, "down", "down")
    evaluation.evaluate_monitors([monitor.pk])

    monitor.pause(at=last.checked_at)
    monitor.resume(at=last.checked_at + timedelta(milliseconds=1))
    observe(monitor, "down", "down")
    evaluation.evaluate_monitors([monitor.pk])

    assert RuleState.objects.get().failures == 2
    assert not Alert.objects.exists()


@pytest.mark.django_db
def test_new_threshold_applies_to_the_running_streak(make_monitor, make_rule, observe):
    monitor = make_monitor()
    rule = make_rule(monitor, failure_threshold=5)
    observe(monitor, "down", "down")
    evaluation.evaluate_monitors([monitor.pk])

    rule.failure_threshold = 3
    rule.save()
    observe(monitor, "down")
    evaluation.evaluate_monitors([monitor.pk])

    assert Alert.objects.get().failure_threshold == 3


@pytest.mark.django_db
def test_hold_keeps_alerts_from_triggering(make_monitor, make_rule, observe):
    monitor = make_monitor()
    make_rule(monitor, failure_threshold=2)
    hold = Overlay.objects.create(
        monitor=monitor,
        kind=Overlay.Kind.MAINTENANCE,
        status="maintenance",
        started_at=timezone.now(),
        cause="maintenance:1",
        holds_alerts=True,
    )
    last = observe(monitor, "down", "down", "down")
    evaluation.evaluate_monitors([monitor.pk])
    assert not Alert.objects.exists()

    Overlay.objects.filter(pk=hold.pk).update(
        ended_at=last.checked_at + timedelta(milliseconds=1)
    )
    observe(monitor, "down")
    evaluation.evaluate_monitors([monitor.pk])
    assert not Alert.objects.exists()
    observe(monitor, "down")
    evaluation.evaluate_monitors([monitor.pk])
    assert Alert.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ("switch_off", "The rule was switched off"),
        ("retire", "The rule was deleted"),
        ("edit", "The rule was changed"),
        ("unwatch", "The monitor was removed from the rule"),
        ("pause", "The monitor was paused"),
        ("retire monitor", "The monitor was deleted"),
    ],
)
def test_nothing_stays_open_whatever_ends_the_watch(
    end, reason, make_monitor, make_rule, make_trigger, observe
):
    monitor = make_monitor()
    trigger = make_trigger("webhook", url="http://127.0.0.1:9/")
    rule = make_rule(monitor, failure_threshold=3, triggers=[trigger])
    last = observe(monitor, "down", "down", "down")
    evaluation.evaluate_monitors([monitor.pk])
    assert Incident.objects.open().count() == 1

    at = last.checked_at + timedelta(minutes=5)
    match end:
        case "switch_off":
            rule.switch_off(at=at)
        case "retire":
            rule.retire(at=at)
        case "edit":
            rule.alert_value = "DEGRADED"
            rule.save()
        case "unwatch":
            rule.watch([])
        case "pause":
            monitor.pause(at=at)
        case "retire monitor":
            monitor.retire(at=at)
    evaluation.sweep()

    incident = Incident.objects.get()
    closing = incident.updates.first()
    assert incident.state == State.RESOLVED
    assert reason in closing.plain
    assert "DOWN" in closing.plain
    assert not incident.impacts.filter(ended_at=None).exists()
    assert not Overlay.objects.filter(ended_at=None).exists()
    assert Message.objects.filter(trigger=trigger).count() == 2


@pytest.mark.django_db
def test_resolving_by_hand_starts_again_from_zero(make_monitor, make_rule, observe):
    monitor = make_monitor()
    make_rule(monitor, failure_threshold=2)
    observe(monitor, "down", "down")
    evaluation.evaluate_monitors([monitor.pk])

    Alert.objects.get().resolve(reason="Resolved by hand", at=timezone.now())
    observe(monitor, "down")
    evaluation.evaluate_monitors([monitor.pk])
    assert Alert.objects.count() == 1
    observe(monitor, "down")
    evaluation.evaluate_monitors([monitor.pk])

    assert Alert.objects.count() == 2
    assert Incident.objects.count() == 2


@pytest.mark.django_db
def test_inactive_trigger_is_sent_nothing(
    make_monitor, make_rule, make_trigger, observe
):
    trigger = make_trigger("webhook", url="http://127.0.0.1:9/")
    trigger.is_active = False
    trigger.save()
    monitor = make_monitor()
    make_rule(monitor, failure_threshold=1, triggers=[trigger])
    observe(monitor, "down")

    evaluation.evaluate_monitors([monitor.pk])

    assert Alert.objects.count() == 1
    assert not Message.objects.filter(trigger=trigger).exists()


@pytest.mark.django_db
def test_evaluating_takes_as_many_queries_for_30_monitors_as_for_one(
    make_monitor, make_rule, observe
):
    monitors = [make_monitor(f"m{n}") for n in range(31)]
    make_rule(*monitors, failure_threshold=3)
    for monitor in monitors:
        observe(monitor, "up")
    evaluation.evaluate_monitors(m.pk for m in monitors)
    for monitor in monitors:
        observe(monitor, "down")

    with CaptureQueriesContext(connection) as one:
        evaluation.evaluate_monitors([monitors[0].pk])
    with CaptureQueriesContext(connection) as thirty:
        evaluation.evaluate_monitors(m.pk for m in monitors[1:])

    assert len(one) == len(thirty)
    assert set(RuleState.objects.values_list("failures", flat=True)) == {1}


@pytest.mark.django_db
def test_notice_waits_for_its_incident_but_not_for_long(
    make_monitor, make_rule, make_trigger, observe
):
    trigger = make_trigger("webhook", url="http://127.0.0.1:9/")
    monitor = make_monitor()
    make_rule(monitor, failure_threshold=1, triggers=[trigger])
    observe(monitor, "down")

    def explode(**kwargs):
        raise RuntimeError

    alert_triggered.connect(explode)
    try:
        evaluation.evaluate_monitors([monitor.pk])
    finally:
        alert_triggered.disconnect(explode)
    waits = Message.objects.get().due_at - timezone.now()
    assert timedelta() < waits <= Alert.NOTICES_WAIT

    Transition.objects.update(due_at=timezone.now())
    evaluation.sweep()
    assert Message.objects.get().due_at <= timezone.now()


@pytest.mark.django_db
def test_a_flush_needs_as_many_statements_for_a_hundred_rules_as_for_one(
    make_monitor, make_rule, observe
):
    def statements(monitors, rules, *statuses):
        for n in range(rules):
            make_rule(*monitors, name=f"Rule {n}", failure_threshold=5)
        ids, counts = [m.pk for m in monitors], []
        evaluation.evaluate_monitors(ids)  # what is new is made room for once
        for status in statuses:
            for monitor in monitors:
                observe(monitor, status)
            with CaptureQueriesContext(connection) as asked:
                evaluation.evaluate_monitors(ids)
            counts.append(len(asked))
        AlertRule.objects.update(is_active=False)
        return counts

    few = statements([make_monitor("alone")], 1, "up", "down", "down", "up")
    many = [make_monitor(f"m{n}") for n in range(20)]

    assert statements(many, 100, "up", "down", "down", "up") == few
