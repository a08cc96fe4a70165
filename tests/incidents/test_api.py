from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from incidents.models import Incident
from monitors.models import Label, Overlay
from subscriptions.models import FanOut


@pytest.fixture
def open_incident(db):
    def open_incident(**more):
        now = timezone.now()
        more.setdefault("source", "DASHBOARD")
        more.setdefault("started_at", now)
        return Incident.open(title="Slow", summary="It is slow.", at=now, **more)

    return open_incident


def new(**more):
    return {
        "title": "Payments fail",
        "summary": "We are *looking*.",
        "started_at": "2026-03-01T10:00:00Z",
        **more,
    }


def test_incident_is_opened_and_published(api, make_monitor):
    make_monitor("shop")

    answer = api.post(
        "/api/v1/incidents/",
        new(severity="major", monitors=[{"tag": "shop", "impact": "PARTIAL"}]),
    )

    assert answer.status_code == 201
    incident = Incident.objects.get()
    assert answer.json() == {
        "id": incident.pk,
        "title": "Payments fail",
        "state": "INVESTIGATING",
        "severity": "major",
        "source": "API",
        "badge": "API",
        "started_at": "2026-03-01T10:00:00Z",
        "ended_at": None,
        "next_update_at": None,
        "is_draft": False,
        "publish_at": None,
        "discarded_at": None,
        "merged_into": None,
        "is_private": False,
        "url": f"http://testserver/incidents/{incident.pk}/",
        "version": incident.version,
        "owner": None,
        "labels": [],
        "monitors": [{"tag": "shop", "impact": "PARTIAL"}],
        "updates": [
            {
                "id": incident.updates.get().pk,
                "state": "INVESTIGATING",
                "body": "We are *looking*.",
                "at": "2026-03-01T10:00:00Z",
                "edited_at": None,
            }
        ],
    }
    assert FanOut.objects.get().event == "published"
    assert Overlay.objects.get().status == "partial"
    assert api.get(f"/api/v1/incidents/{incident.pk}/").json() == answer.json()


@pytest.mark.parametrize("name", ["title", "summary", "started_at"])
def test_incident_needs_title_summary_and_start(api, name):
    incident = new()
    del incident[name]

    answer = api.post("/api/v1/incidents/", incident)

    assert answer.status_code == 400
    assert answer.json()["errors"] == {name: ["This field is required."]}


@pytest.mark.parametrize(
    ("change", "errors"),
    [
        ({"summary": "  "}, {"summary": ["This field may not be blank."]}),
        (
            {"started_at": "yesterday"},
            {
                "started_at": [
                    "Datetime has wrong format. Use one of these formats instead: "
                    "YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z]."
                ]
            },
        ),
        (
            {"started_at": "9999-12-31T23:59:59-14:00"},
            {"started_at": ["Datetime value out of range."]},
        ),
        (
            {"started_at": "9999-12-31T00:00:00Z"},
            {"started_at": ["This lies in the future."]},
        ),
        (
            {"started_at": "0001-01-02T00:00:00Z"},
            {"started_at": ["This lies before the year 2000."]},
        ),
        (
            {"severity": 3},
            {"severity": ['"3" is not a valid choice.']},
        ),
        (
            {"monitors": [{"tag": "barn", "impact": "DOWN"}]},
            {"monitors": ["There is no monitor barn."]},
        ),
        (
            {"monitors": [{"tag": "shop", "impact": "DOWN"}] * 2},
            {"monitors": ["Name each monitor once."]},
        ),
        (
            {"monitors": [{"tag": "shop", "impact": "DOWN"}, {"tag": "b", "how": 1}]},
            {
                "monitors": {
                    "1": {
                        "impact": ["This field is required."],
                        "how": ["There is no such field; there are tag, impact."],
                    }
                }
            },
        ),
        (
            {"state": "RESOLVED"},
            {"state": ["This field is read-only. Write an update to change it."]},
        ),
    ],
)
def test_unfit_incident_is_refused_by_field(api, make_monitor, change, errors):
    make_monitor("shop")

    answer = api.post("/api/v1/incidents/", new(**change))

    assert answer.status_code == 400
    assert answer.json()["errors"] == errors
    assert not Incident.objects.exists()


def test_moment_without_offset_is_taken_as_utc(api):
    answer = api.post("/api/v1/incidents/", new(started_at="2026-03-01T10:00:00"))

    assert answer.json()["started_at"] == "2026-03-01T10:00:00Z"


