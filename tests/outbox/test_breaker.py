"""What holds the messages to one trigger back: it fails, asks for a rest, or a limit."""

from datetime import timedelta

import pytest
from django.utils import timezone

from outbox import delivery, rendering
from outbox.channels import Content
from outbox.models import Attempt, Circuit, Message


@pytest.fixture
def clock(time_machine):
    """Moves time on by so many seconds."""
    time_machine.move_to("2026-11-21T12:00:00Z", tick=True)

    def move(seconds):
        time_machine.move_to(timezone.now() + timedelta(seconds=seconds), tick=True)

    return move


@pytest.fixture
def broken(queue, attempt, receiver, make_trigger, clock):
    """A trigger whose circuit five failures have opened just now."""
    trigger = make_trigger(url=receiver.url)
    receiver.status = 503
    queue(trigger, 5)
    assert attempt() == 5
    receiver.requests.clear()
    return trigger


def test_circuit_opens_after_five_failures_in_a_row(broken, queue, attempt, receiver):
    queue(broken, 20)

    assert attempt() == 0
    assert receiver.requests == []
    circuit = Circuit.objects.get()
    assert circuit.state_at(timezone.now()) == "open"
    assert circuit.last_answer == "503 ok"
    assert Attempt.objects.count() == 5


def test_success_in_between_keeps_the_circuit_closed(
    queue, attempt, receiver, make_trigger, clock
):
    trigger = make_trigger(url=receiver.url)
    for status in (503, 503, 503, 503, 200, 503, 503, 503, 503):
        receiver.status = status
        queue(trigger)
        attempt(a_lane=1)
        Message.objects.waiting().update(due_at=timezone.now() + timedelta(days=1))

    assert Circuit.objects.get().state_at(timezone.now()) == "closed"


@pytest.mark.parametrize("status", [400, 401, 404, 410])
def test_what_is_refused_for_itself_opens_no_circuit(
    status, queue, attempt, receiver, make_trigger
):
    receiver.status = status
    queue(make_trigger(url=receiver.url), 10)

    attempt()

    assert not Circuit.objects.exists()


def test_connection_that_fails_opens_the_circuit(queue, attempt, make_trigger, clock):
    queue(make_trigger(url="http://127.0.0.1:9/"), 6)

    attempt()

    assert Circuit.objects.get().is_open


def test_one_message_is_tried_after_a_pause_that_doubles_to_ten_minutes(
    broken, queue, attempt, receiver, clock
):
    queue(broken, 3)
    pauses = []
    for _ in range(7):
        circuit = Circuit.objects.get()
        pauses.append(circuit.pause)
        clock(circuit.pause - 2)
        assert attempt() == 0
        clock(3)
        assert attempt() == 1

    assert pauses == [30, 60, 120, 240, 480, 600, 600]
    assert len(receiver.requests) == 7


def test_attempts_while_the_circuit_is_open_do_not_count(
    broken, attempt, receiver, clock
):
    for _ in range(3 * Message.MOST_ATTEMPTS):
        clock(Circuit.LONGEST_PAUSE + 1)
        attempt()

    assert len(receiver.requests) == 3 * Message.MOST_ATTEMPTS
    assert Message.objects.waiting().count() == 5
    assert max(m.counted for m in Message.objects.all()) <= 1


def test_success_closes_the_circuit_and_releases_all_at_once(
    broken, queue, attempt, receiver, clock
):
    queue(broken, 20)
    receiver.status = 200
    clock(31)

    assert attempt() == 1
    assert attempt() == 24

    assert not Message.objects.exclude(state="DELIVERED").exists()
    assert Circuit.objects.get().state_at(timezone.now()) == "closed"


def test_refusal_of_the_probe_alone_closes_the_circuit(
    broken, attempt, receiver, clock
):
    receiver.status = 400
    clock(31)

    assert attempt() == 1

    assert Message.objects.given_up().count() == 1
    assert not Circuit.objects.get().is_open


def test_probe_that_is_withdrawn_leaves_the_next_one_to_be_tried(
    broken, attempt, receiver, clock
):
    receiver.status = 200

    def withdraw(made):
        raise rendering.Withdrawn("It is over.")

    rendering.register("hello", withdraw)
    clock(31)
    assert attempt() == 1
    rendering.register("hello", lambda m: Content(values=m.values))

    assert attempt() == 1
    assert not Circuit.objects.get().is_open


def test_probe_of_a_worker_that_died_is_followed_by_another(broken, clock, attempt):
    clock(31)
    assert len(Message.claim_due(at=timezone.now(), a_lane=50)) == 1
    assert attempt() == 0
    assert Circuit.objects.get().state_at(timezone.now()) == "probing"

    clock(61)

    assert attempt() == 1


@pytest.mark.django_db(transaction=True)
def test_race_of_two_workers_for_the_probe(broken, clock, at_once):
    """Exactly one message is claimed, whoever is faster."""
    clock(31)
    claimed = []

    def claim():
        claimed.extend(Message.claim_due(at=timezone.now(), a_lane=50))

    at_once(*[claim] * 4)

    assert len(claimed) == 1
    assert Circuit.objects.get().probe == claimed[0].claim


