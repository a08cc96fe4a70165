from datetime import timedelta

import pytest
import time_machine
from django.utils import timezone

from alerting.models import Alert
from incidents.models import Automation, Incident, State
from outbox import rendering
from outbox.models import Message
from outbox.rendering import Withdrawn
from subscriptions.models import Batch, FanOut, Subscriber
from subscriptions.tasks import fan_out_due

NOW = timezone.now().replace(microsecond=0)


def seconds(number):
    return NOW + timedelta(seconds=number)


@pytest.fixture
def reader(db):
    return Subscriber.add("reader@example.org", at=seconds(-60))


@pytest.fixture
def at():
    """Move the clock of a test to so many seconds after its beginning."""
    with time_machine.travel(NOW, tick=False) as clock:
        yield lambda number: clock.move_to(seconds(number))


@pytest.fixture
def fan_out(at):
    def fan_out(number):
        at(number)
        fan_out_due.run()
        return list(mails().filter(created_at=seconds(number)))

    return fan_out


def mails():
    return Message.objects.filter(kind="email").order_by("pk")


def contents(messages):
    return [rendering.render(message) for message in messages]


@pytest.fixture
def open_by_itself(make_monitor, make_rule, at):
    """Open the automatic incident of a monitor, now."""

    def open_by_itself(tag="shop", severity=Incident.Severity.MINOR, **more):
        monitor, now = make_monitor(tag), timezone.now()
        rule = make_rule(monitor)
        alert = Alert.objects.create(
            rule=rule,
            monitor=monitor,
            began_at=now,
            triggered_at=now,
            rule_name=rule.name,
            monitor_name=monitor.name,
            monitor_tag=tag,
            monitor_kind="http",
            alert_for="STATUS",
            alert_value="DOWN",
            failure_threshold=3,
            success_threshold=2,
            severity=rule.severity,
            create_incident=True,
            observed="down",
        )
        return Incident.open_for(alert, at=now, severity=severity, **more)

    return open_by_itself


def resolve(incident, **more):
    more.setdefault("is_automatic", True)
    incident.update(state=State.RESOLVED, body="It is over.", at=timezone.now(), **more)


def test_news_of_several_incidents_are_one_mail(reader, open_by_itself, at, fan_out):
    open_by_itself("shop")
    at(20)
    open_by_itself("bank")
    assert fan_out(29) == []

    (mail,) = fan_out(30)

    (content,) = contents([mail])
    assert content.subject == "2 incidents: Shop STATUS: DOWN, Bank STATUS: DOWN"
    for text in (content.text, content.html):
        assert "Shop STATUS: DOWN" in text
        assert "http://testserver/incidents/" in text
        assert reader.unsubscribe_url in text
    assert content.headers["List-Unsubscribe"] == f"<{reader.unsubscribe_url}>"
    assert FanOut.objects.filter(finished_at=None).count() == 0


def test_single_incident_in_a_batch_is_the_usual_mail(reader, open_by_itself, fan_out):
    open_by_itself()

    (mail,) = fan_out(30)

    assert mail.renderer == "incident"
    assert contents([mail])[0].subject == "Investigating: Shop STATUS: DOWN"


def test_further_news_wait_for_the_interval(reader, open_by_itself, at, fan_out):
    incident = open_by_itself()
    assert len(fan_out(30)) == 1

    at(60)
    resolve(incident)
    assert fan_out(329) == []
    (mail,) = fan_out(330)

    assert contents([mail])[0].subject.startswith("Resolved after 1 minute")


def test_news_after_a_quiet_time_wait_a_little_again(
    reader, open_by_itself, at, fan_out
):
    open_by_itself("shop")
    fan_out(30)

    at(1000)
    open_by_itself("bank")

    assert fan_out(1029) == []
    assert len(fan_out(1030)) == 1


def test_end_before_the_first_mail_is_told_in_one(reader, open_by_itself, at, fan_out):
    incident = open_by_itself()
    at(12)
    resolve(incident)

    (mail,) = fan_out(30)

    (content,) = contents([mail])
    assert content.subject == "Resolved after 12 seconds: Shop STATUS: DOWN"
    assert "Alert triggered" in content.text, "it tells how it began, too"
    assert mails().count() == 1


def test_batch_says_which_of_its_incidents_are_over(
    reader, open_by_itself, at, fan_out
):
    over = open_by_itself("shop")
    open_by_itself("bank")
    at(12)
    resolve(over)

    (content,) = contents(fan_out(30))

    assert content.subject == "2 incidents: Bank STATUS: DOWN, Shop STATUS: DOWN"
    assert "Resolved: Shop STATUS: DOWN" in content.text
    assert "New incident: Bank STATUS: DOWN" in content.text


