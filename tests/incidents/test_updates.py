from datetime import timedelta

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from access.models import ApiKey
from incidents.models import Incident, IncidentUpdate, State, UpdateTemplate
from incidents.tasks import tell_updates
from monitors.models import Overlay
from outbox.rendering import Withdrawn
from statuspages.models import StatusPage
from statuspages.stories import Story, on_page
from subscriptions import emails
from subscriptions.models import Batch, FanOut, Subscriber

pytestmark = pytest.mark.django_db

START = timezone.now().replace(microsecond=0) - timedelta(hours=2)


def minutes(number):
    return START + timedelta(minutes=number)


@pytest.fixture
def opened(make_monitor):
    return Incident.open(
        title="Orders fail",
        summary="We look into it.",
        started_at=START,
        at=START,
        source="DASHBOARD",
        impacts={make_monitor(): "DOWN"},
    )


@pytest.fixture
def page(opened):
    return f"/admin/incidents/incident/{opened.pk}/change/"


def story(incident):
    found = on_page(StatusPage.default()).get(pk=incident.pk)
    return [update.body for update in Story(found, timezone.now(), {}).updates]


# Internal notes


def test_note_is_for_operators_only(opened, client, admin, api, page, heard):
    news = FanOut.objects.count()
    opened.note("The *secret* cause", at=minutes(5), author="ana")

    reader = APIClient()
    key = ApiKey(name="reader", scopes=["incidents:read"]).issue()
    reader.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
    path = f"/api/v1/incidents/{opened.pk}/"
    public = [
        client.get(opened.path),
        client.get("/"),
        client.get("/history/"),
        *(reader.get(p) for p in (path, f"{path}updates/", "/api/v1/incidents/")),
        api.get(path),
    ]
    for answer in public:
        assert answer.status_code == 200
        assert b"secret" not in answer.content
    assert story(opened) == ["We look into it."]
    assert (heard, FanOut.objects.count()) == ([], news)
    note = api.get(f"{path}updates/").json()["results"][0]
    assert (note["body"], note["is_internal"]) == ("The *secret* cause", True)
    assert "<em>secret</em>" in admin.get(page).content.decode()


def test_note_changes_no_state(opened):
    opened.update(state="RESOLVED", body="Done.", at=minutes(5))
    opened.note("Was it?", at=minutes(9))

    opened.refresh_from_db()
    assert (opened.state, opened.ended_at) == (State.RESOLVED, minutes(5))


def test_reader_cannot_read_one_update(opened):
    reader = APIClient()
    key = ApiKey(name="reader", scopes=["incidents:read"]).issue()
    reader.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
    note = opened.note("x", at=minutes(5))

    answer = reader.get(f"/api/v1/incidents/{opened.pk}/updates/{note.pk}/")

    assert answer.status_code == 403


def test_note_is_kept_from_the_workspace(admin, operator, opened, page):
    opened.update(state="IDENTIFIED", body="x", at=minutes(5))

    admin.post(page, {"body": "Ask Ben", "_note": ""})

    note = IncidentUpdate.every.get(is_internal=True)
    assert (note.body, note.author, note.state) == ("Ask Ben", operator, "IDENTIFIED")


# Edits


def test_edit_is_seen_kept_and_sent_to_nobody(opened, admin, operator, page, heard):
    update = opened.updates.get()
    news = FanOut.objects.count()

    assert update.edit(body="We *look*.", at=minutes(9), author=operator)
    assert not update.edit(body="We *look*.", at=minutes(10))

    update.refresh_from_db()
    version = update.versions.get()
    assert (update.html, update.edited_at) == (
        "<p>We <em>look</em>.</p>",
        minutes(9),
    )
    assert (version.body, version.replaced_by) == ("We look into it.", "ana")
    assert story(opened) == ["We *look*."]
    assert (heard, FanOut.objects.count()) == (["updated"], news)
    assert "edited" in admin.get(page).content.decode()


def test_edit_of_the_end_moves_it_with_what_ended_then(opened):
    end = opened.update(state="RESOLVED", body="Done.", at=minutes(30))

    end.edit(told_at=minutes(20), at=minutes(40))

    opened.refresh_from_db()
    assert opened.ended_at == minutes(20)
    assert opened.impacts.get().ended_at == minutes(20)
    assert Overlay.objects.get().ended_at == minutes(20)


