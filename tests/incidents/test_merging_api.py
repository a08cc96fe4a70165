"""Merging, splitting, relating and restricting incidents, over the API."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, User
from django.utils import timezone
from rest_framework.test import APIClient

from access.models import ApiKey
from incidents import tasks
from incidents.models import Incident, Relation
from subscriptions.models import FanOut


@pytest.fixture
def client_of(db):
    """A client whose key somebody has made, with all scopes."""

    def client_of(user=None):
        client = APIClient()
        key = ApiKey(name=str(user), created_by=user).issue()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
        return client

    return client_of


def post(client, incident, action, /, **body):
    path = f"/api/v1/incidents/{incident.pk}/{action}/"
    return client.post(path, body, format="json")


def test_merge_answers_the_incident_that_goes_on(api, open_incident):
    first, second = open_incident("Slow"), open_incident("Down")

    answers = [post(api, first, "merge", into=second.pk) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json()["id"] == second.pk
    assert len(answers[1].json()["updates"]) == 2
    merged = api.get(f"/api/v1/incidents/{first.pk}/").json()
    assert merged["merged_into"] == second.pk


def test_what_was_merged_is_not_written_to(api, open_incident):
    first, second = open_incident(), open_incident()
    post(api, first, "merge", into=second.pk)

    refused = [
        post(api, first, "updates", state="RESOLVED", body="x"),
        post(api, first, "publish"),
        post(api, first, "split", monitors=["shop"], title="x", summary="x"),
        post(api, second, "merge", into=first.pk),
    ]

    assert {answer.status_code for answer in refused} == {409}
    assert refused[0].json()["detail"].startswith("This incident became part of")


@pytest.mark.parametrize(
    ("body", "field"),
    [({}, "into"), ({"into": 0}, "into"), ({"into": 999}, "into")],
    ids=["nothing", "0", "unknown"],
)
def test_merge_into_nothing_is_refused_by_field(api, open_incident, body, field):
    answer = post(api, open_incident(), "merge", **body)

    assert answer.status_code == 400
    assert field in answer.json()["errors"]


def test_readers_see_nothing_of_what_was_merged(api, reader, open_incident):
    first, second = open_incident(), open_incident()
    post(api, first, "merge", into=second.pk)

    listed = reader.get("/api/v1/incidents/").json()["results"]

    assert [incident["id"] for incident in listed] == [second.pk]
    assert reader.get(f"/api/v1/incidents/{first.pk}/").status_code == 404


def test_split_answers_the_new_incident(api, open_incident, make_monitor):
    shop, mail = make_monitor("shop"), make_monitor("mail")
    incident = open_incident(impacts={shop: "DOWN", mail: "DEGRADED"})

    answer = post(
        api, incident, "split", monitors=["mail"], title="Mail", summary="Slow mail."
    )

    assert answer.status_code == 201
    assert answer.json()["monitors"] == [{"tag": "mail", "impact": "DEGRADED"}]
    assert answer.json()["id"] != incident.pk
    left = api.get(f"/api/v1/incidents/{incident.pk}/").json()["monitors"]
    assert left == [{"tag": "shop", "impact": "DOWN"}]


@pytest.mark.parametrize("tags", [[], ["shop"], ["other"]])
def test_split_of_unfit_monitors_is_refused(api, open_incident, make_monitor, tags):
    incident = open_incident(impacts={make_monitor("shop"): "DOWN"})

    answer = post(api, incident, "split", monitors=tags, title="x", summary="x")

    assert answer.status_code == 400
    assert "monitors" in answer.json()["errors"]


def test_relations_are_read_from_both_and_taken_back(api, open_incident):
    first, second = open_incident(), open_incident()

    made = post(api, first, "relations", incident=second.pk, kind="duplicate")

    assert made.status_code == 201
    assert made.json() == [{"incident": second.pk, "kind": "duplicate"}]
    other = f"/api/v1/incidents/{second.pk}/relations/"
    assert api.get(other).json() == [{"incident": first.pk, "kind": "duplicated_by"}]
    assert api.delete(f"{other}{first.pk}/").status_code == 204
    assert api.delete(f"{other}{first.pk}/").status_code == 404
    assert not Relation.objects.exists()


def test_relation_to_itself_is_refused(api, open_incident):
    incident = open_incident()

    answer = post(api, incident, "relations", incident=incident.pk, kind="related")

    assert answer.status_code == 400


# Private incidents


@pytest.fixture
def member(group):
    user = User.objects.create_user("mia", is_staff=True)
    user.groups.add(group)
    return user


def test_private_incident_is_seen_by_its_groups_alone(
    api, client_of, member, group, open_incident
):
    hidden = open_incident("Breach", groups=[group])
    other = User.objects.create_user("bob", is_staff=True)
    path = f"/api/v1/incidents/{hidden.pk}/"

    assert client_of(member).get(path).json()["is_private"] is True
    for client in (api, client_of(other)):
        assert client.get(path).status_code == 404
        assert client.get("/api/v1/incidents/").json()["results"] == []
        assert client.get(f"{path}timeline/").status_code == 404


def test_private_incident_is_told_to_nobody(client_of, member, group):
    answer = client_of(member).post(
        "/api/v1/incidents/",
        {
            "title": "Breach",
            "summary": "We look.",
            "started_at": "2026-11-01T10:00:00Z",
            "groups": ["Security"],
        },
        format="json",
    )

    assert answer.status_code == 201
    assert answer.json()["is_private"] is True
    assert answer.json()["is_draft"] is False
    assert not FanOut.objects.exists()
    for action in ("publish", "hold", "discard"):
        refused = post(client_of(member), Incident.objects.get(), action)
        assert refused.status_code == 409
        assert "private" in refused.json()["detail"]
    left = Incident.objects.get()
    assert (left.published_at, left.discarded_at) == (None, None)


def test_draft_becomes_private_and_a_draft_again(client_of, member, group):
    client = client_of(member)
    incident = Incident.open(
        title="x",
        summary="x",
        started_at=timezone.now(),
        at=timezone.now(),
        source="API",
    )
    Incident.objects.filter(pk=incident.pk).update(published_at=None)

    hidden = post(client, incident, "restrict", groups=["Security"])
    shown = post(client, incident, "restrict", groups=[])

    assert (hidden.json()["is_private"], hidden.json()["is_draft"]) == (True, False)
    assert (shown.json()["is_private"], shown.json()["is_draft"]) == (False, True)
    assert post(client, incident, "publish").json()["is_draft"] is False


def test_what_is_public_cannot_be_hidden(api, group, open_incident):
    answer = post(api, open_incident(), "restrict", groups=["Security"])

    assert answer.status_code == 409


def test_private_incident_cannot_be_related_to_by_a_stranger(api, group, open_incident):
    hidden, shown = open_incident(groups=[group]), open_incident()

    answer = post(api, shown, "relations", incident=hidden.pk, kind="related")

    assert answer.status_code == 400
    assert not Relation.objects.exists()


def test_key_of_who_was_locked_out_sees_nothing_private(
    client_of, member, group, open_incident
):
    hidden = open_incident(groups=[group])
    client = client_of(member)
    User.objects.filter(pk=member.pk).update(is_active=False)

    assert client.get(f"/api/v1/incidents/{hidden.pk}/").status_code == 404


# What was over before it was entered


def test_past_incident_is_entered_without_a_message(api, make_monitor):
    make_monitor("shop")
    answer = api.post(
        "/api/v1/incidents/",
        {
            "title": "Slow on Sunday",
            "summary": "The shop was slow.",
            "started_at": "2026-11-01T10:00:00Z",
            "ended_at": "2026-11-01T11:00:00Z",
            "closing": "A disk was full.",
            "monitors": [{"tag": "shop", "impact": "DOWN"}],
        },
        format="json",
    )

    assert answer.status_code == 201, answer.json()
    told = answer.json()
    assert (told["state"], told["ended_at"]) == ("RESOLVED", "2026-11-01T11:00:00Z")
    assert [u["body"] for u in told["updates"]] == [
        "A disk was full.",
        "The shop was slow.",
    ]
    assert not FanOut.objects.exists()
    impact = Incident.objects.get().impacts.get()
    assert impact.ended_at - impact.started_at == timedelta(hours=1)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"ended_at": "2026-11-01T09:00:00Z"}, "ended_at"),
        ({"closing": "x"}, "closing"),
        ({"groups": ["Nobody"]}, "groups"),
    ],
)
def test_unfit_past_is_refused_by_field(api, given, field):
    body = {"title": "x", "summary": "x", "started_at": "2026-11-01T10:00:00Z"}

    answer = api.post("/api/v1/incidents/", body | given, format="json")

    assert answer.status_code == 400
    assert field in answer.json()["errors"]
    assert not Incident.objects.exists()


def test_incident_is_opened_quietly(api):
    body = {"title": "x", "summary": "x", "started_at": "2026-11-01T10:00:00Z"}

    answer = api.post("/api/v1/incidents/", body | {"notifies": False}, format="json")

    assert answer.json()["is_draft"] is False
    assert not FanOut.objects.exists()


def test_draft_is_written_over_the_api(api):
    body = {"title": "x", "summary": "x", "started_at": "2026-11-01T10:00:00Z"}

    made = api.post("/api/v1/incidents/", body | {"draft": True}, format="json").json()

    assert made["is_draft"] is True
    assert not FanOut.objects.exists()
    answer = api.post(f"/api/v1/incidents/{made['id']}/publish/").json()
    assert answer["is_draft"] is False
    assert FanOut.objects.count() == 1


# Updates to come


def test_scheduled_update_brings_its_promise_and_impacts(
    api, open_incident, make_monitor, time_machine
):
    shop, mail = make_monitor("shop"), make_monitor("mail")
    incident = open_incident(impacts={shop: "DOWN", mail: "DOWN"})
    soon = timezone.now() + timedelta(minutes=10)

    answer = post(
        api,
        incident,
        "updates",
        state="MONITORING",
        body="Better.",
        publish_at=soon.isoformat(),
        next_update_at=(soon + timedelta(minutes=30)).isoformat(),
        impacts={"shop": "DEGRADED", "mail": None},
    )
    assert answer.status_code == 201
    assert incident.impacts.filter(ended_at=None).count() == 2
    time_machine.move_to(soon + timedelta(seconds=1), tick=False)
    tasks.tell_updates.run()

    incident.refresh_from_db()
    assert incident.next_update_at == timezone.now() + timedelta(minutes=30)
    assert incident.impacts.get(ended_at=None).level == "DEGRADED"


def test_promise_for_before_the_update_is_refused(api, open_incident):
    soon = timezone.now() + timedelta(minutes=10)

    answer = post(
        api,
        open_incident(),
        "updates",
        state="MONITORING",
        body="Better.",
        publish_at=soon.isoformat(),
        next_update_at=(soon - timedelta(minutes=5)).isoformat(),
    )

    assert answer.status_code == 400
    assert "next_update_at" in answer.json()["errors"]


def test_title_of_a_private_incident_is_not_in_the_timeline_of_another(
    client_of, operator, open_incident, group
):
    api = client_of(operator)
    public = open_incident("Slow")
    breach = open_incident("Breach", groups=[group])
    post(api, public, "relations", incident=breach.pk, kind="related")

    read = api.get(f"/api/v1/incidents/{public.pk}/timeline/").content.decode()

    assert f"Related to incident {breach.pk}" in read
    assert "Breach" not in read
    own = [line.text for line in breach.timeline.filter(kind="RELATED")]
    assert own == [f"Related to “Slow” ({public.pk})"]


def test_private_incidents_of_different_groups_do_not_merge(
    client_of, operator, open_incident, group
):
    api = client_of(operator)
    both, others = Group.objects.create(name="HR"), Group.objects.create(name="Legal")
    breach = open_incident("Breach", groups=[group, both])
    narrow = open_incident("Narrow", groups=[group])
    strange = open_incident("Strange", groups=[group, others])

    refused = post(api, breach, "merge", into=strange.pk)
    answer = post(api, breach, "merge", into=narrow.pk)

    assert refused.status_code == 409
    assert "Not all who see the other one may see this" in refused.json()["detail"]
    assert answer.status_code == 200


@pytest.mark.parametrize("words", ["<!-- nothing -->", "<script>alert(1)</script>"])
def test_words_of_which_nothing_is_seen_are_refused(api, open_incident, words):
    first, second = open_incident(), open_incident()
    new = {"title": "x", "started_at": "2026-11-01T10:00:00Z"}
    ended = {**new, "summary": "x", "ended_at": "2026-11-01T11:00:00Z"}

    answers = {
        "summary": api.post("/api/v1/incidents/", {**new, "summary": words}),
        "closing": api.post("/api/v1/incidents/", {**ended, "closing": words}),
        "body": post(api, first, "merge", into=second.pk, body=words),
    }
    split = post(api, first, "split", monitors=["shop"], title="x", summary=words)

    for field, answer in {**answers, "summary of a split": split}.items():
        assert answer.status_code == 400, field
        told = answer.json()["errors"][field.split()[0]]
        assert told == ["Nothing of this would be seen by anybody."]


def test_time_of_what_is_still_to_be_told_is_not_edited(api, open_incident):
    incident = open_incident()
    soon = timezone.now() + timedelta(hours=1)
    waits = incident.schedule(state="MONITORING", body="Soon.", publish_at=soon)

    answer = api.patch(
        f"/api/v1/incidents/{incident.pk}/updates/{waits.pk}/",
        {"at": "2026-11-01T10:00:00Z"},
        format="json",
    )

    assert answer.status_code == 400
    assert answer.json()["errors"]["at"] == ["It is told at publish_at."]
