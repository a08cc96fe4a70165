import html
import json
import re

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.utils import timezone

from outbox.channels import Answer
from outbox.channels.webhook import WebhookChannel
from outbox.models import Message, Trigger
from outbox.trial import send_test

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
HOOK = {"name": "Hook", "kind": "webhook", "webhook__url": "https://h.example/s3cret"}


@pytest.fixture
def alert(make_monitor, make_rule, triggered):
    monitor = make_monitor("shop", name='The "Shop"')
    return triggered(make_rule(monitor, description="Call <Ana>."), monitor)


def path(trigger=None):
    own = f"{trigger.pk}/" if trigger else ""
    return f"/admin/outbox/trigger/{own}preview/"


def shown(answer):
    """The parts of the page: name to text."""
    assert answer.status_code == 200
    assert "no-store" in answer.headers["Cache-Control"]
    found = re.findall(
        r"<header><h2>(.*?)</h2></header>.*?<(?:pre[^>]*>(.*?)</pre>|iframe ([^>]*)>)",
        answer.content.decode(),
        re.DOTALL,
    )
    return {name: html.unescape(text or frame) for name, text, frame in found}


def test_page_of_a_trigger_has_a_button_that_sends_the_form(admin, make_trigger):
    trigger = make_trigger(url="https://h.example/")

    change = admin.get(f"/admin/outbox/trigger/{trigger.pk}/change/").content.decode()
    add = admin.get("/admin/outbox/trigger/add/").content.decode()

    assert f'formaction="{path(trigger)}"' in change
    assert f'formaction="{path()}"' in add
    assert "Name &lt;address&gt;" in add
    # The names of all variables are there to be unfolded.
    assert "<code>{{alert_name}}</code>" in add
    assert '<option value="PATCH">' in add
    assert "<textarea" in add.split("field-webhook__body")[1].split("form-row")[0]


def test_preview_of_a_webhook_shows_the_request_without_secrets(
    admin, make_trigger, alert
):
    trigger = make_trigger(
        url="https://h.example:8443/s3cret?k=s3cret",
        secret=SECRET,
        method="PUT",
        headers={"X-Key": "s3cret", "Authorization": "Bearer s3cret"},
        body='{"text": "{{alert_name}}", "why": "{{alert_message}} s3cret"}',
    )

    answer = admin.get(path(trigger), {"_alert": alert.pk, "_to": "TRIGGERED"})

    parts = shown(answer)
    assert parts["Request"] == "PUT https://h.example:8443/***"
    assert "X-Key: ***" in parts["Headers"]
    assert "Authorization: ***" in parts["Headers"]
    assert json.loads(parts["Body"]) == {
        "text": 'The "Shop" STATUS: DOWN',
        "why": "Call <Ana>. ***",
    }
    assert "s3cret" not in answer.content.decode()
    assert SECRET not in answer.content.decode()


def test_preview_shows_how_an_alert_would_resolve(admin, make_trigger, alert):
    trigger = make_trigger(url="https://h.example/")

    page = admin.get(path(trigger), {"_alert": alert.pk, "_to": "RESOLVED"})
    body = json.loads(shown(page)["Body"])

    assert body["type"] == "alert.resolved"
    assert body["alert"]["resolved_at"]
    alert.refresh_from_db()
    assert alert.state == "TRIGGERED"
    assert alert.transitions.count() == 1


def test_preview_without_an_alert_shows_a_sample(admin, make_trigger):
    page = admin.get(path(make_trigger(url="https://h.example/")))

    body = json.loads(shown(page)["Body"])
    assert (body["type"], body["is_test"]) == ("alert.triggered", True)


@pytest.mark.parametrize("number", ["7000", "x", "9" * 400])
def test_alert_that_there_is_not_is_the_sample(admin, make_trigger, number):
    trigger = make_trigger(url="https://h.example/")

    page = admin.get(path(trigger), {"_alert": number, "_to": "NEVER"})

    assert json.loads(shown(page)["Body"])["is_test"] is True


def test_preview_of_a_mail_shows_its_html_where_it_can_do_nothing(
    admin, make_trigger, alert
):
    trigger = make_trigger(
        "email",
        to=["ops@example.org"],
        from_address="Ops <o@example.org>",
        subject="[{{alert_severity}}] {{alert_name}}",
        body_html="<p>{{alert_message}}</p><script>alert(1)</script>",
    )

    page = admin.get(path(trigger), {"_alert": alert.pk})

    parts = shown(page)
    assert parts["From"] == "Ops <o@example.org>"
    assert parts["To"] == "ops@example.org"
    assert parts["Subject"] == '[WARNING] The "Shop" STATUS: DOWN'
    assert "Call <Ana>." in parts["Text"]
    assert parts["HTML"].startswith("sandbox srcdoc=")
    assert "<p>Call &lt;Ana&gt;.</p>" in parts["HTML"]
    assert "<script>alert" not in page.content.decode()


def test_our_own_html_stays_in_its_frame(admin, make_trigger, alert):
    trigger = make_trigger("email", to=["ops@example.org"])

    page = admin.get(path(trigger), {"_alert": alert.pk}).content.decode()

    frame = page.split("<iframe sandbox srcdoc=")[1].split("</iframe>")[0]
    inside = frame[1:].split('"')[0]
    assert "<" not in inside
    assert "</html>" in html.unescape(inside)
    assert "Call &lt;Ana&gt;." in html.unescape(inside)
    assert page.count("</html>") == 1