def test_critical_incident_does_not_wait(reader, open_by_itself, fan_out):
    open_by_itself(severity=Incident.Severity.CRITICAL)

    assert len(fan_out(0)) == 1


def test_critical_incident_waits_if_it_is_told_to(reader, open_by_itself, fan_out):
    Automation(critical_bypasses=False).save()
    open_by_itself(severity=Incident.Severity.CRITICAL)

    assert fan_out(0) == []
    assert len(fan_out(30)) == 1


def test_switched_off_nothing_waits(reader, open_by_itself, fan_out):
    Automation(group_wait=0).save()
    open_by_itself()

    assert len(fan_out(0)) == 1


def test_incident_of_a_person_never_waits(reader, fan_out):
    for source in ("DASHBOARD", "API"):
        Incident.open(title="x", summary="y", started_at=NOW, at=NOW, source=source)

    assert len(fan_out(0)) == 2


def test_what_a_person_writes_goes_at_once_after_what_waits(
    reader, open_by_itself, at, fan_out
):
    incident = open_by_itself("shop")
    open_by_itself("bank")
    at(10)
    incident.update(state=State.IDENTIFIED, body="A disk.", at=timezone.now())

    assert [content.subject for content in contents(fan_out(10))] == [
        "Investigating: Shop STATUS: DOWN",
        "Identified: Shop STATUS: DOWN",
    ]
    (rest,) = fan_out(30)
    assert contents([rest])[0].subject == "Investigating: Bank STATUS: DOWN"


def test_draft_that_a_person_publishes_goes_at_once(
    reader, open_by_itself, operator, fan_out
):
    draft = open_by_itself(is_draft=True)

    draft.publish(at=NOW, author=operator)

    assert len(fan_out(0)) == 1


def test_deleted_incident_leaves_the_batch(reader, open_by_itself, fan_out):
    gone = open_by_itself("shop")
    open_by_itself("bank")
    gone.delete_by_hand(at=NOW)

    (mail,) = fan_out(30)

    assert contents([mail])[0].subject == "Investigating: Bank STATUS: DOWN"


def test_incidents_deleted_before_delivery_are_not_told_of(
    reader, open_by_itself, fan_out
):
    first, second = open_by_itself("shop"), open_by_itself("bank")
    (mail,) = fan_out(30)

    first.delete_by_hand(at=NOW)
    assert contents([mail])[0].subject == "Investigating: Bank STATUS: DOWN"

    second.delete_by_hand(at=NOW)
    with pytest.raises(Withdrawn, match="deleted"):
        contents([mail])


def test_who_has_left_gets_no_batch(reader, open_by_itself, fan_out):
    open_by_itself("shop")
    open_by_itself("bank")
    (mail,) = fan_out(30)

    reader.unsubscribe(at=NOW)

    with pytest.raises(Withdrawn, match="unsubscribed"):
        contents([mail])


@pytest.mark.django_db(transaction=True)
def test_two_workers_send_a_batch_once(open_by_itself, at, at_once, monkeypatch):
    monkeypatch.setattr(Batch, "A_STEP", 3)
    for n in range(10):
        Subscriber.add(f"r{n}@example.org", at=NOW)
    open_by_itself("shop")
    open_by_itself("bank")
    at(30)

    at_once(*[fan_out_due.run] * 3)

    assert mails().filter(renderer="incidents").count() == 10
    assert Batch.objects.get().finished_at is not None


@pytest.mark.django_db(transaction=True)
def test_news_that_come_at_once_share_one_batch(open_by_itself, at_once):
    incidents = [open_by_itself(f"m{n}") for n in range(4)]
    FanOut.objects.all().delete()
    Batch.objects.all().delete()

    def begin(incident):
        FanOut.begin(incident, incident.updates.get(), "published")

    at_once(*[lambda incident=incident: begin(incident) for incident in incidents])

    assert Batch.objects.get().news.count() == 4


@pytest.mark.parametrize("number", [2, 30])
def test_batch_needs_the_same_queries_for_any_number(
    number, reader, open_by_itself, fan_out, django_assert_num_queries
):
    for n in range(number):
        open_by_itself(f"m{n}")
    (mail,) = fan_out(30)

    with django_assert_num_queries(10):
        contents([mail])


def test_banner_of_a_draft_says_whom_it_will_reach(admin, reader, open_by_itself):
    draft = open_by_itself(is_draft=True)

    shown = admin.get(draft.admin_path).content.decode()

    assert "One subscriber will get this by e-mail." in shown
