from django.utils import timezone

from incidents.models import Incident
from outbox.models import Message, message
from subscriptions.models import Subscriber


def act(client, action, *rows):
    return client.post(
        "/admin/subscriptions/subscriber/",
        {"_selected_action": [r.pk for r in rows], "action": action, "index": 0},
        follow=True,
    )


def queue_for(subscriber):
    made = message(
        dedup_key="one",
        kind="email",
        renderer="incident",
        values={},
        destination=subscriber.email,
        recipient_key=subscriber.key,
    )
    Message.queue([made])
    return Message.objects.get()


def test_an_added_subscriber_is_confirmed_and_not_asked(admin):
    admin.post("/admin/subscriptions/subscriber/add/", {"email": " Ben@Example.org "})

    subscriber = Subscriber.objects.get()
    assert (subscriber.email, subscriber.state) == ("ben@example.org", "CONFIRMED")
    assert not Message.objects.exists()


def test_an_address_is_added_only_once(admin):
    Subscriber.add("ben@example.org", at=timezone.now())

    page = admin.post(
        "/admin/subscriptions/subscriber/add/", {"email": "Ben@example.org"}
    )

    assert "already exists" in page.content.decode()


def test_unsubscribing_takes_back_what_is_queued(admin):
    subscriber = Subscriber.add("ben@example.org", at=timezone.now())
    queued = queue_for(subscriber)

    page = act(admin, "unsubscribe", subscriber)

    queued.refresh_from_db()
    subscriber.refresh_from_db()
    assert (subscriber.state, queued.state) == ("UNSUBSCRIBED", "CANCELLED")
    assert "One subscriber unsubscribed" in page.content.decode()


def test_deleting_forgets_the_address_and_cancels(admin):
    subscriber = Subscriber.add("ben@example.org", at=timezone.now())
    queued = queue_for(subscriber)

    page = f"/admin/subscriptions/subscriber/{subscriber.pk}/delete/"
    admin.post(page, {"post": "yes"})

    queued.refresh_from_db()
    assert queued.state == "CANCELLED"
    assert not Subscriber.objects.exists()


def test_the_page_shows_messages_and_never_the_token(admin):
    subscriber = Subscriber.add("ben@example.org", at=timezone.now())
    queue_for(subscriber)

    page = admin.get(f"/admin/subscriptions/subscriber/{subscriber.pk}/change/")

    assert "Waiting" in page.content.decode()
    assert subscriber.token not in page.content.decode()


def test_an_incident_says_how_many_will_be_told(admin, make_monitor):
    for n in range(3):
        Subscriber.add(f"reader{n}@example.org", at=timezone.now())
    now = timezone.now()
    incident = Incident.open(
        title="Down", summary="We look.", started_at=now, at=now, source="DASHBOARD"
    )

    page = admin.get(f"/admin/incidents/incident/{incident.pk}/change/")

    assert "<dd>3<small>confirmed subscribers</small></dd>" in page.content.decode()