@pytest.mark.django_db(transaction=True)
def test_race_of_failures_opens_the_circuit_once(
    queue, receiver, make_trigger, at_once, clock
):
    receiver.status = 503
    queue(make_trigger(url=receiver.url), 8)
    taken = Message.claim_due(at=timezone.now(), a_lane=8)
    outcomes = [delivery.deliver(row) for row in taken]

    at_once(*[lambda o=one: delivery.settle([o]) for one in outcomes])

    circuit = Circuit.objects.get()
    assert (circuit.failures, circuit.pause) == (5, 30)
    assert sum(m.excused for m in Message.objects.all()) == 3


def test_message_that_is_late_settled_does_not_prolong_the_pause(
    queue, receiver, make_trigger, clock
):
    receiver.status = 503
    queue(make_trigger(url=receiver.url), 8)
    taken = Message.claim_due(at=timezone.now(), a_lane=8)

    delivery.settle([delivery.deliver(row) for row in taken])

    assert Circuit.objects.get().pause == 30


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_holds_back_the_whole_destination(
    status, queue, attempt, receiver, make_trigger, clock
):
    trigger = make_trigger(url=receiver.url)
    receiver.status, receiver.headers = status, {"Retry-After": "600"}
    queue(trigger)
    attempt()
    receiver.status, receiver.headers = 200, {}
    queue(trigger, 5)

    clock(590)
    assert attempt() == 0
    clock(11)

    assert attempt() == 6
    assert not Message.objects.exclude(state="DELIVERED").exists()


def test_retry_after_is_heeded_for_an_hour_at_most(
    queue, attempt, receiver, make_trigger, clock
):
    receiver.status, receiver.headers = (
        429,
        {"Retry-After": "Wed, 21 Oct 2037 07:28:00 GMT"},
    )
    queue(make_trigger(url=receiver.url))

    attempt()

    asked = Circuit.objects.get().resumes_at - timezone.now()
    assert timedelta(minutes=59) < asked <= timedelta(hours=1)


def test_switched_off_trigger_cancels_what_its_circuit_holds(broken, attempt):
    broken.is_active = False
    broken.save()

    attempt()

    assert {m.state for m in Message.objects.all()} == {"CANCELLED"}


def test_trigger_that_was_mended_is_tried_at_once(broken, attempt, receiver):
    receiver.status = 200
    broken.config = {**broken.config, "url": f"{receiver.url}mended"}
    broken.save()

    assert attempt() == 1
    assert receiver.requests[0][1] == "/mended"


def test_what_fails_for_days_is_given_up_with_its_answer(broken, queue, attempt, clock):
    clock(3 * 86400 + 60)
    queue(broken)

    attempt()
    clock(601)
    attempt()

    assert Message.objects.given_up().count() == 5
    assert Message.objects.waiting().count() == 1
    assert {m.last_answer for m in Message.objects.given_up()} == {"503 ok"}


def test_messages_for_a_broken_trigger_are_not_called_late(broken, queue, clock):
    queue(broken, 3)
    clock(20)

    assert Message.objects.longest_wait(timezone.now()) == 0.0


# The limit of a trigger


@pytest.fixture
def limited(make_trigger, receiver, clock):
    def limited(a_minute):
        trigger = make_trigger(url=receiver.url)
        trigger.most_a_minute = a_minute
        trigger.save()
        return trigger

    return limited


@pytest.mark.parametrize("a_minute", [1, 7, 60, 600])
def test_no_minute_sees_more_than_the_limit(a_minute, limited, queue, attempt, clock):
    queue(limited(a_minute), 2 * a_minute)
    started = timezone.now()
    claimed = []
    while timezone.now() - started < timedelta(seconds=130):
        now = timezone.now()
        claimed += [now for _ in Message.claim_due(at=now, a_lane=100)]
        clock(0.5)

    in_a_minute = [
        sum(1 for other in claimed if at <= other < at + timedelta(seconds=60))
        for at in set(claimed)
    ]
    assert max(in_a_minute) <= a_minute
    assert len(claimed) >= 1.8 * a_minute


def test_held_back_messages_wait_in_order_and_none_is_lost(
    limited, queue, attempt, receiver, clock
):
    queue(limited(60), 12)
    assert attempt() == 2
    assert Attempt.objects.count() == 2
    assert {m.attempts for m in Message.objects.waiting()} == {0}

    for _ in range(20):
        clock(1)
        attempt()

    assert [body["n"] for body in receiver.bodies] == list(range(12))


@pytest.mark.django_db(transaction=True)
def test_race_of_two_workers_for_the_limit(limited, queue, at_once):
    """Workers together keep to the limit, as one would."""
    queue(limited(60), 40)
    now = timezone.now()
    claimed = []

    def claim():
        claimed.extend(Message.claim_due(at=now, a_lane=50))

    at_once(*[claim] * 4)

    assert 1 <= len(claimed) <= 2
    assert len({m.pk for m in claimed}) == len(claimed)