def test_preview_shows_what_is_not_saved_yet_and_keeps_the_secrets(
    admin, make_trigger, alert
):
    trigger = make_trigger(
        url="https://h.example/s3cret", secret=SECRET, headers={"X-Key": "k3y"}
    )
    form = {
        **HOOK,
        "webhook__url": "***",
        "webhook__secret": "***",
        "webhook__headers": "X-Key: ***\nX-New: n3w",
        "webhook__body": '{\r\n"a": "{{alert_name}}"\r\n}',
    }

    page = admin.post(path(trigger), {**form, "_alert": alert.pk})

    parts = shown(page)
    assert parts["Request"] == "POST https://h.example/***"
    assert "X-Key: ***\nX-New: ***" in parts["Headers"]
    assert json.loads(parts["Body"]) == {"a": 'The "Shop" STATUS: DOWN'}
    # The form goes along to be shown with another alert; what was stored does not.
    kept = page.content.decode()
    assert 'name="webhook__body"' in kept
    assert "s3cret" not in kept
    assert "k3y" not in kept
    trigger.refresh_from_db()
    assert trigger.config["body"] == ""
    assert trigger.name == "webhook"


def test_preview_of_a_trigger_that_is_not_there_yet(admin):
    page = admin.post(path(), {**HOOK, "webhook__body": '{"a": "{{alert_nmae}}"}'})

    assert json.loads(shown(page)["Body"]) == {"a": ""}
    assert "nothing is known by the name alert_nmae" in page.content.decode()
    assert not Trigger.objects.exists()
    assert not Message.objects.exists()


def test_preview_says_what_is_wrong_and_at_which_field(admin, make_trigger):
    trigger = make_trigger(url="https://h.example/")

    page = admin.post(path(trigger), {**HOOK, "webhook__body": '{"a": \n{{#b}}}'})

    assert shown(page) == {}
    said = html.unescape(page.content.decode())
    assert "Body: Line 2: The section b is not closed" in said


def test_name_that_nothing_is_known_by_is_told_when_saving(admin):
    given = {**HOOK, "webhook__body": '{"a": "{{alert_nmae}}"}'}

    page = admin.post("/admin/outbox/trigger/add/", given, follow=True)

    said = "Body: nothing is known by the name alert_nmae; it stays empty."
    assert said in page.content.decode()
    assert Trigger.objects.exists()


def test_fault_in_a_template_stands_at_its_field_when_saving(admin):
    page = admin.post(
        "/admin/outbox/trigger/add/", {**HOOK, "webhook__body": '{"a": "{{b}}'}
    )

    row = page.content.decode().split("field-webhook__body")[1].split("form-row")[0]
    assert "Line 1: This makes no JSON" in row
    assert not Trigger.objects.exists()


def test_preview_of_what_no_longer_fits_says_so(admin, make_trigger):
    trigger = make_trigger(url="https://h.example/")
    Trigger.objects.update(config={"url": "nowhere"})

    said = admin.get(path(trigger)).content.decode()

    assert "Its config does not fit: url: Give an address" in said


def test_preview_is_for_those_who_may_change_triggers(client, make_trigger):
    trigger = make_trigger(url="https://h.example/")
    reader = get_user_model().objects.create_user("bob", is_staff=True)
    reader.user_permissions.add(Permission.objects.get(codename="view_trigger"))
    client.force_login(reader)

    assert client.get(path(trigger)).status_code == 403
    assert client.post(path(trigger), HOOK).status_code == 403
    assert client.post(path(), HOOK).status_code == 403
    client.logout()
    assert client.get(path(trigger)).status_code == 302


def test_preview_of_nothing_is_refused(admin):
    assert admin.get(path()).status_code == 403
    assert admin.get("/admin/outbox/trigger/7/preview/").status_code == 404


# The test button


def test_test_names_the_newest_monitor_and_stores_nothing(
    make_monitor, make_trigger, receiver
):
    make_monitor("old", name="Old")
    make_monitor("shop", name="Web Shop")

    steps = send_test(make_trigger(url=receiver.url), at=timezone.now())

    assert [(step.what, step.delivered) for step in steps] == [
        ("TRIGGERED", True),
        ("RESOLVED", True),
    ]
    assert {body["monitor"]["tag"] for body in receiver.bodies} == {"shop"}
    first, last = (headers for _, _, headers, _ in receiver.requests)
    assert first["webhook-id"] != last["webhook-id"]
    assert not Message.objects.exists()


def test_test_says_the_second_where_it_said_the_first(make_trigger, monkeypatch):
    told = []

    def deliver(self, content, envelope):
        told.append(envelope)
        return Answer(text="ok", reference=f"ref-{len(told)}")

    monkeypatch.setattr(WebhookChannel, "deliver", deliver)

    send_test(make_trigger(url="https://h.example/"), at=timezone.now())

    assert [envelope.thread for envelope in told] == ["", "ref-1"]
    assert len({envelope.topic for envelope in told}) == 1


def test_test_shows_no_secret_that_the_other_side_repeats(make_trigger, receiver):
    receiver.status, receiver.body = 400, b"no such key k3y-of-ours"
    trigger = make_trigger(url=receiver.url, headers={"X-Key": "k3y-of-ours"})

    (step,) = send_test(trigger, at=timezone.now())

    assert (step.delivered, step.answer) == (False, "400 no such key ***")
