"""The check of Tocsin itself."""

import threading
from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone

from alerting.models import Alert, Transition
from egress.kinds import ConfigInvalid
from monitors import gauges, vitals
from monitors.checkers.tocsin import LIMITS, TocsinChecker
from monitors.instants import whole
from monitors.models import EngineMinute, MonitorState
from monitors.runners import Runners
from monitors.sketches import Sketch
from outbox.models import Message, message

MINUTE = timedelta(minutes=1)


def be_late(milliseconds, checks=20):
    EngineMinute.objects.create(
        worker="a:1",
        at=vitals.whole_until(timezone.now()) - MINUTE,
        checks=checks,
        lateness=Sketch([milliseconds] * checks).to_bytes(),
    )


def leave_unsent(seconds):
    due = timezone.now() - timedelta(seconds=seconds)
    made = message(dedup_key="1", kind="email", renderer="alert", values={}, due_at=due)
    Message.objects.bulk_create([made])


@pytest.fixture
def leave_unannounced(make_monitor, make_rule, triggered):
    def leave(seconds):
        monitor = make_monitor("failing")
        MonitorState.objects.update(due_at=None)
        triggered(make_rule(monitor), monitor)
        due = timezone.now() - timedelta(seconds=seconds)
        Transition.objects.update(due_at=due)

    return leave


@pytest.fixture
def leave_due(make_monitor):
    def leave(seconds):
        make_monitor("waiting")
        due = whole(timezone.now()) - timedelta(seconds=seconds)
        MonitorState.objects.update(due_at=due)

    return leave


@pytest.mark.django_db
def test_up_while_nothing_waits():
    outcome = TocsinChecker().run()

    assert (outcome.status, outcome.latency_ms, outcome.error) == ("up", None, "")


@pytest.mark.django_db
def test_latency_is_how_late_checks_start():
    be_late(990.0)

    outcome = TocsinChecker().run()

    assert (outcome.status, outcome.error) == ("up", "")
    assert outcome.latency_ms == pytest.approx(990, rel=0.02)


@pytest.mark.django_db
def test_down_when_checks_start_late():
    be_late(4000.0)

    outcome = TocsinChecker(lateness_p95_ms=500.0).run()

    value = outcome.latency_ms
    assert outcome.status == "down"
    assert outcome.error == (
        f"Lateness of checks, p95: {value:,.0f} ms, "
        f"{value - 500:,.0f} ms over its limit of 500 ms"
    )


@pytest.mark.django_db
def test_a_few_late_checks_are_no_judgement():
    be_late(4000.0, checks=19)

    outcome = TocsinChecker().run()

    assert outcome.status == "up"
    assert outcome.latency_ms > 3900


@pytest.mark.parametrize(
    ("leave", "limit", "label"),
    [
        ("leave_due", "oldest_due_monitor_seconds", "Oldest due monitor"),
        (
            "leave_unannounced",
            "oldest_unannounced_transition_seconds",
            "Oldest unannounced transition",
        ),
    ],
)
def test_down_when_something_waits_too_long(request, leave, limit, label):
    request.getfixturevalue(leave)(60)

    assert TocsinChecker(**{limit: 70.0}).run().status == "up"
    outcome = TocsinChecker(**{limit: 20.0}).run()

    assert outcome.status == "down"
    assert outcome.error.startswith(f"{label}: 60")
    assert outcome.error.endswith("s over its limit of 20 s")


@pytest.mark.django_db
def test_every_gauge_that_is_over_is_named(leave_due):
    leave_due(100)
    leave_unsent(400)

    outcome = TocsinChecker().run()

    due, unsent = outcome.error.split("; ")
    assert due.startswith("Oldest due monitor: 100 s, 70 s over its limit of 30 s")
    assert unsent.startswith("Oldest unsent message: 400 s, 100 s over")


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"lateness_p95_ms": 0.0}, "lateness_p95_ms"),
        ({"oldest_due_monitor_seconds": -1.0}, "oldest_due_monitor_seconds"),
        ({"timeout": 61.0}, "timeout"),
        ({"timeout": 0.0}, "timeout"),
    ],
)
def test_limit_that_nothing_keeps_is_refused(config, field):
    with pytest.raises(ConfigInvalid) as refused:
        TocsinChecker(**config)

    assert list(refused.value.errors) == [field]


def test_limits_are_what_the_gauges_are_called():
    assert [gauges.find(name).label for name in LIMITS] == [
        "Lateness of checks, p95",
        "Oldest due monitor",
        "Oldest unannounced transition",
        "Oldest unsent message",
    ]


@pytest.mark.django_db(transaction=True)
def test_thread_of_the_check_keeps_no_connection(make_monitor):
    monitor = make_monitor("self", config={"timeout": 5.0}, kind="tocsin")
    answered, left = threading.Event(), []

    def hear(outcome):
        left.append((outcome.status, connections["default"].connection))
        answered.set()

    Runners().submit("tocsin", monitor.checker, "self", hear)

    assert answered.wait(10)
    assert left == [("up", None)]


def test_ordinary_rule_tells_that_tocsin_does_not_keep_up(
    clockwork, make_monitor, make_rule
):
    watch = make_monitor(
        "self", config={"timeout": 5.0}, kind="tocsin", name="Tocsin engine"
    )
    make_rule(watch, failure_threshold=2, success_threshold=1, create_incident=False)
    leave_unsent(4000)

    clockwork.run_checks()
    assert not Alert.objects.exists()
    clockwork.run_checks()

    alert = Alert.objects.get()
    assert alert.error.startswith("Oldest unsent message: 4,00")
    Message.objects.all().delete()
    clockwork.run_checks()
    alert.refresh_from_db()
    assert alert.state == Alert.State.RESOLVED


def test_kind_is_offered_by_the_api(api):
    given = {"tag": "self", "name": "Self", "kind": "tocsin", "config": {}}

    answer = api.post("/api/v1/monitors/", given)

    assert answer.status_code == 201
    assert answer.json()["config"] == {
        "lateness_p95_ms": 1000.0,
        "oldest_due_monitor_seconds": 30.0,
        "oldest_unannounced_transition_seconds": 30.0,
        "oldest_unsent_message_seconds": 300.0,
        "timeout": 10.0,
    }
    assert api.post("/api/v1/monitors/self/check/").json()["status"] == "up"


@pytest.mark.django_db(transaction=True)
def test_check_now_asks_on_a_thread_of_its_own(admin, make_monitor):
    monitor = make_monitor("self", config={"timeout": 5.0}, kind="tocsin")
    leave_unsent(400)

    answer = admin.post(
        "/admin/monitors/monitor/",
        {"_selected_action": monitor.pk, "action": "check_now", "index": 0},
    )

    assert "Oldest unsent message: 400 s" in answer.content.decode()
