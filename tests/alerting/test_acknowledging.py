import re
from datetime import timedelta

import pytest
from django.utils import timezone

from alerting import attention
from alerting.models import Alert, Silence
from monitors.models import Label
from outbox.models import Message

MINUTE = timedelta(minutes=1)


def text(response):
    assert response.status_code == 200
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


@pytest.fixture
def alert(make_monitor, make_rule, make_trigger, triggered):
    """One that is repeated every ten minutes, and was told of at `at`."""
    shop, hook = make_monitor("shop"), make_trigger(url="http://127.0.0.1:9/")
    rule = make_rule(shop, triggers=[hook], repeat_minutes=10)
    made = triggered(rule, shop)
    Message.objects.all().delete()
    return made


def remind_at(alert, at):
    Alert.objects.filter(pk=alert.pk).update(remind_at=at)
    return Alert.objects.get(pk=alert.pk)


def told():
    return [message.values for message in Message.objects.order_by("pk")]


def kinds():
    return [values["kind"] for values in told()]


# Acknowledging


def test_acknowledging_tells_the_triggers_once(alert):
    at = timezone.now()

    assert alert.acknowledge(by="ana", note="On it", at=at)

    [message] = Message.objects.all()
    assert message.values == {
        "transition": alert.transitions.get().pk,
        "kind": "acknowledged",
        "by": "ana",
        "note": "On it",
        "at": at.isoformat(),
    }
    assert (message.renderer, message.topic_key) == ("alert", f"alert:{alert.pk}")
    assert message.recipient_key == f"trigger:{message.trigger_id}"
    kept = Alert.objects.get()
    assert (kept.acknowledged_at, kept.acknowledged_by, kept.note) == (
        at,
        "ana",
        "On it",
    )


def test_the_same_again_changes_only_note_and_moment(alert):
    at = timezone.now()
    alert.acknowledge(by="ana", at=at)

    assert alert.acknowledge(
        by="ana", note="Found it", until=at + MINUTE, at=at + MINUTE
    )

    kept = Alert.objects.get()
    assert (kept.note, kept.acknowledged_until) == ("Found it", at + MINUTE)
    assert kept.acknowledged_at == at
    assert kinds() == ["acknowledged"]


def test_whoever_takes_over_is_told_of(alert):
    at = timezone.now()
    alert.acknowledge(by="ana", at=at)

    assert alert.acknowledge(by="bo", at=at + MINUTE)

    assert [values["by"] for values in told()] == ["ana", "bo"]
    assert Alert.objects.get().acknowledged_by == "bo"


def test_what_has_resolved_is_not_acknowledged(alert):
    alert.resolve(reason="It is over.", at=timezone.now())
    before = Message.objects.count()

    assert not alert.acknowledge(by="ana", at=timezone.now())

    assert Alert.objects.get().acknowledged_at is None
    assert Message.objects.count() == before


def test_nobody_is_told_that_somebody_minds_what_nobody_was_told_of(alert):
    Alert.objects.update(withheld="flapping")
    alert.refresh_from_db()

    assert alert.acknowledge(by="ana", at=timezone.now())

    assert told() == []


def test_acknowledging_leaves_the_incident_alone(alert):
    incident = Alert.objects.values("incident_number", "incident_path").get()
    transitions = alert.transitions.count()

    alert.acknowledge(by="ana", at=timezone.now())

    assert Alert.objects.values("incident_number", "incident_path").get() == incident
    assert alert.transitions.count() == transitions


@pytest.mark.django_db(transaction=True)
def test_two_clicks_of_one_person_at_once_tell_once(alert, at_once):
    at = timezone.now()

    def click(n):
        Alert.objects.get(pk=alert.pk).acknowledge(by="ana", at=at + n * MINUTE)

    at_once(lambda: click(0), lambda: click(1))

    assert kinds() == ["acknowledged"]


def test_taking_it_back_lets_the_next_reminder_come(alert):
    at = timezone.now()
    alert = remind_at(alert, at)
    alert.acknowledge(by="ana", at=at)
    attention.sweep(at + MINUTE)
    assert kinds() == ["acknowledged"]

    assert alert.unacknowledge(by="bo", at=at + MINUTE)
    assert not alert.unacknowledge(by="bo", at=at + MINUTE)
    attention.sweep(at + MINUTE)

    kept = Alert.objects.get()
    assert (kept.acknowledged_at, kept.note) == (None, "Taken back by bo.")
    assert kinds() == ["acknowledged", "reminder"]


