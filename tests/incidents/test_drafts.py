from datetime import timedelta

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from alerting.models import Alert, Decision
from alerting.signals import alerts_still_failing
from incidents import tasks, telling
from incidents.models import Automation, Incident, State
from incidents.signals import incident_published
from monitors.models import Overlay
from outbox import rendering
from outbox.models import Message
from outbox.rendering import Withdrawn
from statuspages import snapshot
from statuspages.models import StatusPage
from subscriptions.models import FanOut

from .story import NOW, announce, minutes, recover

pytestmark = pytest.mark.django_db


@pytest.fixture
def draft(set_up, make_alert):
    """The draft of an alert, to publish itself after ten minutes."""
    set_up(draft_mode="ON", auto_publish_after=600)
    announce(make_alert())
    return Incident.objects.get()


def sweep(at):
    with time_machine.travel(at, tick=False):
        tasks.sweep.run()


# Which begin as drafts


@pytest.mark.parametrize(
    ("mode", "sources", "monitor", "expected"),
    [
        ("OFF", [], None, False),
        ("ON", [], None, True),
        ("BY_SOURCE", ["Uptime"], None, True),
        ("BY_SOURCE", ["Heartbeat"], None, False),
        ("ON", [], False, False),
        ("OFF", [], True, True),
    ],
)
def test_what_begins_as_a_draft(
    mode, sources, monitor, expected, set_up, make_monitor, make_alert
):
    set_up(draft_mode=mode, draft_sources=sources)

    announce(make_alert(make_monitor(incident_drafts=monitor)))

    assert Incident.objects.get().is_draft is expected


@pytest.mark.parametrize(
    ("after", "least", "severity", "expected"),
    [
        (None, None, 3, None),
        (600, None, 1, 10),
        (600, 3, 1, None),
        (600, 3, 3, 10),
    ],
)
def test_when_a_draft_publishes_itself(after, least, severity, expected):
    settings = Automation(auto_publish_after=after, auto_publish_min_severity=least)

    at = settings.publish_at(severity, NOW)

    assert at == (minutes(expected) if expected else None)


# Nobody outside hears of it


def test_draft_is_seen_and_heard_of_by_nobody(draft, client, heard, make_alert):
    page = StatusPage.default()
    draft.update(state=State.IDENTIFIED, body="A disk.", at=minutes(4))
    draft.revise(at=minutes(5), title="Orders fail")

    assert heard == []
    assert not Overlay.objects.exists()
    assert not FanOut.objects.exists()
    assert client.get(draft.path).status_code == 404
    assert "Orders fail" not in client.get("/history/").content.decode()
    assert b"Orders fail" not in bytes(snapshot.build(page).body)
    assert Alert.objects.get().incident_path == draft.admin_path


def test_publishing_shows_everything_back_dated_and_tells_of_the_first_update(draft):
    told = []

    def receive(update, **kwargs):
        told.append(update)

    draft.update(state=State.IDENTIFIED, body="A disk.", at=minutes(4))
    incident_published.connect(receive)
    assert draft.publish(at=minutes(9)) is True
    assert draft.publish(at=minutes(10)) is False
    incident_published.disconnect(receive)

    assert (draft.published_at, draft.publish_at) == (minutes(9), None)
    assert [update.state for update in told] == [State.INVESTIGATING]
    overlay = Overlay.objects.get()
    assert (overlay.started_at, overlay.ended_at) == (NOW, None)
    assert (overlay.status, overlay.counts) == ("down", False)
    assert Alert.objects.get().incident_path == draft.path
    assert FanOut.objects.get().event == "published"


def test_publishing_what_is_over_tells_of_its_end(set_up, make_alert):
    set_up(draft_mode="ON", auto_discard=False)
    alert = make_alert()
    announce(alert)
    recover(alert, minutes(9))
    draft = Incident.objects.get()
    assert (draft.is_draft, draft.state) == (True, State.RESOLVED)

    draft.publish(at=minutes(20))

    assert FanOut.objects.get().update.state == State.RESOLVED
    assert Overlay.objects.get().ended_at == minutes(9)


def test_deleted_draft_is_told_to_nobody(draft, heard):
    draft.delete_by_hand(at=minutes(5))

    assert draft.publish(at=minutes(6)) is False
    assert heard == []


# The countdown


def test_draft_publishes_itself_when_its_time_has_come(draft, heard):
    sweep(draft.publish_at - timedelta(seconds=1))
    assert heard == []

    sweep(draft.publish_at)
    sweep(draft.publish_at + timedelta(minutes=1))

    assert Incident.objects.get().published_at is not None
    assert heard == ["published"]


