from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from standardwebhooks import Webhook

from outbox import delivery, rendering, tasks
from outbox.channels import Content
from outbox.models import Attempt, Message, Trigger, cancel, forget, message
from tests.servers import WebServer
from tests.workers import eventually

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def queue(db, _say_hello):
    def queue(trigger=None, number=1, values=None, **more):
        more.setdefault("kind", trigger.kind if trigger else "email")
        row = message(
            dedup_key=f"hello:{trigger and trigger.pk}:{number}",
            renderer="hello",
            values=values or {"text": 'quotes " and\nnewlines <b>'},
            trigger=trigger,
            **more,
        )
        Message.queue([row])
        return Message.objects.get(dedup_key=row.dedup_key)

    return queue


@pytest.mark.django_db
def test_webhook_carries_the_values_under_its_key_and_signature(
    queue, attempt, receiver, make_trigger
):
    row = queue(make_trigger("webhook", url=receiver.url, secret=SECRET))

    attempt()

    ((method, _, headers, body),) = receiver.requests
    assert method == "POST"
    assert headers["Content-Type"] == "application/json"
    assert headers["Idempotency-Key"] == headers["webhook-id"] == str(row.key)
    assert Webhook(SECRET).verify(body, dict(headers)) == row.values
    row.refresh_from_db()
    assert (row.state, row.attempts, row.last_answer) == ("DELIVERED", 1, "200 ok")
    assert Attempt.objects.get().is_success


@pytest.mark.django_db
def test_webhook_without_a_given_secret_is_signed_with_one_of_its_own(
    queue, attempt, receiver, make_trigger
):
    trigger = make_trigger("webhook", url=receiver.url)
    row = queue(trigger)

    attempt()

    secret = Trigger.objects.get().config["secret"]
    _, _, headers, body = receiver.requests[0]
    assert headers["webhook-timestamp"].isdigit()
    assert Webhook(secret).verify(body, dict(headers)) == row.values
    assert (
        secret != make_trigger("webhook", "another", url=receiver.url).config["secret"]
    )


@pytest.mark.django_db
def test_failed_delivery_backs_off_and_keeps_its_key(
    queue, attempt, receiver, make_trigger
):
    row = queue(make_trigger("webhook", url=receiver.url))
    receiver.status = 503
    now = timezone.now()

    assert attempt(now) == 1
    assert attempt(now) == 0
    row.refresh_from_db()
    assert (row.state, row.attempts) == ("QUEUED", 1)
    assert row.due_at > now
    receiver.status = 200
    assert attempt(row.due_at) == 1

    row.refresh_from_db()
    assert (row.state, row.attempts) == ("DELIVERED", 2)
    assert {headers["webhook-id"] for _, _, headers, _ in receiver.requests} == {
        str(row.key)
    }
    assert [a.answer for a in row.log.all()] == ["503 ok", "200 ok"]


@pytest.mark.django_db
def test_message_is_given_up_after_the_last_attempt_and_can_be_replayed(
    queue, attempt, receiver, make_trigger
):
    row = queue(make_trigger("webhook", url=receiver.url))
    receiver.status = 404
    for _ in range(Message.MOST_ATTEMPTS):
        row.refresh_from_db()
        attempt(row.due_at + timedelta(hours=2))

    row.refresh_from_db()
    assert (row.state, row.attempts) == ("FAILED", Message.MOST_ATTEMPTS)
    assert attempt(timezone.now() + timedelta(days=9)) == 0

    receiver.status = 200
    assert row.replay(at=timezone.now())
    attempt()
    row.refresh_from_db()
    assert row.state == "DELIVERED"
    assert len({h["webhook-id"] for _, _, h, _ in receiver.requests}) == 1


@pytest.mark.django_db
@pytest.mark.parametrize("status", [400, 410, 413, 422])
def test_answer_that_will_not_change_is_final(
    status, queue, attempt, receiver, make_trigger
):
    row = queue(make_trigger("webhook", url=receiver.url))
    receiver.status, receiver.headers = status, {"Location": receiver.url}

    attempt()

    row.refresh_from_db()
    assert (row.state, row.attempts) == ("FAILED", 1)
    assert len(receiver.requests) == 1


