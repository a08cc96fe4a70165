import re

import pytest

from outbox.models import Attempt, Message, Trigger, message

WEBHOOK = {"name": "Hook", "kind": "webhook", "is_active": "on"}


def act(client, action, *rows, path="/admin/outbox/trigger/"):
    return client.post(
        path,
        {"_selected_action": [r.pk for r in rows], "action": action, "index": 0},
        follow=True,
    )


def text(response):
    assert response.status_code == 200
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def queued(key="one", **more):
    more.setdefault("destination", "ops@example.org")
    values = {"transition": 7}
    Message.queue(
        [message(dedup_key=key, kind="email", renderer="alert", values=values, **more)]
    )
    return Message.objects.get(dedup_key=key)


def test_a_trigger_is_made_from_fields(admin):
    admin.post(
        "/admin/outbox/trigger/add/",
        WEBHOOK | {"webhook__url": "https://hooks.example.com/a41"},
    )

    config = Trigger.objects.get().config
    assert config.pop("secret").startswith("whsec_")
    assert config == {"url": "https://hooks.example.com/a41", "timeout": 10.0}


def test_signing_secret_is_shown_when_asked_for_only(admin, make_trigger):
    trigger = make_trigger(url="https://hooks.example.com/a41")
    secret = trigger.config["secret"]

    page = admin.get(f"/admin/outbox/trigger/{trigger.pk}/change/")
    shown = act(admin, "show_secret", trigger)

    assert secret not in page.content.decode()
    assert secret in shown.content.decode()
    assert "no-store" in shown.headers["Cache-Control"]


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        (WEBHOOK, "webhook__url", "This field is required."),
        (
            WEBHOOK | {"webhook__url": "ftp://x"},
            "webhook__url",
            "Give an address that begins with http:// or https://.",
        ),
        (
            WEBHOOK | {"kind": "email", "email__to": "nobody"},
            "email__to",
            "&#x27;nobody&#x27; is no address.",
        ),
        (
            WEBHOOK | {"kind": "email"},
            "email__to",
            "Give at least one address.",
        ),
    ],
)
def test_what_is_wrong_with_a_trigger_stands_at_its_field(admin, given, field, words):
    page = admin.post("/admin/outbox/trigger/add/", given).content.decode()

    row = page.split(f"field-{field}")[1]
    assert words in row.split("form-row")[0]
    assert not Trigger.objects.exists()


def test_secrets_of_a_trigger_are_on_no_page(admin, make_trigger):
    trigger = make_trigger(url="https://hooks.example.com/services/s3cret")

    pages = [
        admin.get("/admin/outbox/trigger/"),
        admin.get(f"/admin/outbox/trigger/{trigger.pk}/change/"),
        admin.get(f"/admin/outbox/trigger/{trigger.pk}/delete/"),
    ]

    assert "hooks.example.com" in text(pages[0])
    assert not [p for p in pages if "s3cret" in p.content.decode()]


def test_another_kind_does_not_inherit_secrets(admin, make_trigger):
    trigger = make_trigger("email", to=["ops@example.org"])

    page = admin.post(
        f"/admin/outbox/trigger/{trigger.pk}/change/",
        WEBHOOK | {"webhook__url": "***"},
    )

    assert "Give an address that begins with" in text(page)


def test_a_test_is_really_sent_and_its_answer_shown(admin, make_trigger, receiver):
    trigger = make_trigger(url=receiver.url)

    shown = text(act(admin, "send_test", trigger))

    assert receiver.bodies[0]["type"] == "test"
    assert receiver.bodies[0]["trigger"]["name"] == "webhook"
    assert "Sent 200 ok" in shown
    assert not Message.objects.exists()


def test_a_test_that_fails_shows_why(admin, make_trigger, receiver):
    receiver.status = 410

    shown = text(act(admin, "send_test", make_trigger(url=receiver.url)))

    assert "Failed 410 ok" in shown


def test_a_test_by_mail_reaches_the_operators(admin, make_trigger, mailbox):
    act(admin, "send_test", make_trigger("email", to=["ops@example.org"]))

    assert mailbox.mails[0].subject == "Test of email from Tocsin"
    assert mailbox.mails[0].to == ["ops@example.org"]


def test_a_message_shows_values_attempts_and_answers(admin, make_trigger):
    made = queued(topic_key="alert:3")
    at = made.created_at
    Attempt.objects.create(
        message=made,
        number=1,
        started_at=at,
        finished_at=at,
        is_success=False,
        answer="550 mailbox full",
    )

    shown = text(admin.get(f"/admin/outbox/message/{made.pk}/change/"))

    assert "Email to ops@example.org" in shown
    assert "&quot;transition&quot;: 7" in shown
    assert "Failed 550 mailbox full" in shown
    assert "Alert 3" in shown
    assert str(made.key) in shown


def test_messages_are_read_only(admin):
    made = queued()
    page = f"/admin/outbox/message/{made.pk}/"

    assert admin.get("/admin/outbox/message/add/").status_code == 403
    assert admin.post(f"{page}change/", {"state": "FAILED"}).status_code == 403
    assert admin.get(f"{page}delete/").status_code == 403


def test_replay_queues_again_and_says_so(admin):
    made = queued()
    key = made.key
    made.failed("410 Gone", at=made.created_at, final=True)

    shown = text(act(admin, "replay", made, path="/admin/outbox/message/"))

    made.refresh_from_db()
    assert (made.state, made.key) == ("QUEUED", key)
    assert "One message queued again, key unchanged." in shown


def test_messages_are_found_by_topic(admin):
    queued("one", topic_key="incident:7", destination="a@example.org")
    queued("two", topic_key="incident:70", destination="b@example.org")

    shown = text(admin.get("/admin/outbox/message/?q=incident:7"))

    assert "a@example.org" in shown
    assert "b@example.org" not in shown