def test_two_sweeps_at_once_publish_it_once(transactional_db, draft, heard, at_once):
    at_once(
        *[
            lambda: Incident.objects.get().publish(at=draft.publish_at, only_due=True)
            for _ in range(3)
        ]
    )

    assert heard == ["published"]
    assert Overlay.objects.count() == 1


def test_held_draft_waits_for_a_person(draft, heard):
    assert draft.hold() is True
    assert draft.hold() is False

    sweep(minutes(900))

    assert Incident.objects.get().is_draft
    assert heard == []


def test_published_between_reading_and_holding_stays_public(draft):
    Incident.objects.get().publish(at=minutes(5))

    assert draft.hold() is False
    assert draft.published_at == minutes(5)


# Recovery


def test_draft_that_is_over_is_discarded_quietly_and_kept(draft, heard):
    alert = draft.alert_links.get().alert

    recover(alert, minutes(5))

    draft.refresh_from_db()
    assert (draft.state, draft.ended_at) == (State.RESOLVED, minutes(5))
    assert draft.discarded_at == minutes(5)
    assert draft.decided_by == ""
    assert ("recovered", "REFUSED") in Decision.objects.values_list("gate", "verdict")
    sweep(minutes(60))
    assert draft.publish(at=minutes(61)) is False
    assert heard == []


@pytest.mark.parametrize("touch", ["hold", "write"])
def test_draft_that_a_person_has_touched_is_left_to_them(draft, touch):
    if touch == "hold":
        draft.hold()
    else:
        draft.update(state=State.IDENTIFIED, body="A disk.", at=minutes(4))

    recover(draft.alert_links.get().alert, minutes(5))
    sweep(minutes(60))

    draft.refresh_from_db()
    assert (draft.is_draft, draft.state) == (True, State.RESOLVED)


def test_discarded_draft_is_not_opened_again_while_it_fails(draft, heard, operator):
    assert draft.discard(at=minutes(5), reason="A drill", author=operator) is True
    assert draft.discard(at=minutes(6)) is False
    alert = draft.alert_links.get().alert

    alerts_still_failing.send(sender=Alert, alerts=[alert], at=minutes(7))
    recover(alert, minutes(8))

    draft.refresh_from_db()
    assert (draft.discard_reason, draft.decided_by) == ("A drill", "ana")
    assert draft.impacts.get().ended_at == minutes(5)
    assert "not opened again" in Decision.objects.get(gate="discarded").reason
    assert heard == []


def test_draft_of_the_reopen_window_counts_down_anew(set_up, make_alert):
    set_up(
        draft_mode="ON",
        auto_publish_after=600,
        auto_discard=False,
        reopen_seconds=3600,
    )
    first = make_alert()
    announce(first)
    recover(first, minutes(5))
    second = make_alert(first.monitor, first.rule, began_at=minutes(30))
    announce(second)

    draft = Incident.objects.get()
    assert draft.is_draft
    assert draft.publish_at == second.triggered_at + timedelta(minutes=10)


# What operators are told


@pytest.fixture
def told(set_up, make_trigger, make_alert, make_monitor):
    """The messages about a draft, a breaker and the quota, by their renderers."""
    set_up(
        draft_mode="ON",
        auto_publish_after=600,
        breaker_a_day=1,
        monthly_quota=2,
        tell=[make_trigger(url="http://127.0.0.1:9/")],
    )
    first = make_alert(make_monitor(name="A <b> & B"))
    announce(first)
    recover(first, minutes(5))
    announce(make_alert(first.monitor, first.rule, began_at=minutes(6)))
    announce(make_alert(make_monitor("other"), began_at=minutes(6)))
    telling.storm(Incident.objects.order_by("pk").last(), 23, Automation.current())
    return {message.renderer: message for message in Message.objects.all()}


def test_messages_say_what_is_held_back_and_lead_there(told):
    made = {
        name: rendering.render(message)
        for name, message in told.items()
        if name != "draft"
    }

    assert set(made) == {"storm", "breaker", "quota"}
    assert made["breaker"].subject == "Too many incidents: A <b> & B"
    assert "A &lt;b&gt; &amp; B" in made["breaker"].html
    assert "23 monitors began to fail" in made["storm"].text
    assert "no more open by themselves" in made["quota"].text
    for name, content in made.items():
        assert content.values["type"] == f"incident.{name}"
        assert "http://testserver/admin/incidents/" in content.text
        assert content.headers["Auto-Submitted"] == "auto-generated"


def test_message_of_a_draft_tells_the_countdown(draft, set_up, make_trigger):
    trigger = make_trigger(url="http://127.0.0.1:9/")
    telling.draft(draft, set_up(tell=[trigger]))
    message = Message.objects.get(renderer="draft")

    with time_machine.travel(draft.publish_at - timedelta(minutes=4), tick=False):
        content = rendering.render(message)

    assert content.subject == "Draft: Shop STATUS: DOWN"
    assert "It publishes itself in 4 minutes" in content.text
    assert content.values["incident"]["url"] == f"http://testserver{draft.admin_path}"


