"""Workers die at the worst moments; nothing is lost, nothing happens twice."""

import os
import random
import signal
import time
from collections import Counter, defaultdict

import pytest
from django.db.models import F
from django.utils import timezone

from alerting.models import Alert, FlapDetection, Transition
from incidents.models import Automation, Incident, State
from monitors.models import CheckResult, Monitor, MonitorState
from outbox.models import Message
from subscriptions.models import FanOut, Subscriber

from .workers import Worker, celery_worker, eventually

KILLS = int(os.environ.get("TOCSIN_KILLS", "5"))
ALERTS = 200


@pytest.fixture
def watched(
    transactional_db, shop, receiver, mailbox, make_monitor, make_rule, make_trigger
):
    """A shop that is down, a rule of one failure, a webhook and a reader."""
    Subscriber.add("reader@example.org", at=timezone.now())
    # Each alert has its own incident and its own mail, however many there are.
    Automation(gathers_storms=False, breaker_a_day=None, group_wait=0).save()
    FlapDetection(is_on=False).save()
    monitor = make_monitor("shop", shop.url)
    Monitor.objects.update(interval=1)
    make_rule(
        monitor,
        failure_threshold=1,
        success_threshold=1,
        triggers=[make_trigger("webhook", url=receiver.url)],
    )
    shop.break_down()
    return {"EMAIL_URL": f"smtp://127.0.0.1:{mailbox.port}"}


def all_is_told():
    return (
        not MonitorState.objects.filter(evaluated_through__lt=F("last_result")).exists()
        and not Transition.objects.filter(announced_at=None).exists()
        and not FanOut.objects.filter(finished_at=None).exists()
        and not Message.objects.waiting().exists()
    )


def keys(receiver):
    return [headers["webhook-id"] for _, _, headers, _ in receiver.requests]


@pytest.mark.parametrize(
    "point",
    ["after recording", "after deciding", "before delivering", "after delivering"],
)
def test_killed_worker_leaves_nothing_undone(point, watched, receiver, mailbox):
    with Worker("tests.dying_worker", point, **watched) as dying:
        dying.start()
        assert dying.wait() == -signal.SIGKILL
    results, keys_before = CheckResult.objects.count(), keys(receiver)
    assert results > 0
    assert (Alert.objects.count(), Incident.objects.count()) == {
        "after recording": (0, 0),
        "after deciding": (1, 0),
        "before delivering": (1, 1),
        "after delivering": (1, 1),
    }[point]

    with celery_worker(**watched) as worker:
        worker.start()
        assert eventually(lambda: Incident.objects.exists() and all_is_told())

    assert Alert.objects.count() == Incident.objects.count() == 1
    assert Message.objects.filter(state="DELIVERED").count() == 2
    told = keys(receiver)
    assert set(keys_before) <= set(told)
    assert set(told) == {str(Message.objects.get(kind="webhook").key)}
    ids = {mail.message["Message-ID"] for mail in mailbox.mails}
    assert len(ids) == 1
    assert str(Message.objects.get(kind="email").key) in ids.pop()


def test_worker_killed_while_the_receiver_thinks_repeats_with_the_same_key(
    watched, receiver
):
    receiver.delay = 60.0
    with celery_worker(**watched) as worker:
        worker.start()
        assert eventually(lambda: receiver.requests)
        worker.kill()
        assert Message.objects.get(kind="webhook").state == Message.State.QUEUED
        receiver.delay = 0
        receiver.released.set()
        worker.start()
        assert eventually(all_is_told)

    assert len(keys(receiver)) >= 2
    assert len(set(keys(receiver))) == 1
    assert Message.objects.get(kind="webhook").state == Message.State.DELIVERED


def test_story_completes_with_the_doorbell_cut(watched, shop, receiver, mailbox):
    # No beat runs and no message of the broker arrives: the worker only sweeps.
    with celery_worker(**watched) as worker:
        worker.start()
        assert eventually(lambda: Incident.objects.open().exists())
        assert eventually(lambda: receiver.bodies and mailbox.mails)
        shop.recover()
        assert eventually(lambda: Incident.objects.resolved().exists())
        assert eventually(lambda: len(mailbox.mails) == 2 and all_is_told())

    assert [b["type"] for b in receiver.bodies] == ["alert.triggered", "alert.resolved"]


@pytest.mark.soak
def test_random_kills_lose_nothing_and_tell_nothing_twice(
    watched, shop, receiver, mailbox, make_monitor, make_rule, make_trigger
):
    chance = random.Random(4711)
    rule = Monitor.objects.get().rules.get()
    more = [make_monitor(f"shop-{n}", shop.url) for n in range(49)]
    Monitor.objects.update(interval=1)
    rule.watch([Monitor.objects.get(tag="shop"), *more])

    with celery_worker(**watched) as worker:
        for _ in range(KILLS):
            worker.start()
            # Long enough for it to come up and begin, short enough to hit it
            # in the middle; where exactly does not matter.
            time.sleep(chance.uniform(2.0, 5.0))
            worker.kill()
            shop.status = 200 if shop.status == 500 else 500
        worker.start()
        while Alert.objects.count() < ALERTS or Alert.objects.triggered().exists():
            shop.break_down()
            assert eventually(lambda: Alert.objects.triggered().count() == 50, 120)
            shop.recover()
            assert eventually(lambda: not Alert.objects.triggered().exists(), 120)
        assert eventually(all_is_told, 120)

    assert_told_exactly_once(receiver, mailbox)


def assert_told_exactly_once(receiver, mailbox):
    # Every alert has one TRIGGERED and one RESOLVED, in turn, and one incident.
    by_alert = defaultdict(list)
    for transition in Transition.objects.order_by("pk"):
        by_alert[transition.alert_id].append(transition.to)
    assert set(map(tuple, by_alert.values())) == {("TRIGGERED", "RESOLVED")}
    assert Incident.objects.count() == Alert.objects.count()
    assert set(Incident.objects.values_list("state", flat=True)) == {State.RESOLVED}
    for incident in Incident.objects.all():
        assert incident.updates.count() == 2
        assert incident.impacts.get().ended_at == incident.ended_at

    # Every message row exists once and was delivered; what arrived, arrived
    # under its key, however often.
    transitions = Transition.objects.count()
    for kind, arrived in (
        ("webhook", keys(receiver)),
        ("email", [m.message["Message-ID"] for m in mailbox.mails]),
    ):
        rows = Message.objects.filter(kind=kind)
        assert Counter(rows.values_list("state", flat=True)) == {
            "DELIVERED": transitions
        }
        assert len(set(arrived)) == transitions
