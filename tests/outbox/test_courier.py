"""Many at a time: what is slow holds up nothing else, and a crash loses nothing."""

from datetime import timedelta

import pytest
from django.utils import timezone

from outbox import delivery
from outbox.models import Attempt, Message
from tests.servers import WebServer
from tests.workers import eventually

# Threads of their own write what they have sent.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def courier(transactional_db):
    made = delivery.Courier()
    yield made
    assert made.wait_idle(60)


@pytest.fixture
def hanging():
    """A receiver that answers nothing until it is released."""
    server = WebServer()
    server.delay = 60.0
    yield server
    server.close()


def delivered(trigger):
    return Message.objects.filter(trigger=trigger, state="DELIVERED")


def test_a_dozen_hanging_lanes_hold_up_no_other(
    queue, courier, hanging, receiver, make_trigger
):
    slow = [make_trigger(name=f"slow {n}", url=hanging.url) for n in range(12)]
    quick = make_trigger(name="quick", url=receiver.url)
    for trigger in slow:
        queue(trigger, 40)
    courier.look()
    assert eventually(lambda: len(hanging.requests) >= 12)

    queue(quick, 100)
    courier.look()

    assert eventually(lambda: delivered(quick).count() == 100, 30)
    assert not Message.objects.filter(trigger__in=slow, state="DELIVERED").exists()
    Message.objects.filter(trigger__in=slow).update(state="CANCELLED")
    hanging.released.set()


def test_one_lane_has_four_threads_at_the_most(queue, courier, hanging, make_trigger):
    trigger = make_trigger(url=hanging.url)
    queue(trigger, 40)

    assert courier.look() == 4
    assert courier.look() == 0

    assert Message.objects.filter(attempts=0).count() == 36
    Message.objects.filter(attempts=0).update(state="CANCELLED")
    hanging.released.set()