@pytest.mark.parametrize("repeat", [0, 10])
def test_when_it_expires_everybody_is_reminded_at_once(alert, repeat):
    at = timezone.now()
    alert.rule.repeat_minutes = repeat
    alert.rule.save()
    alert = remind_at(alert, at + 3 * MINUTE if repeat else None)
    alert.acknowledge(by="ana", until=at + 5 * MINUTE, at=at)

    attention.sweep(at + 4 * MINUTE)
    assert kinds() == ["acknowledged"]
    attention.sweep(at + 5 * MINUTE)
    attention.sweep(at + 6 * MINUTE)

    assert kinds() == ["acknowledged", "reminder"]
    kept = Alert.objects.get()
    assert (kept.acknowledged_at, kept.acknowledged_until) == (None, None)
    assert kept.remind_at == (at + 15 * MINUTE if repeat else None)


# Reminding


def test_a_reminder_says_which_one_it_is(alert):
    at = timezone.now()
    remind_at(alert, at)

    attention.sweep(at)
    attention.sweep(at + 10 * MINUTE)

    assert [(v["kind"], v["number"]) for v in told()] == [
        ("reminder", 1),
        ("reminder", 2),
    ]
    first = Message.objects.order_by("pk").first()
    assert first.dedup_key == f"alert:{alert.pk}:reminder:1:trigger:{first.trigger_id}"
    assert Alert.objects.get().reminders == 2


def test_after_an_outage_there_is_one_reminder_and_the_next_keeps_its_time(alert):
    at = timezone.now()
    remind_at(alert, at)

    attention.sweep(at + 67 * MINUTE)
    attention.sweep(at + 69 * MINUTE)

    assert len(told()) == 1
    assert Alert.objects.get().remind_at == at + 70 * MINUTE


@pytest.mark.django_db(transaction=True)
def test_two_workers_that_remind_at_once_remind_once(alert, at_once):
    at = timezone.now()
    remind_at(alert, at)

    at_once(*[lambda: attention.sweep(at)] * 3)

    assert kinds() == ["reminder"]
    assert Alert.objects.get().reminders == 1


def test_the_slower_of_two_workers_reminds_no_more(alert):
    at = timezone.now()
    first, second = remind_at(alert, at), Alert.objects.get(pk=alert.pk)

    assert first.remind(at=at)
    assert not second.remind(at=at)

    assert len(told()) == 1


@pytest.mark.parametrize("by", ["monitors", "rules", "labels", "all"])
def test_while_it_is_silenced_only_the_moment_moves(alert, by):
    at = timezone.now()
    remind_at(alert, at)
    label = Label.objects.create(name="payments")
    alert.monitor.label([label])
    silence = Silence.objects.create(
        reason="x", starts_at=at, ends_at=at + MINUTE, silences_all=by == "all"
    )
    rows = {"monitors": alert.monitor, "rules": alert.rule, "labels": label}
    if by in rows:
        getattr(silence, by).set([rows[by]])

    attention.sweep(at)
    assert told() == []
    assert Alert.objects.get().remind_at == at + 10 * MINUTE
    attention.sweep(at + 10 * MINUTE)

    assert [values["number"] for values in told()] == [1]


def test_a_silence_for_others_keeps_no_reminder_back(alert, make_monitor):
    at = timezone.now()
    remind_at(alert, at)
    silence = Silence.objects.create(reason="x", starts_at=at, ends_at=at + MINUTE)
    silence.monitors.set([make_monitor("bank")])

    attention.sweep(at)

    assert kinds() == ["reminder"]


def test_of_what_is_held_back_nobody_is_reminded(alert):
    at = timezone.now()
    remind_at(alert, at)
    Alert.objects.update(withheld="flapping")

    attention.sweep(at)

    assert told() == []
    assert Alert.objects.get().remind_at == at + 10 * MINUTE


@pytest.mark.parametrize("how", ["retired", "not repeated"])
def test_of_a_rule_that_does_not_repeat_nobody_is_reminded_again(alert, how):
    at = timezone.now()
    remind_at(alert, at)
    rule = type(alert.rule).objects.filter(pk=alert.rule_id)
    rule.update(is_active=False) if how == "retired" else rule.update(repeat_minutes=0)

    attention.sweep(at)
    attention.sweep(at + MINUTE)

    assert len(told()) == (0 if how == "retired" else 1)
    assert Alert.objects.get().remind_at is None