def test_no_impact_ends_before_it_began(opened, make_monitor):
    late = make_monitor("late")
    opened.revise(impacts={late: "DOWN"}, at=minutes(25))
    end = opened.update(state="RESOLVED", body="Done.", at=minutes(30))

    end.edit(told_at=minutes(20), at=minutes(40))

    assert opened.impacts.get(monitor=late).ended_at == minutes(25)
    assert Overlay.objects.get(monitor=late).ended_at == minutes(25)


def test_edit_in_the_admin_keeps_what_collides(admin, opened):
    update = opened.updates.get()
    path = f"/admin/incidents/incident/{opened.pk}/updates/{update.pk}/"
    given = {
        "state": "INVESTIGATING",
        "body": "Mine",
        "at": f"{START:%Y-%m-%dT%H:%M:%S}",
        "version": opened.version,
    }
    assert "We look into it." in admin.get(path).content.decode()
    opened.note("x", at=minutes(1))

    late = admin.post(path, given).content.decode()
    opened.refresh_from_db()
    again = admin.post(path, given | {"version": opened.version})

    assert "Somebody else has changed this incident" in late
    assert "Mine" in late
    assert f'name="version" value="{opened.version}"' in late
    assert again.status_code == 302
    assert opened.updates.get().body == "Mine"
    assert "We look into it." in admin.get(path).content.decode()


# Taking back


def test_state_is_that_of_the_latest_that_is_left(opened, heard):
    opened.update(state="IDENTIFIED", body="Found.", at=minutes(5))
    end = opened.update(state="RESOLVED", body="Done.", at=minutes(9))
    end = IncidentUpdate.objects.get(pk=end.pk)

    assert end.take_back(at=minutes(10), author="ana")
    assert not end.take_back(at=minutes(11))

    opened.refresh_from_db()
    assert (opened.state, opened.ended_at) == (State.IDENTIFIED, None)
    assert opened.impacts.get(ended_at=None).level == "DOWN"
    assert story(opened) == ["Found.", "We look into it."]
    assert IncidentUpdate.every.get(pk=end.pk).deleted_at == minutes(10)
    assert heard == ["updated", "resolved", "updated"]


def test_the_only_update_stays(opened, admin, api):
    update = opened.updates.get()
    path = f"/api/v1/incidents/{opened.pk}/updates/{update.pk}/"
    own = f"/admin/incidents/incident/{opened.pk}/updates/{update.pk}/"

    assert not update.take_back(at=minutes(1))
    assert api.delete(path).status_code == 409
    assert b"only update" in admin.post(own, {"_take_back": ""}, follow=True).content
    assert opened.updates.count() == 1


def test_mail_of_what_was_taken_back_is_not_sent(clockwork, mailbox, make_monitor):
    Subscriber.add("ana@example.org", at=START)
    now = timezone.now()
    incident = Incident.open(
        title="Slow", summary="x", started_at=now, at=now, source="API"
    )
    clockwork.settle()
    mailbox.mails.clear()
    written = incident.update(state="IDENTIFIED", body="y", at=timezone.now())
    written.take_back(at=timezone.now())

    clockwork.settle()

    assert mailbox.mails == []


def test_batch_does_not_tell_of_what_was_taken_back(opened):
    batch = Batch.objects.create(due_at=START)
    written = opened.update(state="IDENTIFIED", body="y", at=minutes(5))
    FanOut.objects.filter(update=written).update(batch=batch)
    reader = Subscriber.add("ana@example.org", at=START)

    before = emails.incidents(batch.message_to(reader))
    written.take_back(at=minutes(6))

    assert before.subject == "Identified: Orders fail"
    with pytest.raises(Withdrawn):
        emails.incidents(batch.message_to(reader))


# Whom it is sent to


@pytest.mark.parametrize("state", ["IDENTIFIED", "RESOLVED"])
def test_quiet_update_changes_pages_and_sends_nothing(opened, state, heard):
    news = FanOut.objects.count()

    opened.update(state=state, body="Quiet.", at=minutes(5), notifies=False)

    assert story(opened)[0] == "Quiet."
    assert opened.state == state
    assert (heard, FanOut.objects.count()) == (["updated"], news)


def test_quiet_update_from_the_workspace_and_the_api(opened, admin, api, page):
    news = FanOut.objects.count()
    opened.refresh_from_db()
    given = {"state": "IDENTIFIED", "body": "x", "version": opened.version}

    admin.post(page, {**given, "is_quiet": "on", "_publish": ""})
    api.post(
        f"/api/v1/incidents/{opened.pk}/updates/",
        {"state": "MONITORING", "body": "y", "notifies": False},
    )

    assert opened.updates.count() == 3
    assert FanOut.objects.count() == news