def test_lane_of_a_quick_receiver_is_emptied_in_order_of_its_topics(
    queue, courier, receiver, make_trigger
):
    trigger = make_trigger(url=receiver.url)
    for topic in range(5):
        queue(trigger, 6, topic_key=f"alert:{topic}", recipient_key="trigger:1")

    courier.look()

    assert eventually(lambda: delivered(trigger).count() == 30)
    said = [body["n"] for body in receiver.bodies]
    for topic in range(5):
        mine = [n for n in said if n // 6 == topic]
        assert mine == sorted(mine)
    assert Attempt.objects.filter(is_success=True).count() == 30


def test_what_was_claimed_ahead_is_given_back_when_the_lane_fails(
    queue, courier, receiver, make_trigger
):
    trigger = make_trigger(url=receiver.url)
    queue(trigger, 8)
    courier.look()
    assert eventually(lambda: delivered(trigger).count() == 8)
    receiver.status = 503
    queue(trigger, 60)

    courier.look()
    assert courier.wait_idle(30)

    failed = Attempt.objects.filter(is_success=False).count()
    assert 5 <= failed <= 5 + delivery.A_LANE
    waiting = Message.objects.waiting()
    assert waiting.count() == 60
    assert not waiting.exclude(claim=None).exists()
    assert sum(m.attempts for m in waiting) == failed


def test_crash_before_settling_repeats_under_the_same_key(
    queue, receiver, make_trigger
):
    queue(make_trigger(url=receiver.url), 3)
    for row in Message.claim_due(at=timezone.now(), a_lane=3):
        delivery.deliver(row)  # and then the worker dies

    later = timezone.now() + timedelta(seconds=61)
    outcomes = [delivery.deliver(r) for r in Message.claim_due(at=later, a_lane=3)]
    delivery.settle(outcomes)

    keys = [headers["webhook-id"] for _, _, headers, _ in receiver.requests]
    assert sorted(keys[:3]) == sorted(keys[3:])
    assert Message.objects.filter(state="DELIVERED", attempts=2).count() == 3


def test_outcomes_in_any_order_settle_each_message_once(
    queue, receiver, make_trigger, at_once
):
    """The race of two threads that write down the same attempts."""
    queue(make_trigger(url=receiver.url), 20)
    taken = Message.claim_due(at=timezone.now(), a_lane=20)
    outcomes = [delivery.deliver(row) for row in taken]

    at_once(
        lambda: delivery.settle(outcomes),
        lambda: delivery.settle(outcomes[::-1]),
    )

    assert Message.objects.filter(state="DELIVERED").count() == 20
    assert Attempt.objects.count() == 20


def test_one_outcome_that_cannot_be_noted_spoils_no_other(
    queue, receiver, make_trigger
):
    queue(make_trigger(url=receiver.url), 3)
    taken = Message.claim_due(at=timezone.now(), a_lane=3)
    outcomes = [delivery.deliver(row) for row in taken]
    outcomes[1].request = {"not": {"JSON": object()}}

    delivery.settle(outcomes)

    states = list(Message.objects.order_by("pk").values_list("state", flat=True))
    assert states == ["DELIVERED", "QUEUED", "DELIVERED"]


def test_edited_trigger_takes_effect_with_the_next_message(
    queue, courier, receiver, make_trigger
):
    trigger = make_trigger(url=f"{receiver.url}old")
    queue(trigger)
    courier.look()
    assert eventually(lambda: delivered(trigger).count() == 1)

    trigger.config = {**trigger.config, "url": f"{receiver.url}new"}
    trigger.save()
    queue(trigger)
    courier.look()
    assert eventually(lambda: delivered(trigger).count() == 2)

    assert [path for _, path, _, _ in receiver.requests] == ["/old", "/new"]


def test_what_was_claimed_long_ago_is_looked_at_again(queue, receiver, make_trigger):
    trigger = make_trigger(url=f"{receiver.url}old")
    queue(trigger)
    at = timezone.now() - timedelta(seconds=5)
    Message.objects.update(due_at=at)
    (row,) = Message.claim_due(at=at, a_lane=1)
    trigger.config = {**trigger.config, "url": f"{receiver.url}new"}
    trigger.save()

    delivery.settle([delivery.deliver(row)])

    assert receiver.requests[0][1] == "/new"


def test_what_was_claimed_too_long_ago_is_left_to_others(queue, receiver, make_trigger):
    queue(make_trigger(url=receiver.url))
    at = timezone.now() - timedelta(seconds=40)
    Message.objects.update(due_at=at)
    (row,) = Message.claim_due(at=at, a_lane=1)

    delivery.settle([delivery.deliver(row)])

    assert receiver.requests == []
    row.refresh_from_db()
    assert (row.state, row.attempts, row.claim) == ("QUEUED", 0, None)


def test_deleted_trigger_is_no_obstacle_to_settling(queue, receiver, make_trigger):
    receiver.status = 503
    trigger = make_trigger(url=receiver.url)
    queue(trigger, 2)
    taken = Message.claim_due(at=timezone.now(), a_lane=2)
    outcomes = [delivery.deliver(row) for row in taken]
    trigger.delete()

    delivery.settle(outcomes)

    assert {m.claim for m in Message.objects.all()} == {None}


def test_second_message_of_a_topic_knows_what_the_first_is_called(
    queue, make_trigger, receiver
):
    trigger = make_trigger(url=receiver.url)
    about = {"topic_key": "alert:7", "recipient_key": "trigger:1"}
    queue(trigger, 3, **about)
    first, second, third = Message.objects.order_by("pk")
    first.state, first.reference = "DELIVERED", "ts-1"
    first.save()
    second.state, second.reference = "DELIVERED", "ts-2"
    second.save()
    other = make_trigger(name="other", url=receiver.url)
    queue(other, topic_key="alert:7")

    assert third.thread() == "ts-1"
    assert Message.objects.get(trigger=other).thread() == ""


def test_reference_of_an_answer_is_kept(queue, receiver, make_trigger):
    queue(make_trigger(url=receiver.url))
    (row,) = Message.claim_due(at=timezone.now(), a_lane=1)
    outcome = delivery.deliver(row)
    outcome.reference = "ts-1"

    delivery.settle([outcome])

    row.refresh_from_db()
    assert row.reference == "ts-1"


@pytest.fixture
def keeping():
    """A receiver that keeps the connections it is asked over."""
    server = WebServer()
    server._server.RequestHandlerClass.protocol_version = "HTTP/1.1"
    yield server
    server.close()


def test_lane_that_fails_over_kept_connections_delays_no_other_and_opens_its_circuit(
    queue, courier, keeping, receiver, make_trigger
):
    failing = make_trigger(name="failing", url=keeping.url)
    quick = make_trigger(name="quick", url=receiver.url)
    queue(failing, 8)
    courier.look()
    assert eventually(lambda: delivered(failing).count() == 8)
    keeping.status = 503
    queue(failing, 40)
    queue(quick, 40)

    courier.look()
    assert eventually(lambda: delivered(quick).count() == 40)
    assert courier.wait_idle(30)

    failed = Attempt.objects.filter(message__trigger=failing, is_success=False).count()
    assert 5 <= failed <= 5 + delivery.A_LANE
    # None was asked once more behind the log's back.
    assert len(keeping.requests) == 8 + failed


def test_limit_of_a_trigger_is_kept_over_kept_connections(
    queue, courier, keeping, make_trigger
):
    trigger = make_trigger(url=keeping.url)
    trigger.most_a_minute = 60
    trigger.save()
    queue(trigger, 20)
    began = timezone.now()

    for _ in range(3):
        courier.look()
        assert courier.wait_idle(30)

    took = (timezone.now() - began).total_seconds()
    assert 2 <= len(keeping.requests) <= 3 + took
    Message.objects.waiting().update(state="CANCELLED")
