from datetime import timedelta

import pytest
from django.utils import timezone

from incidents.models import Incident
from outbox.models import Message
from statuspages.models import StatusPage
from subscriptions.models import FanOut, Subscriber
from subscriptions.tasks import fan_out_due, forget

NOW = timezone.now()


@pytest.fixture
def incident(db):
    return Incident.open(
        title="Orders fail",
        summary="We look.",
        started_at=NOW,
        at=NOW,
        source="DASHBOARD",
    )


def news():
    return Message.objects.filter(renderer="incident")


def test_asking_sends_one_message(db):
    Subscriber.ask(" New@Example.org ", at=NOW)

    message = Message.objects.get()
    assert message.destination == "new@example.org"
    assert message.renderer == "confirmation"


def test_asking_again_at_once_sends_nothing(db):
    Subscriber.ask("new@example.org", at=NOW)
    Subscriber.ask("NEW@example.org", at=NOW + timedelta(minutes=9))

    assert Message.objects.count() == 1


def test_asking_again_later_sends_another(db):
    Subscriber.ask("new@example.org", at=NOW)
    Subscriber.ask("new@example.org", at=NOW + timedelta(minutes=11))

    assert Message.objects.count() == 2


def test_asking_for_a_confirmed_address_sends_nothing(reader):
    Subscriber.ask(reader.email, at=NOW)

    assert not Message.objects.exists()
    assert Subscriber.objects.confirmed().get() == reader


def test_confirming_twice_does_nothing(asked):
    assert asked.confirm(at=NOW)
    assert not asked.confirm(at=NOW + timedelta(hours=1))
    assert asked.confirmed_at == NOW


def test_unsubscribing_withdraws_what_is_queued(reader, incident):
    fan_out_due.run()

    reader.unsubscribe(at=timezone.now())

    assert news().get().state == Message.State.CANCELLED


def test_unsubscribed_reader_hears_no_more(reader, incident):
    reader.unsubscribe(at=timezone.now())

    fan_out_due.run()

    assert not news().exists()


def test_unconfirmed_address_hears_nothing(asked, incident):
    fan_out_due.run()

    assert not news().exists()


def test_later_subscriber_does_not_get_old_news(incident):
    Subscriber.add("late@example.org", at=timezone.now() + timedelta(minutes=1))

    fan_out_due.run()

    assert not news().exists()


def test_news_reach_everybody_once(db, incident, monkeypatch):
    monkeypatch.setattr(FanOut, "A_STEP", 2)
    for n in range(5):
        Subscriber.add(f"r{n}@example.org", at=NOW - timedelta(days=1))

    fan_out_due.run()
    FanOut.objects.update(through=0, finished_at=None)
    fan_out_due.run()

    assert news().count() == 5
    assert FanOut.objects.filter(finished_at=None).count() == 0


def test_deleted_incident_is_told_to_nobody(reader, incident):
    incident.delete_by_hand(at=timezone.now())

    fan_out_due.run()

    assert not news().exists()


def test_address_never_confirmed_is_forgotten(db):
    Subscriber.ask("old@example.org", at=NOW - timedelta(days=8))
    Subscriber.ask("new@example.org", at=NOW - timedelta(days=6))

    forget.run()

    assert Subscriber.objects.get().email == "new@example.org"


def test_what_the_page_hides_is_not_told_by_mail(reader, make_monitor):
    page = StatusPage.default()
    page.shows_all = False
    page.save()
    hidden, shown = make_monitor("hidden"), make_monitor("shown")
    page.shown.create(monitor=shown)

    for monitor in (hidden, shown):
        Incident.open(
            title=f"{monitor} fails",
            summary="We look.",
            started_at=NOW,
            at=NOW,
            source="DASHBOARD",
            impacts={monitor: "DOWN"},
        )
    fan_out_due.run()

    assert FanOut.objects.get().incident.title == "Shown fails"


@pytest.mark.django_db(transaction=True)
def test_two_workers_fanning_out_make_one_message_each(monkeypatch, at_once):
    monkeypatch.setattr(FanOut, "A_STEP", 3)
    for n in range(10):
        Subscriber.add(f"r{n}@example.org", at=NOW - timedelta(days=1))
    Incident.open(
        title="Orders fail", summary="We look.", started_at=NOW, at=NOW, source="API"
    )

    at_once(*[fan_out_due.run] * 3)

    assert news().count() == 10