# To be told later


@pytest.fixture
def waiting(opened):
    """An update whose time has come."""
    soon = timezone.now() - timedelta(seconds=1)
    return opened.schedule(
        state="MONITORING", body="Later.", publish_at=soon, author="ana"
    )


def test_scheduled_update_is_told_once(opened, waiting, heard):
    assert story(opened) == ["We look into it."]
    news = FanOut.objects.count()

    tell_updates.run()
    tell_updates.run()

    opened.refresh_from_db()
    assert story(opened) == ["Later.", "We look into it."]
    assert opened.state == State.MONITORING
    assert (heard, FanOut.objects.count()) == (["updated"], news + 1)
    assert opened.timeline.filter(kind="UPDATE", actor="ana").count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_sweeps_at_once_tell_it_once(opened, waiting, at_once, heard):
    at_once(tell_updates.run, tell_updates.run)

    assert heard == ["updated"]
    assert FanOut.objects.filter(update=waiting).count() == 1


def test_update_to_come_is_not_told_yet(opened):
    later = timezone.now() + timedelta(minutes=5)
    opened.schedule(state="RESOLVED", body="Later.", publish_at=later)

    tell_updates.run()

    assert opened.updates.count() == 1


def test_what_ended_meanwhile_is_not_reopened(opened, waiting, admin, page):
    opened.update(state="RESOLVED", body="Done.", at=timezone.now())

    tell_updates.run()

    opened.refresh_from_db()
    assert opened.state == State.RESOLVED
    assert IncidentUpdate.every.waiting().get() == waiting
    assert "it ended before this was told" in admin.get(page).content.decode()


def test_update_is_scheduled_told_now_or_taken_back_in_the_admin(
    opened, admin, operator, page
):
    later = timezone.now() + timedelta(hours=1)
    for body in ("One", "Two"):
        opened.refresh_from_db()
        given = {
            "state": "MONITORING",
            "body": body,
            "publish_at": f"{later:%Y-%m-%dT%H:%M:%S}",
            "version": opened.version,
            "_publish": "",
        }
        admin.post(page, given)
    one, two = IncidentUpdate.every.waiting().order_by("pk")

    for update, door in ((one, "_tell_now"), (two, "_taken_back")):
        path = f"/admin/incidents/incident/{opened.pk}/updates/{update.pk}/"
        assert admin.get(path).status_code == 200
        opened.refresh_from_db()
        given = {"state": update.state, "body": update.body, door: ""}
        admin.post(path, given | {"version": opened.version})

    assert story(opened) == ["One", "We look into it."]
    assert not IncidentUpdate.every.waiting().exists()


def test_update_is_scheduled_over_the_api(opened, api):
    path = f"/api/v1/incidents/{opened.pk}/updates/"
    later = timezone.now() + timedelta(hours=1)
    given = {"state": "MONITORING", "body": "Later."}

    answer = api.post(path, given | {"publish_at": later.isoformat()})
    past = api.post(path, given | {"publish_at": START.isoformat()})

    assert answer.status_code == 201
    assert answer.json()["publish_at"] is not None
    assert past.status_code == 400
    assert opened.updates.count() == 1


def test_edited_update_is_read_with_its_versions(opened, api):
    update = opened.updates.get()
    path = f"/api/v1/incidents/{opened.pk}/updates/{update.pk}/"

    edited = api.patch(path, {"body": "Otherwise."}).json()

    assert edited["body"] == "Otherwise."
    assert [v["body"] for v in edited["versions"]] == ["We look into it."]
    assert edited["versions"][0]["replaced_by"] == "tests"


def test_note_takes_no_state(opened, api):
    path = f"/api/v1/incidents/{opened.pk}/updates/"
    given = {"is_internal": True, "body": "x", "state": "RESOLVED"}

    assert api.post(path, given).status_code == 400
    assert api.post(path, {"body": "x"}).json()["errors"] == {
        "state": ["This field is required."]
    }


# Templates