@pytest.mark.parametrize(
    ("decide", "reason"),
    [("publish", "public"), ("discard", "discarded"), ("delete_by_hand", "deleted")],
)
def test_message_of_a_draft_is_withdrawn_once_it_is_decided(
    draft, decide, reason, set_up, make_trigger
):
    telling.draft(draft, set_up(tell=[make_trigger(url="http://127.0.0.1:9/")]))

    getattr(draft, decide)(at=timezone.now())

    with pytest.raises(Withdrawn, match=reason):
        rendering.render(Message.objects.get(renderer="draft"))


# The admin


def text(response):
    assert response.status_code == 200
    return response.content.decode()


@pytest.fixture
def page(draft):
    return draft.admin_path


def test_list_shows_drafts_with_their_countdown(admin, draft):
    soon = timezone.now() + timedelta(minutes=4, seconds=30)
    Incident.objects.update(publish_at=soon)

    shown = text(admin.get("/admin/incidents/incident/"))

    assert "Draft" in shown
    assert "publishes itself in 4 min" in shown
    assert "Auto: Uptime" in shown


def test_list_hides_what_was_discarded_unless_asked(admin, draft):
    draft.discard(at=timezone.now())
    listed = "/admin/incidents/incident/"

    assert draft.title not in text(admin.get(listed))
    assert draft.title not in text(admin.get(f"{listed}?seen=draft"))
    assert draft.title in text(admin.get(f"{listed}?seen=discarded"))


def test_workspace_publishes_a_draft(admin, operator, draft, page):
    shown = text(admin.get(page))
    assert "Nobody outside sees it." in shown
    assert "Stop the countdown" in shown

    admin.post(page, {"_go_public": ""})

    draft.refresh_from_db()
    assert draft.published_at is not None
    assert draft.decided_by == operator.username
    assert "Nobody outside sees it." not in text(admin.get(page))


def test_workspace_stops_the_countdown(admin, draft, page):
    admin.post(page, {"_hold": ""})

    draft.refresh_from_db()
    assert (draft.is_held, draft.publish_at) == (True, None)
    assert "Stop the countdown" not in text(admin.get(page))


def test_workspace_asks_before_it_discards(admin, draft, page):
    asked = text(admin.post(page, {"_discard": ""}))
    draft.refresh_from_db()
    assert "It will never be public" in asked
    assert draft.discarded_at is None

    admin.post(page, {"_discarded": "", "reason": "A drill"})

    draft.refresh_from_db()
    assert (draft.discard_reason, draft.decided_by) == ("A drill", "ana")
    assert "This draft was discarded" in text(admin.get(page))
    assert admin.post(page, {"_go_public": ""}).status_code == 403


def test_workspace_says_who_was_faster(admin, draft, page):
    draft.publish(at=timezone.now())

    shown = admin.post(page, {"_discarded": ""}, follow=True)

    assert "Somebody has decided about this draft before you." in text(shown)


@pytest.mark.parametrize("door", ["_go_public", "_hold", "_discarded"])
def test_workspace_decides_nothing_about_a_private_incident(
    admin, draft, page, group, door
):
    draft.restrict([group], at=timezone.now())

    shown = text(admin.post(page, {door: ""}, follow=True))

    assert "It is private: there is nothing to decide about it." in shown
    assert "before you" not in shown
    draft.refresh_from_db()
    assert (draft.published_at, draft.discarded_at) == (None, None)


def test_publishing_needs_its_own_permission(
    client, draft, page, django_user_model, django_permission
):
    editor = django_user_model.objects.create_user("ed", is_staff=True)
    editor.user_permissions.set(
        [django_permission("view_incident"), django_permission("change_incident")]
    )
    client.force_login(editor)

    assert "Stop the countdown" not in text(client.get(page))
    for door in ("_go_public", "_hold", "_discard", "_discarded"):
        assert client.post(page, {door: ""}).status_code == 403
    draft.refresh_from_db()
    assert draft.is_draft


@pytest.mark.parametrize("path", ["list", "workspace"])
def test_pages_of_drafts_need_as_many_queries_for_one_as_for_thirty(
    path, admin, draft, page, make_monitor, make_alert
):
    address = page if path == "workspace" else "/admin/incidents/incident/"
    admin.get(address)
    with CaptureQueriesContext(connection) as one:
        admin.get(address)
    for n in range(29):
        announce(make_alert(make_monitor(f"m{n}"), draft.alert_links.get().alert.rule))

    with CaptureQueriesContext(connection) as thirty:
        admin.get(address)

    assert len(thirty) == len(one)
