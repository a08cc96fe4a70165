import re

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.utils import timezone

from outbox.models import Attempt, Circuit, Message, Trigger, message

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
    assert config == {
        "url": "https://hooks.example.com/a41",
        "method": "POST",
        "headers": {},
        "body": "",
        "timeout": 10.0,
    }


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

    told = [(body["type"], body["is_test"]) for body in receiver.bodies]
    assert told == [("alert.triggered", True), ("alert.resolved", True)]
    assert "TRIGGERED Sent 200 ok" in shown
    assert "RESOLVED Sent 200 ok" in shown
    assert not Message.objects.exists()


def test_a_test_that_fails_shows_why(admin, make_trigger, receiver):
    receiver.status = 410

    shown = text(act(admin, "send_test", make_trigger(url=receiver.url)))

    assert "Failed 410 ok" in shown


def test_a_test_by_mail_reaches_the_operators(admin, make_trigger, mailbox):
    act(admin, "send_test", make_trigger("email", to=["ops@example.org"]))

    assert [mail.subject for mail in mailbox.mails] == [
        "Test: WARNING: Web Shop STATUS: DOWN",
        "Test: Resolved: Web Shop STATUS: DOWN",
    ]
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

    assert "E-mail to ops@example.org" in shown
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


def broken(make_trigger, n=3):
    """A trigger that fails, and n messages that wait for it."""
    trigger = make_trigger(name="Slack ops", url="http://127.0.0.1:9/")
    for i in range(n):
        queued(f"waits {i}", trigger=trigger, destination="")
    now = timezone.now()
    for _ in range(Circuit.MOST_FAILURES):
        Circuit.failed(trigger.pk, "503 away", claim=None, at=now)
    return trigger


def test_trigger_that_fails_says_since_when_and_is_tried_when_asked(
    admin, make_trigger
):
    trigger = broken(make_trigger)
    page = f"/admin/outbox/trigger/{trigger.pk}/change/"

    assert "Failing since" in text(admin.get("/admin/outbox/trigger/"))
    shown = text(admin.get(page))
    assert "Three messages" in shown
    assert "503 away" in shown
    assert "Try now" in shown
    said = text(act(admin, "try_now", trigger))

    assert "One trigger tried now." in said
    assert Circuit.objects.get().resumes_at <= timezone.now()


def test_trigger_that_answers_has_no_button_to_try_it(admin, make_trigger):
    trigger = make_trigger(url="http://127.0.0.1:9/")

    shown = text(admin.get(f"/admin/outbox/trigger/{trigger.pk}/change/"))

    assert "Try now" not in shown
    assert "At most … a minute" in shown


def test_limit_of_a_trigger_is_set_by_its_field(admin):
    limit = {"webhook__url": "https://hooks.example.com/a", "most_a_minute": "30"}

    admin.post("/admin/outbox/trigger/add/", WEBHOOK | limit)

    assert Trigger.objects.get().most_a_minute == 30


def test_message_shows_what_was_asked(admin):
    made = queued()
    Attempt.objects.create(
        message=made,
        number=1,
        started_at=made.created_at,
        finished_at=made.created_at,
        is_success=True,
        answer="200 ok",
        request={
            "method": "POST",
            "url": "https://hooks.example.com/***",
            "headers": {"webhook-id": "7"},
            "body": '{"text":"<b>"}',
        },
    )

    html = admin.get(f"/admin/outbox/message/{made.pk}/change/").content.decode()

    assert "POST https://hooks.example.com/***" in html
    assert "webhook-id: 7" in html
    assert "&lt;b&gt;" in html


# All of a list at once

AGAIN = "/admin/outbox/message/all/send-again/"
DISMISS = "/admin/outbox/message/all/dismiss/"


def given_up(n, **more):
    for i in range(n):
        queued(f"{more} {i}", **more)
    found = Message.objects.filter(**more)
    found.update(state="FAILED", attempts=10, finished_at=timezone.now())
    return found


def test_filtered_list_offers_to_send_all_of_it_again(admin):
    given_up(3)
    queued("waits")

    whole = admin.get("/admin/outbox/message/").content.decode()
    some = admin.get("/admin/outbox/message/?state__exact=FAILED").content.decode()

    assert "of these again" not in whole
    assert "Send all 3 of these again" in some
    assert f"{AGAIN}?state__exact=FAILED" in some


def test_sending_all_again_asks_first_and_says_how_many(admin):
    given_up(3)
    queued("waits")
    path = f"{AGAIN}?state__exact=FAILED"

    asked = text(admin.get(path))
    assert "Send three messages again?" in asked
    assert Message.objects.given_up().count() == 3
    said = text(admin.post(path, follow=True))

    assert "Three messages queued again, keys unchanged." in said
    assert Message.objects.waiting().count() == 4
    assert LogEntry.objects.get().object_repr == "three messages: state__exact=FAILED"


def test_only_what_the_filter_shows_is_sent_again(admin):
    given_up(2, destination="a@example.org")
    given_up(2, destination="b@example.org")

    admin.post(f"{AGAIN}?destination__exact=a@example.org&state__exact=FAILED")

    assert {m.destination for m in Message.objects.given_up()} == {"b@example.org"}


@pytest.mark.parametrize("path", [AGAIN, DISMISS, f"{AGAIN}?p=2", f"{AGAIN}?nope=1"])
def test_without_a_filter_nothing_is_sent_again(admin, path):
    given_up(2)

    said = text(admin.post(path, follow=True))

    assert "Filter the list first." in said
    assert Message.objects.given_up().count() == 2


def test_dismissed_messages_are_not_called_given_up_any_more(admin):
    given_up(2)
    path = f"{DISMISS}?state__exact=FAILED&next=/admin/"

    assert "Dismiss two messages?" in text(admin.get(path))
    response = admin.post(path, {"next": "/admin/"})

    assert response.headers["Location"] == "/admin/"
    assert Message.objects.given_up().count() == 0
    assert Message.objects.filter(state="FAILED").count() == 2
    assert "Given up, dismissed" in text(admin.get("/admin/outbox/message/"))


def test_one_message_is_dismissed_from_its_page(admin):
    (made,) = given_up(1)

    assert "Dismiss" in text(admin.get(f"/admin/outbox/message/{made.pk}/change/"))
    act(admin, "dismiss", made, path="/admin/outbox/message/")

    assert Message.objects.given_up().count() == 0
    act(admin, "replay", made, path="/admin/outbox/message/")
    assert Message.objects.get().dismissed_at is None


def test_who_may_only_look_sends_nothing_again(client, django_user_model):
    looker = django_user_model.objects.create_user("ben", is_staff=True)
    looker.user_permissions.set(Permission.objects.filter(codename="view_message"))
    client.force_login(looker)
    given_up(2)

    page = text(client.get("/admin/outbox/message/?state__exact=FAILED"))
    answer = client.post(f"{AGAIN}?state__exact=FAILED")

    assert "of these again" not in page
    assert answer.status_code == 403
    assert Message.objects.given_up().count() == 2