def test_template_is_filled_in_and_may_be_changed(opened, admin, page):
    Incident.objects.update(title="A *b* fails")
    template = UpdateTemplate.objects.create(
        name="Slow", state="IDENTIFIED", body="{{incident.title}}: {{monitors}}."
    )

    shown = admin.post(page, {"template": template.pk, "_fill": ""}).content.decode()

    assert "A \\*b\\* fails: Shop." in shown
    assert opened.updates.count() == 1


@pytest.mark.parametrize("body", ["{{nobody}}", "{{#monitors}}", " "])
def test_template_that_cannot_be_filled_in_is_refused(api, admin, body):
    given = {"name": "x", "state": "IDENTIFIED", "body": body}

    assert api.post("/api/v1/update-templates/", given).status_code == 400
    assert admin.post("/admin/incidents/updatetemplate/add/", given).status_code == 200
    assert not UpdateTemplate.objects.exists()


def test_template_lives_and_dies_over_the_api(api):
    path = "/api/v1/update-templates/"
    made = api.post(path, {"name": "Slow", "body": "{{duration}}"}).json()

    assert made["state"] == "INVESTIGATING"
    own = f"{path}{made['id']}/"
    assert api.patch(own, {"name": "Fast"}).json()["name"] == "Fast"
    assert api.delete(own).status_code == 204


# Odd words


@pytest.mark.parametrize("body", ["<script>alert(1)</script>", "<img src=x>", "&nbsp;"])
def test_words_that_nobody_would_see_are_refused(opened, admin, api, page, body):
    opened.refresh_from_db()
    given = {"state": "IDENTIFIED", "body": body}

    answer = api.post(f"/api/v1/incidents/{opened.pk}/updates/", given)
    shown = admin.post(page, {**given, "version": opened.version, "_publish": ""})

    assert answer.json()["errors"] == {
        "body": ["Nothing of this would be seen by anybody."]
    }
    assert b"Nothing of this would be seen" in shown.content
    assert opened.updates.count() == 1


# Promises


def test_promise_is_kept_by_the_next_update_or_the_end(opened, admin, api, page):
    opened.refresh_from_db()
    now = timezone.now()
    given = {"state": "IDENTIFIED", "body": "x", "version": opened.version}

    admin.post(page, {**given, "next_update": "30", "_publish": ""})
    opened.refresh_from_db()
    promised = opened.next_update_at
    shown = admin.get(page).content.decode()
    listed = admin.get("/admin/incidents/incident/").content.decode()
    read = api.get(f"/api/v1/incidents/{opened.pk}/").json()["next_update_at"]

    assert timedelta(0) <= promised - now - timedelta(minutes=30) < timedelta(minutes=1)
    assert "next update in 29 min" in shown
    assert "next update in 29 min" in listed
    assert read is not None
    opened.update(state="IDENTIFIED", body="Earlier", at=minutes(1))
    assert opened.next_update_at == promised, "what is back-dated keeps no promise"
    opened.update(state="RESOLVED", body="Done.", at=timezone.now())
    assert opened.next_update_at is None
    assert opened.timeline.filter(kind="PROMISE").count() == 1


def test_promise_that_was_not_kept_is_overdue(opened, admin):
    late = timezone.now() - timedelta(minutes=7)
    Incident.objects.update(next_update_at=late)

    shown = admin.get("/admin/incidents/incident/").content.decode()

    assert "update overdue by 7 min" in shown
    opened.refresh_from_db()
    assert Story(opened, timezone.now(), {}).next_update_by is None


@pytest.mark.parametrize("more", [{"is_internal": True}, {"state": "RESOLVED"}])
def test_only_what_goes_on_can_promise_more(opened, api, admin, page, more):
    later = (timezone.now() + timedelta(hours=1)).isoformat()
    path = f"/api/v1/incidents/{opened.pk}/updates/"
    given = {"body": "x", "next_update_at": later}

    assert api.post(path, given | more).status_code == 400
    opened.refresh_from_db()
    form = {"state": "RESOLVED", "body": "x", "next_update": "30", "_publish": ""}
    shown = admin.post(page, form | {"version": opened.version})
    assert b"can promise more" in shown.content


def test_promise_is_made_over_the_api_and_told(opened, api):
    later = timezone.now() + timedelta(hours=1)
    path = f"/api/v1/incidents/{opened.pk}/updates/"
    given = {"body": "x", "state": "IDENTIFIED", "next_update_at": later.isoformat()}

    assert api.post(path, given).status_code == 201
    opened.refresh_from_db()
    assert Story(opened, timezone.now(), {}).next_update_by == later