def test_clock_that_is_a_little_fast_means_now(api):
    soon = timezone.now() + timedelta(minutes=2)

    answer = api.post("/api/v1/incidents/", new(started_at=soon.isoformat()))

    assert answer.status_code == 201
    assert Incident.objects.get().started_at < soon


def test_updates_tell_the_story_and_make_the_state(api, open_incident, make_monitor):
    incident = open_incident(impacts={make_monitor("shop"): "DOWN"})
    path = f"/api/v1/incidents/{incident.pk}/"

    written = api.post(
        f"{path}updates/", {"state": "IDENTIFIED", "body": "A **disk**."}
    )
    api.post(f"{path}updates/", {"state": "RESOLVED", "body": "A new disk."})

    assert written.status_code == 201
    assert (
        written.json().items()
        >= {
            "state": "IDENTIFIED",
            "body": "A **disk**.",
        }.items()
    )
    shown = api.get(path).json()
    assert shown["state"] == "RESOLVED"
    assert shown["ended_at"] == shown["updates"][0]["at"]
    assert [u["state"] for u in shown["updates"]] == [
        "RESOLVED",
        "IDENTIFIED",
        "INVESTIGATING",
    ]
    assert shown["monitors"] == [{"tag": "shop", "impact": "DOWN"}]
    written = {
        "is_internal": False,
        "notifies": True,
        "publish_at": None,
        "written_by": "tests",
    }
    listed = api.get(f"{path}updates/").json()
    assert listed["results"][:2] == [u | written for u in shown["updates"][:2]]
    assert listed["results"][2]["written_by"] == ""


def test_update_may_be_back_dated(api, open_incident):
    incident = open_incident(started_at=datetime(2026, 3, 1, tzinfo=UTC))
    path = f"/api/v1/incidents/{incident.pk}/updates/"
    api.post(path, {"state": "MONITORING", "body": "b", "at": "2026-03-03T00:00Z"})

    answer = api.post(
        path, {"state": "IDENTIFIED", "body": "a", "at": "2026-03-02T00:00+02:00"}
    )

    assert answer.json()["at"] == "2026-03-01T22:00:00Z"
    assert Incident.objects.get().state == "MONITORING"


def test_unfit_update_is_refused_by_field(api, open_incident):
    answer = api.post(
        f"/api/v1/incidents/{open_incident().pk}/updates/",
        {"state": "DONE", "body": " ", "at": "2999-01-01T00:00Z", "html": "<p>"},
    )

    assert answer.status_code == 400
    assert answer.json()["errors"] == {
        "state": ['"DONE" is not a valid choice.'],
        "body": ["This field may not be blank."],
        "at": ["This lies in the future."],
        "html": [
            "There is no such field; there are state, body, at, version, is_internal, "
            "notifies, publish_at, next_update_at, impacts."
        ],
    }


def test_patch_changes_what_is_shown_and_tells_once(api, open_incident, make_monitor):
    shop, bank = make_monitor("shop"), make_monitor("bank")
    incident = open_incident(impacts={shop: "DOWN"})
    path = f"/api/v1/incidents/{incident.pk}/"

    answer = api.patch(
        path,
        {
            "title": "Slower",
            "severity": "critical",
            "monitors": [{"tag": "bank", "impact": "DEGRADED"}],
        },
    )

    assert answer.status_code == 200
    assert (
        answer.json().items()
        >= {
            "title": "Slower",
            "severity": "critical",
            "monitors": [{"tag": "bank", "impact": "DEGRADED"}],
        }.items()
    )
    open_overlays = Overlay.objects.filter(ended_at=None)
    assert [overlay.monitor for overlay in open_overlays] == [bank]
    assert FanOut.objects.count() == 1  # nobody is mailed about a spelling
    assert api.patch(path, {"monitors": []}).json()["monitors"] == []


def test_monitors_of_what_has_ended_cannot_be_changed(api, open_incident, make_monitor):
    make_monitor("shop")
    incident = open_incident()
    incident.update(state="RESOLVED", body="Done.", at=timezone.now())

    answer = api.patch(
        f"/api/v1/incidents/{incident.pk}/",
        {"monitors": [{"tag": "shop", "impact": "DOWN"}]},
    )

    assert answer.json()["errors"] == {
        "monitors": ["It is resolved; write an update to reopen it first."]
    }
    assert not Overlay.objects.exists()


@pytest.mark.parametrize("given", ["tag", "impact"])
def test_patched_monitor_needs_tag_and_impact(api, open_incident, given):
    answer = api.patch(
        f"/api/v1/incidents/{open_incident().pk}/", {"monitors": [{given: "DOWN"}]}
    )

    missing = {"tag": "impact", "impact": "tag"}[given]
    assert answer.json()["errors"] == {
        "monitors": {"0": {missing: ["This field is required."]}}
    }


