"""What the log keeps of each attempt, and that no secret is in it."""

import json

import pytest
from django.utils import timezone

from egress.client import Request
from outbox import delivery, rendering
from outbox.channels import Content, Envelope
from outbox.models import Attempt, Message, forget, message

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def send(db):
    """Deliver one message with these values; return the request as it was logged."""

    def send(trigger=None, values=None, **more):
        rendering.register(
            "hello", lambda m: Content(subject="Hi\nthere", text="t", values=m.values)
        )
        made = message(
            dedup_key=f"hello:{Message.objects.count()}",
            renderer="hello",
            kind=trigger.kind if trigger else "email",
            values=values or {"text": "Hello"},
            trigger=trigger,
            **more,
        )
        Message.queue([made])
        for row in Message.claim_due(at=timezone.now(), a_lane=9):
            delivery.settle([delivery.deliver(row)])
        return Attempt.objects.latest("pk").request

    return send


def test_request_is_logged_without_address_and_secrets(send, make_trigger, receiver):
    url = f"{receiver.url}services/T0/path-secret?key=query-secret"
    trigger = make_trigger(url=url, secret=SECRET)

    asked = send(trigger, {"text": f"leaks {SECRET} and {url}"})

    assert asked["method"] == "POST"
    assert asked["url"] == f"{receiver.url}***"
    assert asked["headers"]["webhook-signature"] == "***"
    assert asked["body"] == '{"text":"leaks *** and ***"}'
    logged = json.dumps(asked)
    assert not [s for s in (SECRET, "path-secret", "query-secret") if s in logged]


def test_failed_attempt_is_logged_with_its_request(send, make_trigger, receiver):
    receiver.status = 503

    asked = send(make_trigger(url=receiver.url))

    assert asked["body"] == '{"text":"Hello"}'
    assert Attempt.objects.get().answer == "503 ok"


def test_body_is_cut_at_two_kib_and_no_secret_with_it(send, make_trigger, receiver):
    for shift in range(0, 60, 5):
        text = "x" * (2048 - 60 + shift) + SECRET + "y" * 3000

        body = send(
            make_trigger(name=f"hook {shift}", url=receiver.url, secret=SECRET),
            {"text": text},
        )["body"]

        assert len(body) <= 2048
        assert "whsec_" not in body


def test_password_in_a_body_is_masked_though_nobody_knows_it(
    send, make_trigger, receiver
):
    asked = send(make_trigger(url=receiver.url), {"password": "hunter2", "n": 1})

    assert json.loads(asked["body"]) == {"password": "***", "n": 1}


def test_secret_that_is_said_back_is_in_no_answer(send, make_trigger, receiver):
    receiver.body = f"no such hook {SECRET}".encode()

    send(make_trigger(url=receiver.url, secret=SECRET))

    assert Attempt.objects.get().answer == "200 no such hook ***"
    assert Message.objects.get().last_answer == "200 no such hook ***"


def test_log_may_hold_anything_a_channel_sends(make_trigger):
    trigger = make_trigger(url="http://127.0.0.1:9/")
    built = delivery.Built("", "webhook", trigger.channel)
    now = timezone.now()
    envelope = Envelope(key="1", destination="", created_at=now, attempted_at=now)
    sent = Request(
        url="http://u:p@x:1/a?b=\x00", headers={"a": "b\x00"}, body=b"\x00\xff"
    )

    shown = delivery.shown_request(built, Content(), envelope, sent)

    assert shown == {
        "method": "GET",
        "url": "http://x:1/a?b=",
        "headers": {"a": "b"},
        "body": "\ufffd",
    }


def test_of_a_mail_the_log_has_whom_and_what_about(send, mailbox):
    asked = send(destination="reader@example.org")

    assert asked == {"to": "reader@example.org", "subject": "Hi there"}


def test_request_of_a_forgotten_message_is_emptied(send, mailbox):
    send(destination="reader@example.org", recipient_key="subscriber:1")

    forget(["subscriber:1"])

    assert Attempt.objects.get().request == {}
