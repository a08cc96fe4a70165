"""The pages beside the workspace: merge, split, relate, and who sees an incident."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from incidents.models import Incident, IncidentUpdate, Relation
from subscriptions.models import FanOut

HOSTILE = '<script>alert("x")</script>'


@pytest.fixture
def operator_of(db):
    """A logged-in operator who may do everything with incidents, in some groups."""

    def operator_of(*groups):
        user = User.objects.create_user(f"op{User.objects.count()}", is_staff=True)
        named = Permission.objects.filter(content_type__app_label="incidents")
        user.user_permissions.set(named)
        user.groups.set(groups)
        client = Client()
        client.force_login(user)
        return client

    return operator_of


def page(incident, name="change"):
    return f"/admin/incidents/incident/{incident.pk}/{name}/"


def test_workspace_offers_what_can_be_done(admin, open_incident, make_monitor):
    both = {make_monitor("shop"): "DOWN", make_monitor("mail"): "DOWN"}
    public = admin.get(page(open_incident(impacts=both))).content.decode()
    alone = admin.get(page(open_incident())).content.decode()

    for name in ("Merge…", "Split…", "Relate…"):
        assert name in public
    assert "Who sees it…" not in public
    assert "Split…" not in alone


def test_incident_is_merged_in_the_admin(admin, open_incident):
    first, second = open_incident("Slow"), open_incident(HOSTILE)
    form = admin.get(page(first, "merge")).content.decode()
    assert HOSTILE not in form
    assert f'<option value="{second.pk}">' in form

    asked = admin.post(page(first, "merge"), {"into": second.pk})
    assert "This cannot be undone." in asked.content.decode()
    assert HOSTILE not in asked.content.decode()
    first.refresh_from_db()
    assert first.merged_into is None
    sure = {"into": second.pk, "sure": asked.context_data["question"]}
    third = open_incident("Another")
    assert (
        admin.post(page(first, "merge"), {**sure, "into": third.pk}).status_code == 200
    )
    answer = admin.post(page(first, "merge"), sure, follow=True)

    assert answer.redirect_chain == [(page(second), 302)]
    first.refresh_from_db()
    assert first.merged_into == second
    kept = admin.get(page(first)).content.decode()
    assert "became part of" in kept
    assert HOSTILE not in kept
    assert "Merge…" not in kept


@pytest.mark.parametrize("number", ["", "0", "99999", "x", "9" * 30])
def test_merge_into_nothing_says_so(admin, open_incident, number):
    incident = open_incident()

    answer = admin.post(page(incident, "merge"), {"into": number, "body": "Kept"})

    assert answer.status_code == 200
    assert b"errorlist" in answer.content
    assert b"Kept" in answer.content
    incident.refresh_from_db()
    assert incident.merged_into is None


def test_merge_that_cannot_be_says_why(admin, open_incident):
    first, second = open_incident(), open_incident()
    second.update(state="RESOLVED", body="Over", at=timezone.now())

    answer = admin.post(page(first, "merge"), {"into": second.pk})

    assert b"The other one is over" in answer.content


def test_incident_is_split_in_the_admin(admin, open_incident, make_monitor):
    shop, mail = make_monitor("shop"), make_monitor("mail")
    incident = open_incident(impacts={shop: "DOWN", mail: "DOWN"})

    admin.post(
        page(incident, "split"),
        {"monitors": [mail.pk], "title": "Mail", "summary": "Only mail."},
    )

    made = Incident.objects.get(title="Mail")
    assert made.impacts.get().monitor == mail
    assert made.updates.get().body == "Only mail."


def test_split_of_everything_says_what_to_do(admin, open_incident, make_monitor):
    shop = make_monitor("shop")
    incident = open_incident(impacts={shop: "DOWN"})
    said = {"monitors": [shop.pk], "title": "x", "summary": "x"}

    answer = admin.post(page(incident, "split"), said)

    assert b"Leave at least one monitor" in answer.content


def test_incidents_are_related_and_parted_in_the_admin(admin, open_incident):
    first, second = open_incident("Slow"), open_incident(HOSTILE)

    admin.post(page(first, "relate"), {"other": second.pk, "kind": "DUPLICATE"})

    assert Relation.objects.get().kind == "DUPLICATE"
    shown = admin.get(page(first)).content.decode()
    assert "Duplicate of" in shown
    assert HOSTILE not in shown
    assert "Has a duplicate" in admin.get(page(second)).content.decode()
    admin.post(page(second, "unrelate"), {"other": first.pk})
    assert not Relation.objects.exists()


def test_private_incident_is_there_for_its_groups_alone(
    operator_of, group, open_incident
):
    hidden = open_incident("Breach", groups=[group])
    member, other = operator_of(group), operator_of()

    assert "Breach" in member.get(page(hidden)).content.decode()
    assert "Security" in member.get(page(hidden)).content.decode()
    for path in ("/admin/incidents/incident/", "/admin/"):
        assert "Breach" in member.get(path).content.decode()
        assert "Breach" not in other.get(path).content.decode()
    for name in ("change", "merge", "history", "export/markdown", "delete"):
        answer = other.get(page(hidden, name), follow=True)
        assert "Breach" not in answer.content.decode()
    answer = other.post(page(hidden), {"_publish": "1", "state": "RESOLVED"})
    assert Incident.objects.get().updates.count() == 1


def test_private_incident_is_not_on_any_public_page(
    client, group, open_incident, make_monitor
):
    hidden = open_incident(
        "Breach", groups=[group], impacts={make_monitor("shop"): "DOWN"}
    )

    for path in ("/", "/history/", hidden.path):
        assert "Breach" not in client.get(path).content.decode()
    assert client.get(hidden.path).status_code == 404
    assert not FanOut.objects.exists()


def test_private_incident_of_a_monitor_is_not_on_its_page_for_others(
    operator_of, group, open_incident, make_monitor
):
    shop = make_monitor("shop")
    open_incident("Breach", groups=[group], impacts={shop: "DOWN"})
    other = operator_of()
    user = User.objects.get(username="op0")
    user.user_permissions.add(Permission.objects.get(codename="view_monitor"))

    shown = other.get(f"/admin/monitors/monitor/{shop.pk}/change/")

    assert shown.status_code == 200
    assert "Breach" not in shown.content.decode()


def test_nobody_shuts_themselves_out(operator_of, group, open_incident):
    incident = open_incident()
    Incident.objects.filter(pk=incident.pk).update(published_at=None)
    stranger, member = operator_of(), operator_of(group)

    refused = stranger.post(page(incident, "privacy"), {"groups": [group.pk]})
    member.post(page(incident, "privacy"), {"groups": [group.pk]})

    assert b"You are in none of these groups" in refused.content
    incident.refresh_from_db()
    assert incident.is_private
    assert stranger.get(page(incident, "privacy")).status_code == 404


def test_pages_are_for_those_who_may_change(db, open_incident):
    incident = open_incident()
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_incident"))
    viewer = Client()
    viewer.force_login(user)

    for name in ("merge", "split", "relate", "privacy"):
        assert viewer.get(page(incident, name)).status_code == 403
    assert "Merge…" not in viewer.get(page(incident)).content.decode()


# Entering


def entered(**more):
    began = timezone.now() - timedelta(hours=3)
    return {
        "title": "Slow on Sunday",
        "summary": "The shop was slow.",
        "started_at": f"{began:%Y-%m-%d %H:%M:%S}",
        "severity": "2",
        "impacts-TOTAL_FORMS": "0",
        "impacts-INITIAL_FORMS": "0",
        **more,
    }


def test_past_incident_is_entered_with_owner_and_labels(admin, operator):
    ended = timezone.now() - timedelta(hours=2)

    answer = admin.post(
        "/admin/incidents/incident/add/",
        entered(
            ended_at=f"{ended:%Y-%m-%d %H:%M:%S}",
            closing="A disk was full.",
            owner=operator.pk,
        ),
        follow=True,
    )

    incident = Incident.objects.get()
    assert incident.state == "RESOLVED"
    assert incident.owner == operator
    assert incident.updates.first().body == "A disk was full."
    assert not FanOut.objects.exists()
    assert b"The incident is entered; nobody gets a message." in answer.content


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"ended_at": "2001-01-01 00:00:00"}, b"It had not begun by then."),
        ({"closing": "It ended."}, b"Only what is over has a last update."),
    ],
)
def test_unfit_past_says_what_is_wrong(admin, more, said):
    answer = admin.post("/admin/incidents/incident/add/", entered(**more))

    assert said in answer.content
    assert b"The shop was slow." in answer.content
    assert not Incident.objects.exists()


def test_incident_is_opened_quietly_or_privately(admin, group):
    quiet = admin.post(
        "/admin/incidents/incident/add/", entered(is_quiet="on"), follow=True
    )
    private = admin.post(
        "/admin/incidents/incident/add/", entered(groups=[group.pk]), follow=True
    )

    assert b"The incident is open; nobody gets a message." in quiet.content
    assert b"kept among those who may see it" in private.content
    assert not FanOut.objects.exists()
    assert Incident.objects.filter(is_private=True).count() == 1


def test_incident_is_entered_as_a_draft_and_published(admin):
    answer = admin.post(
        "/admin/incidents/incident/add/", entered(is_draft="on"), follow=True
    )

    assert b"The draft waits to be published" in answer.content
    assert not FanOut.objects.exists()
    incident = Incident.objects.get()
    assert incident.is_draft
    admin.post(page(incident), {"_go_public": ""})
    assert FanOut.objects.count() == 1


def test_scheduled_update_takes_its_promise_along(admin, open_incident):
    incident = open_incident()
    soon = timezone.now() + timedelta(hours=1)

    admin.post(
        page(incident),
        {
            "state": "MONITORING",
            "body": "Better.",
            "publish_at": f"{soon:%Y-%m-%d %H:%M:%S}",
            "next_update": "30",
            "version": incident.version,
        },
    )

    assert IncidentUpdate.every.get(body="Better.").promises_minutes == 30


def test_pages_need_as_many_queries_for_many_as_for_few(admin, open_incident):
    incident = open_incident()

    def count(name):
        with CaptureQueriesContext(connection) as found:
            assert admin.get(page(incident, name)).status_code == 200
        return len(found)

    few = [count(name) for name in ("merge", "relate")]
    for n in range(30):
        open_incident(f"Other {n}")

    assert [count(name) for name in ("merge", "relate")] == few