def test_state_is_not_patched(api, open_incident):
    answer = api.patch(
        f"/api/v1/incidents/{open_incident().pk}/",
        {"state": "RESOLVED", "ended_at": None, "summary": "x"},
    )

    assert answer.status_code == 400
    assert answer.json()["errors"] == {
        "state": ["This field is read-only. Write an update to change it."],
        "ended_at": ["This field is read-only. Write an update that resolves it."],
        "summary": [
            "There is no such field; there are title, severity, started_at, version, "
            "owner, labels, monitors."
        ],
    }


def test_deleted_incident_is_gone(api, open_incident, make_monitor):
    incident = open_incident(impacts={make_monitor("shop"): "DOWN"})
    path = f"/api/v1/incidents/{incident.pk}/"

    assert api.delete(path).status_code == 204
    assert api.get(path).status_code == 404
    assert api.get(f"{path}updates/").status_code == 404
    assert not Overlay.objects.exists()


def test_drafts_are_for_those_who_may_write(api, reader, open_incident):
    draft, public = open_incident(), open_incident()
    Incident.objects.filter(pk=draft.pk).update(published_at=None)

    def ids(client):
        found = client.get("/api/v1/incidents/").json()["results"]
        return {incident["id"] for incident in found}

    assert ids(reader) == {public.pk}
    assert ids(api) == {draft.pk, public.pk}
    path = f"/api/v1/incidents/{draft.pk}/"
    assert reader.get(path).status_code == 404
    assert reader.get(f"{path}updates/").status_code == 404
    assert api.get(path).status_code == 200


def test_incidents_are_filtered(api, open_incident, make_monitor):
    shop = make_monitor("shop")
    over = open_incident(impacts={shop: "DOWN"})
    over.update(state="RESOLVED", body="Done.", at=timezone.now())
    ongoing = open_incident(impacts={shop: "DOWN", make_monitor("bank"): "DOWN"})
    told = open_incident(source="API")

    def ids(query):
        found = api.get(f"/api/v1/incidents/?{query}").json()["results"]
        return [incident["id"] for incident in found]

    assert ids("") == [told.pk, ongoing.pk, over.pk]
    assert ids("open=true") == [told.pk, ongoing.pk]
    assert ids("open=false") == ids("state=RESOLVED") == [over.pk]
    assert ids("monitor=shop") == [ongoing.pk, over.pk]
    assert ids("source=API") == [told.pk]
    assert api.get("/api/v1/incidents/?open=perhaps").status_code == 400


def test_incidents_need_the_same_queries_for_any_number(
    api, open_incident, make_monitor
):
    shop = make_monitor("shop")
    open_incident(impacts={shop: "DOWN"})
    api.get("/api/v1/incidents/")
    with CaptureQueriesContext(connection) as one:
        api.get("/api/v1/incidents/")
    for _ in range(29):
        open_incident(impacts={shop: "DOWN"})

    with CaptureQueriesContext(connection) as thirty:
        answer = api.get("/api/v1/incidents/")

    assert len(answer.json()["results"]) == 30
    assert len(thirty) == len(one) == 5


@pytest.fixture
def draft(open_incident):
    draft = open_incident(source="ALERT")
    soon = timezone.now() + timedelta(minutes=5)
    Incident.objects.filter(pk=draft.pk).update(published_at=None, publish_at=soon)
    FanOut.objects.all().delete()
    return draft