@pytest.mark.django_db
def test_retry_after_is_heeded(queue, attempt, receiver, make_trigger):
    row = queue(make_trigger("webhook", url=receiver.url))
    receiver.status, receiver.headers = 429, {"Retry-After": "600"}
    now = timezone.now()

    attempt(now)

    row.refresh_from_db()
    assert row.due_at >= now + timedelta(seconds=600)


@pytest.mark.django_db
def test_queued_twice_is_sent_once(queue, attempt, receiver, make_trigger):
    trigger = make_trigger("webhook", url=receiver.url)
    queue(trigger)
    queue(trigger)

    attempt()

    assert len(receiver.requests) == 1
    assert Message.objects.count() == 1


@pytest.mark.django_db
def test_what_one_recipient_hears_of_one_topic_stays_in_order(
    queue, attempt, receiver, make_trigger
):
    trigger = make_trigger("webhook", url=receiver.url)
    about = {"topic_key": "alert:1", "recipient_key": "trigger:1"}
    queue(trigger, 1, {"said": "begun"}, **about)
    receiver.status = 503
    now = timezone.now()
    attempt(now)
    receiver.status = 200
    queue(trigger, 2, {"said": "over"}, **about)
    queue(
        trigger, 3, {"said": "another"}, topic_key="alert:2", recipient_key="trigger:1"
    )

    for hours in (0, 1, 2):
        attempt(now + timedelta(seconds=1, hours=hours))

    said = [body["said"] for body in receiver.bodies]
    assert said == ["begun", "another", "begun", "over"]


@pytest.mark.django_db
def test_worker_that_lost_its_lease_cannot_settle_a_message(
    queue, receiver, make_trigger
):
    queue(make_trigger("webhook", url=receiver.url))
    now = timezone.now()
    (slow,) = Message.claim_due(at=now, a_lane=9)
    later = now + timedelta(hours=1)
    (quick,) = Message.claim_due(at=later, a_lane=9)

    assert quick.delivered("200", at=later) is True
    assert slow.failed("no answer", at=later) is False
    assert Message.objects.get().state == "DELIVERED"


@pytest.mark.django_db
def test_cancelled_while_being_attempted_stays_cancelled(queue, make_trigger, receiver):
    row = queue(make_trigger("webhook", url=receiver.url), topic_key="incident:1")
    (mine,) = Message.claim_due(at=timezone.now(), a_lane=9)

    assert cancel(topic_key="incident:1", reason="It was deleted.") == 1

    assert mine.delivered("200", at=timezone.now()) is False
    row.refresh_from_db()
    assert (row.state, row.last_answer) == ("CANCELLED", "It was deleted.")


@pytest.mark.django_db
def test_bug_in_a_renderer_keeps_the_message_for_later(
    queue, attempt, receiver, make_trigger
):
    row = queue(make_trigger("webhook", url=receiver.url))

    def explode(message):
        raise KeyError("a bug")

    rendering.register("hello", explode)
    attempt()

    row.refresh_from_db()
    assert row.state == "QUEUED"
    assert "a bug" in row.last_answer


@pytest.mark.django_db
def test_trigger_switched_off_or_deleted_cancels(
    queue, attempt, receiver, make_trigger
):
    off = make_trigger("webhook", name="off", url=receiver.url)
    gone = make_trigger("webhook", name="gone", url=receiver.url)
    first, second = queue(off), queue(gone)
    off.is_active = False
    off.save()
    gone.delete()

    attempt()

    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.state, second.state) == ("CANCELLED", "CANCELLED")
    assert receiver.requests == []


@pytest.mark.django_db
def test_refused_recipient_is_final_and_a_busy_server_is_not(queue, attempt, mailbox):
    mailbox.answer = "550 no such mailbox"
    first = queue(number=1, destination="gone@example.org")
    attempt()
    mailbox.answer = "451 try again later"
    second = queue(number=2, destination="busy@example.org")
    attempt()

    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.state, first.last_answer) == ("FAILED", "550 no such mailbox")
    assert (second.state, second.last_answer) == ("QUEUED", "451 try again later")


@pytest.mark.django_db
def test_mail_keeps_its_message_id_and_takes_no_header_from_a_subject(
    queue, attempt, mailbox
):
    rendering.register(
        "hello",
        lambda m: Content(subject="Down\r\nBcc: spy@example.org", text="Hello"),
    )
    row = queue(destination="reader@example.org")

    attempt()

    (mail,) = mailbox.mails
    assert mail.to == ["reader@example.org"]
    assert mail.subject == "Down Bcc: spy@example.org"
    assert mail.message["Message-ID"].startswith(f"<{row.key}@")