def test_what_has_resolved_is_not_reminded_of(alert):
    at = timezone.now()
    remind_at(alert, at)
    alert.resolve(reason="It is over.", at=at)
    Message.objects.all().delete()

    attention.sweep(at)

    assert told() == []


def test_an_idle_sweep_takes_two_queries(alert, django_assert_num_queries):
    remind_at(alert, timezone.now() + MINUTE)

    with django_assert_num_queries(2):
        attention.sweep(timezone.now())


# The admin and the API


def act(client, action, *rows, **more):
    given = {"_selected_action": [r.pk for r in rows], "action": action, "index": 0}
    return client.post("/admin/alerting/alert/", {**given, **more}, follow=True)


def test_the_admin_asks_for_how_long(admin, alert):
    asked = act(admin, "acknowledge", alert)
    assert "Acknowledge one alert" in text(asked)
    assert Alert.objects.get().acknowledged_at is None

    answer = {"confirmed": "yes", "how_long": "240", "note": "On it"}
    shown = text(act(admin, "acknowledge", alert, **answer))

    kept = Alert.objects.get()
    lasts = kept.acknowledged_until - kept.acknowledged_at
    assert (kept.acknowledged_by, kept.note, lasts) == ("ana", "On it", 240 * MINUTE)
    assert "One alert acknowledged" in shown
    assert "acknowledged by ana" in shown
    page = f"/admin/alerting/alert/{alert.pk}"
    assert "Take the acknowledgement back" in text(admin.get(f"{page}/change/"))
    assert "Acknowledged. On it" in text(admin.get(f"{page}/history/"))


def test_the_admin_refuses_a_length_that_there_is_not(admin, alert):
    page = act(admin, "acknowledge", alert, confirmed="yes", how_long="9")

    assert "Select a valid choice" in text(page)
    assert Alert.objects.get().acknowledged_at is None


def test_the_admin_has_nothing_to_ask_of_what_is_over(admin, alert):
    alert.resolve(reason="It is over.", at=timezone.now())

    page = text(act(admin, "acknowledge", alert))

    assert "None of these goes on any more." in page
    alert_page = text(admin.get(f"/admin/alerting/alert/{alert.pk}/change/"))
    assert "Silence for" not in alert_page


def test_the_admin_takes_it_back(admin, alert):
    alert.acknowledge(by="ana", at=timezone.now())

    shown = text(act(admin, "unacknowledge", alert))

    assert "people are reminded again" in shown
    assert Alert.objects.get().acknowledged_at is None


def test_the_api_acknowledges_until_it_resolves_or_for_minutes(api, alert):
    path = f"/api/v1/alerts/{alert.pk}"

    once = api.post(f"{path}/acknowledge/", {}).json()
    again = api.post(f"{path}/acknowledge/", {"note": "Found", "minutes": 5}).json()
    back = api.post(f"{path}/unacknowledge/").json()

    assert (once["acknowledged_by"], once["acknowledged_until"]) == ("key tests", None)
    assert again["note"] == "Found"
    assert again["acknowledged_until"] is not None
    assert again["acknowledged_at"] == once["acknowledged_at"]
    assert (back["acknowledged_at"], back["acknowledged_by"]) == (None, "")
    assert kinds() == ["acknowledged"]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"minutes": 0}, "minutes"),
        ({"minutes": "5"}, "minutes"),
        ({"until": "2020-01-01T00:00:00Z"}, "until"),
        ({"until": "2099-01-01T00:00:00Z", "minutes": 5}, "minutes"),
        ({"by": "somebody else"}, "by"),
    ],
)
def test_the_api_refuses_by_field(api, alert, asked, field):
    answer = api.post(f"/api/v1/alerts/{alert.pk}/acknowledge/", asked)

    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == [field]
    assert Alert.objects.get().acknowledged_at is None


def test_the_api_says_that_there_is_nothing_to_acknowledge(api, alert):
    alert.resolve(reason="It is over.", at=timezone.now())

    answer = api.post(f"/api/v1/alerts/{alert.pk}/acknowledge/", {})

    assert answer.status_code == 400
    assert "The alert has resolved" in answer.json()["detail"]