def test_draft_is_published_once(api, draft):
    path = f"/api/v1/incidents/{draft.pk}/"
    assert api.get(path).json()["is_draft"] is True

    answers = [api.post(f"{path}publish/") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[1].json()["is_draft"] is False
    assert answers[1].json()["publish_at"] is None
    assert FanOut.objects.get().event == "published"


def test_countdown_of_a_draft_is_held(api, draft):
    path = f"/api/v1/incidents/{draft.pk}/hold/"

    answers = [api.post(path) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json()["publish_at"] is None
    assert answers[0].json()["is_draft"] is True


def test_discarded_draft_stays_discarded(api, draft):
    path = f"/api/v1/incidents/{draft.pk}/"

    answers = [api.post(f"{path}discard/", {"reason": "A drill"}) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[1].json()["discarded_at"] is not None
    assert Incident.objects.get().discard_reason == "A drill"
    refused = [
        api.post(f"{path}publish/"),
        api.post(f"{path}hold/"),
        api.patch(path, {"title": "x"}),
        api.post(f"{path}updates/", {"state": "RESOLVED", "body": "x"}),
    ]
    assert {answer.status_code for answer in refused} == {409}
    assert refused[0].json()["detail"] == "This draft was discarded."
    assert not FanOut.objects.exists()


def test_what_is_public_is_neither_held_nor_discarded(api, open_incident):
    path = f"/api/v1/incidents/{open_incident().pk}/"

    answers = [api.post(f"{path}{name}/") for name in ("hold", "discard")]

    assert [answer.status_code for answer in answers] == [409, 409]
    assert api.get(path).json()["is_draft"] is False


def test_drafts_are_decided_about_by_who_may_write(reader, draft):
    for name in ("publish", "hold", "discard"):
        answer = reader.post(f"/api/v1/incidents/{draft.pk}/{name}/")
        assert answer.status_code == 403


def test_drafts_are_filtered(api, draft, open_incident):
    public, gone = open_incident(), open_incident()
    Incident.objects.filter(pk=gone.pk).update(
        published_at=None, discarded_at=timezone.now()
    )

    def ids(query):
        found = api.get(f"/api/v1/incidents/?{query}").json()["results"]
        return {incident["id"] for incident in found}

    assert ids("draft=true") == {draft.pk}
    assert ids("draft=false") == {public.pk}
    assert ids("open=true") == {draft.pk, public.pk}


def test_owner_and_labels_are_set_and_filtered_by(api, open_incident, operator):
    incident = open_incident()
    open_incident()
    label = Label.objects.create(name="payments")
    path = f"/api/v1/incidents/{incident.pk}/"

    answer = api.patch(path, {"owner": "ana", "labels": ["payments"]})
    unknown = api.patch(path, {"owner": "nobody"})

    assert (answer.json()["owner"], answer.json()["labels"]) == ("ana", ["payments"])
    assert unknown.json()["errors"] == {"owner": ["There is no operator nobody."]}
    for query in ("owner=ana", "label=payments"):
        found = api.get(f"/api/v1/incidents/?{query}").json()["results"]
        assert [one["id"] for one in found] == [incident.pk]
    kinds = list(incident.timeline.values_list("kind", "text").order_by("-pk")[:2])
    assert kinds == [("LABELS", "Labels: payments"), ("OWNER", "Owner: ana")]
    assert api.patch(path, {"owner": None, "labels": []}).json()["owner"] is None
    assert label.incidents.count() == 0


def test_incident_is_opened_with_owner_and_labels(api, operator):
    Label.objects.create(name="payments")

    answer = api.post("/api/v1/incidents/", new(owner="ana", labels=["payments"]))

    assert answer.status_code == 201
    assert (answer.json()["owner"], answer.json()["labels"]) == ("ana", ["payments"])


def test_update_changes_what_monitors_suffer(api, open_incident, make_monitor):
    shop, bank = make_monitor("shop"), make_monitor("bank")
    incident = open_incident(impacts={shop: "DOWN", bank: "DOWN"})
    path = f"/api/v1/incidents/{incident.pk}/updates/"
    given = {"state": "MONITORING", "body": "Better."}

    answer = api.post(path, {**given, "impacts": {"shop": "DEGRADED", "bank": None}})
    unknown = api.post(path, {**given, "impacts": {"pub": "DOWN"}})
    note = {"is_internal": True, "body": "x", "impacts": {"shop": "DOWN"}}

    assert answer.status_code == 201
    [left] = incident.impacts.filter(ended_at=None)
    assert (left.monitor, left.level) == (shop, "DEGRADED")
    assert Overlay.objects.get(ended_at=None).status == "degraded"
    assert unknown.status_code == 400
    assert api.post(path, note).status_code == 400


def test_who_read_an_old_version_overwrites_nothing(api, open_incident):
    incident = open_incident()
    path = f"/api/v1/incidents/{incident.pk}/"
    read = api.get(path).json()["version"]
    said = {"state": "IDENTIFIED", "body": "x"}
    assert api.post(f"{path}updates/", said | {"version": read}).status_code == 201

    refused = [
        api.post(f"{path}updates/", said | {"version": read}),
        api.patch(path, {"title": "Mine", "version": read}),
    ]

    assert [answer.status_code for answer in refused] == [409, 409]
    assert refused[0].json()["detail"] == (
        f"The incident has changed since version {read}; it is {read + 1} now. "
        "Nothing was written: read it, then write again."
    )
    incident.refresh_from_db()
    assert (incident.title, incident.updates.count()) == ("Slow", 2)
    now = {"title": "Mine", "version": read + 1}
    assert api.patch(path, now).json()["version"] == read + 2