@pytest.mark.django_db(transaction=True)
def test_slow_receiver_holds_up_no_other(queue, receiver, make_trigger, clockwork):
    slow = WebServer()
    slow.delay = 60.0
    try:
        hanging = make_trigger("webhook", name="slow", url=slow.url)
        for n in range(40):
            queue(hanging, number=n)
        row = queue(make_trigger("webhook", name="quick", url=receiver.url))

        courier = delivery.Courier()
        courier.look()

        delivered = Message.objects.filter(pk=row.pk, state="DELIVERED")
        assert eventually(delivered.exists, 20)
        assert (
            not Message.objects.filter(trigger=hanging).exclude(state="QUEUED").exists()
        )
    finally:
        slow.close()
        assert courier.wait_idle(60)


def test_waits_grow_and_stay_within_an_hour():
    waits = [Message.wait(n) for n in range(1, 40)]

    assert 2.5 <= waits[0] <= 5
    assert all(0 < wait <= 3600 for wait in waits)
    assert waits[20] >= 1800


@pytest.mark.django_db
@pytest.mark.parametrize("status", [301, 401, 403, 404, 408, 429, 500, 503])
def test_answer_of_a_receiver_in_deployment_is_not_final(
    status, queue, attempt, receiver, make_trigger
):
    row = queue(make_trigger("webhook", url=receiver.url))
    receiver.status, receiver.headers = status, {"Location": receiver.url}

    attempt()

    row.refresh_from_db()
    assert (row.state, row.attempts) == ("QUEUED", 1)
    assert len(receiver.requests) == 1


@pytest.mark.django_db
def test_secret_that_cannot_be_decrypted_fails_its_own_message_only(
    queue, attempt, receiver, make_trigger
):
    bad, good = (make_trigger("webhook", n, url=receiver.url) for n in ("bad", "good"))
    first, second = queue(bad), queue(good)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE outbox_trigger SET config='x' WHERE id=%s", [bad.pk])

    attempt()

    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.state, second.state) == ("QUEUED", "DELIVERED")
    assert "ENCRYPTION_KEYS" in first.last_answer


@pytest.mark.django_db
def test_answer_may_hold_anything(queue, attempt, receiver, make_trigger):
    row = queue(make_trigger("webhook", url=receiver.url))
    receiver.body = b"ok\x00\xff<script>"

    attempt()

    row.refresh_from_db()
    assert row.state == "DELIVERED"
    assert "\x00" not in row.last_answer


@pytest.mark.django_db
def test_address_of_a_webhook_is_in_no_answer(queue, attempt, make_trigger):
    row = queue(make_trigger("webhook", url="http://255.255.255.255/services/SECRET"))

    attempt()

    row.refresh_from_db()
    assert row.last_answer
    assert "SECRET" not in row.last_answer + row.log.get().answer


@pytest.mark.django_db
def test_refused_sender_is_our_fault_and_not_final(queue, attempt, mailbox):
    mailbox.answer_to_sender = "550 you are not allowed to send"
    row = queue(destination="reader@example.org")

    attempt()

    row.refresh_from_db()
    assert row.state == "QUEUED"


@pytest.mark.django_db
def test_settled_messages_are_pruned_after_their_retention(
    queue, attempt, receiver, make_trigger
):
    trigger = make_trigger("webhook", url=receiver.url)
    old, fresh = queue(trigger, 1), queue(trigger, 2)
    attempt()
    waiting = queue(trigger, 3)
    long_ago = timezone.now() - timedelta(days=91)
    Message.objects.filter(pk=old.pk).update(finished_at=long_ago)

    tasks.prune.run()

    assert set(Message.objects.all()) == {fresh, waiting}
    assert Attempt.objects.count() == 1


@pytest.mark.django_db
def test_forgotten_address_stands_nowhere(queue, attempt, mailbox):
    queue(destination="reader@example.org", recipient_key="subscriber:1")
    attempt()

    forget(["subscriber:1"])

    row = Message.objects.get()
    assert "reader" not in row.destination + row.last_answer + row.log.get().answer
