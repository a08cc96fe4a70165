import pytest
from django.contrib.auth import get_user_model
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from alerting.models import Alert
from incidents.models import Incident
from monitors.models import CheckResult, Label, Monitor, MonitorState
from monitors.signals import monitor_labelled

SHOP = {
    "tag": "shop",
    "name": "Shop",
    "kind": "http",
    "config": {"url": "http://127.0.0.1:9000/"},
    "interval": 5,
}


def test_monitor_is_created_with_its_defaults_spelled_out(api):
    answer = api.post("/api/v1/monitors/", SHOP)

    assert answer.status_code == 201
    created_at = answer.json()["created_at"]
    assert answer.json() == {
        "tag": "shop",
        "name": "Shop",
        "kind": "http",
        "config": {
            "url": "http://127.0.0.1:9000/",
            "method": "GET",
            "timeout": 10.0,
            "expected_status_codes": ["200-299"],
        },
        "interval": 5,
        "cron": "",
        "time_zone": "UTC",
        "confirmations": 1,
        "retry_interval": 20,
        "degraded_counts": "up",
        "parents": [],
        "labels": [],
        "owner": None,
        "incident_severity": None,
        "incident_drafts": None,
        "is_active": True,
        "status": "no_data",
        "raw_status": "no_data",
        "checked_at": None,
        "latency_ms": None,
        "error": "",
        "created_at": created_at,
    }
    assert MonitorState.objects.get().due_at is not None
    assert api.get("/api/v1/monitors/shop/").json() == answer.json()


def test_paused_monitor_can_be_created(api):
    answer = api.post("/api/v1/monitors/", {**SHOP, "is_active": False})

    assert answer.json()["is_active"] is False
    assert MonitorState.objects.get().due_at is None


@pytest.mark.parametrize(
    ("change", "errors"),
    [
        (
            {"config": {"url": "ftp://x/"}},
            {
                "config": {
                    "url": ["Give an address that begins with http:// or https://."]
                }
            },
        ),
        (
            {"config": {"method": "EAT", "colour": "red"}},
            {
                "config": {
                    "colour": [
                        "There is no such field; there are url, method, timeout, "
                        "expected_status_codes."
                    ],
                    "url": ["This field is required."],
                }
            },
        ),
        (
            {"config": []},
            {"config": ['Expected a dictionary of items but got type "list".']},
        ),
        (
            {"kind": "carrier-pigeon"},
            {"kind": ['"carrier-pigeon" is not a valid choice.']},
        ),
        (
            {"interval": 4},
            {"interval": ["Ensure this value is greater than or equal to 5."]},
        ),
        (
            {"tag": "Not A Tag"},
            {
                "tag": [
                    "Use lower-case letters, digits and hyphens, such as checkout-api."
                ]
            },
        ),
        ({"name": "\x00"}, {"name": ["Null characters are not allowed."]}),
        (
            {"status": "up"},
            {"status": ["This field is read-only. It follows from the checks."]},
        ),
    ],
)
def test_unfit_monitor_is_refused_by_field(api, change, errors):
    answer = api.post("/api/v1/monitors/", {**SHOP, **change})

    assert answer.status_code == 400
    assert answer.json()["errors"] == errors
    assert not Monitor.objects.exists()


def test_unknown_field_is_refused_by_name(api):
    answer = api.post("/api/v1/monitors/", {**SHOP, "intervall": 5})

    assert answer.status_code == 400
    assert answer.json()["errors"] == {
        "intervall": [
            "There is no such field; there are tag, name, kind, config, interval, "
            "cron, time_zone, confirmations, retry_interval, degraded_counts, parents, "
            "labels, owner, incident_severity, incident_drafts, is_active."
        ]
    }


def test_taken_tag_is_refused(api, make_monitor):
    make_monitor("shop")
    make_monitor("bank")

    for answer in (
        api.post("/api/v1/monitors/", SHOP),
        api.patch("/api/v1/monitors/bank/", {"tag": "shop"}),
    ):
        assert answer.status_code == 400
        assert answer.json()["errors"] == {
            "tag": ["There is already a monitor with this tag."]
        }


def test_tag_taken_a_moment_ago_is_refused_alike(api, monkeypatch):
    def save(monitor, *args, **kwargs):
        raise IntegrityError

    monkeypatch.setattr(Monitor, "save", save)

    answer = api.post("/api/v1/monitors/", SHOP)

    assert answer.json()["errors"] == {
        "tag": ["There is already a monitor with this tag."]
    }


def test_tag_of_a_retired_monitor_is_free_again(api, make_monitor):
    make_monitor("shop")

    assert api.delete("/api/v1/monitors/shop/").status_code == 204
    assert api.get("/api/v1/monitors/shop/").status_code == 404
    assert api.delete("/api/v1/monitors/shop/").status_code == 404
    assert api.post("/api/v1/monitors/", SHOP).status_code == 201
    assert Monitor.objects.count() == 2


def test_editing_the_config_counts_anew(api, make_monitor):
    before = make_monitor("shop").counts_from

    answer = api.patch("/api/v1/monitors/shop/", {"config": {"url": "http://[::1]/"}})

    assert answer.status_code == 200
    assert answer.json()["config"]["url"] == "http://[::1]/"
    assert Monitor.objects.get().counts_from > before


def test_patch_of_is_active_pauses_and_resumes(api, make_monitor, make_rule, triggered):
    monitor = make_monitor("shop")
    alert = triggered(make_rule(monitor), monitor)

    paused = api.patch("/api/v1/monitors/shop/", {"is_active": False, "name": "Shed"})

    assert (paused.json()["is_active"], paused.json()["name"]) == (False, "Shed")
    alert.refresh_from_db()
    assert alert.state == Alert.State.RESOLVED
    assert MonitorState.objects.get().due_at is None
    resumed = api.patch("/api/v1/monitors/shop/", {"is_active": True})
    assert resumed.json()["is_active"] is True
    assert MonitorState.objects.get().due_at is not None


def test_status_shows_what_lies_over_the_checks(api, make_monitor):
    monitor = make_monitor("shop")
    MonitorState.objects.update(status="up")
    now = timezone.now()
    assert api.get("/api/v1/monitors/shop/").json()["status"] == "up"

    incident = Incident.open(
        title="Slow",
        summary="Slow.",
        started_at=now,
        at=now,
        source="API",
        impacts={monitor: "DEGRADED"},
    )

    assert api.get("/api/v1/monitors/shop/").json()["status"] == "degraded"
    incident.update(state="RESOLVED", body="Fast.", at=timezone.now())
    assert api.get("/api/v1/monitors/shop/").json()["status"] == "up"


def test_status_that_nothing_speaks_for_is_no_data(api, make_monitor):
    make_monitor("shop")
    MonitorState.objects.update(status="up", fresh_until=timezone.now())

    assert api.get("/api/v1/monitors/shop/").json()["status"] == "no_data"


def test_list_needs_the_same_queries_for_any_number(api, make_monitor):
    make_monitor("shop")
    api.get("/api/v1/monitors/")
    with CaptureQueriesContext(
        connection,
    ) as one:
        api.get("/api/v1/monitors/")
    for n in range(29):
        make_monitor(f"shop-{n}").label([Label.objects.create(name=f"label-{n}")])

    with CaptureQueriesContext(connection) as thirty:
        answer = api.get("/api/v1/monitors/")

    assert len(answer.json()["results"]) == 30
    assert len(thirty) == len(one) == 5


def test_list_is_filtered(api, make_monitor):
    make_monitor("shop")
    make_monitor("bank", is_active=False)

    def tags(query):
        found = api.get(f"/api/v1/monitors/?{query}").json()["results"]
        return [monitor["tag"] for monitor in found]

    assert tags("") == ["bank", "shop"]
    assert tags("is_active=true") == ["shop"]
    assert tags("is_active=false&kind=http") == ["bank"]
    assert api.get("/api/v1/monitors/?is_active=maybe").status_code == 400


def test_check_answers_with_the_outcome_and_leaves_no_trace(api, make_monitor, shop):
    make_monitor("shop", shop.url)

    up = api.post("/api/v1/monitors/shop/check/")
    shop.break_down()
    down = api.post("/api/v1/monitors/shop/check/")

    assert up.status_code == 200
    assert up.json()["status"] == "up"
    phases = up.json()["phases"]
    assert sum(phases.values()) == pytest.approx(up.json()["latency_ms"])
    assert phases["first_byte"] > 0
    assert down.json()["status"] == "down"
    assert down.json()["error"] == "The answer was 500, expected 200-299"
    assert not CheckResult.objects.exists()
    assert MonitorState.objects.get().checked_at is None


def test_check_of_a_config_that_no_longer_fits_says_so(api, make_monitor):
    make_monitor("shop")
    Monitor.objects.update(config={"url": "nowhere"})

    answer = api.post("/api/v1/monitors/shop/check/")

    assert answer.status_code == 400
    assert list(answer.json()["errors"]["config"]) == ["url"]


def test_parents_are_set_by_their_tags_and_leave_when_they_are_retired(
    api, make_monitor
):
    database = make_monitor("database")
    api.post("/api/v1/monitors/", {**SHOP, "parents": ["database"]})
    assert api.get("/api/v1/monitors/shop/").json()["parents"] == ["database"]

    itself = api.patch("/api/v1/monitors/shop/", {"parents": ["shop"]})
    nobody = api.patch("/api/v1/monitors/shop/", {"parents": ["nobody"]})
    assert (itself.status_code, nobody.status_code) == (400, 400)
    assert "own parent" in itself.json()["detail"]

    database.retire(at=timezone.now())
    assert api.get("/api/v1/monitors/shop/").json()["parents"] == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"cron": "every day"}, "cron"),
        ({"cron": "0 6 * * *", "time_zone": "Mars/Olympus"}, "time_zone"),
        ({"confirmations": 11}, "confirmations"),
        ({"confirmations": 0}, "confirmations"),
        ({"retry_interval": 1}, "retry_interval"),
        ({"degraded_counts": "maybe"}, "degraded_counts"),
    ],
)
def test_schedule_that_cannot_be_is_refused_at_its_field(change, field, api):
    answer = api.post("/api/v1/monitors/", {**SHOP, **change})

    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == [field]


def test_cron_monitor_is_due_at_once_and_then_as_it_says(api):
    api.post(
        "/api/v1/monitors/", {**SHOP, "cron": "0 6 * * *", "time_zone": "Asia/Tokyo"}
    )

    slot = Monitor.objects.get().next_due(timezone.now())
    assert (slot.hour, slot.minute) == (21, 0)


# Labels, and what its incidents are like


def test_labels_are_borne_and_told_by_their_names(api, make_monitor):
    for name in ("payments", "europe"):
        assert api.post("/api/v1/labels/", {"name": name}).status_code == 201
    make_monitor("bank")

    made = api.post("/api/v1/monitors/", {**SHOP, "labels": ["payments"]}).json()
    both = api.patch("/api/v1/monitors/shop/", {"labels": ["payments", "europe"]})

    assert made["labels"] == ["payments"]
    assert both.json()["labels"] == ["europe", "payments"]
    assert api.patch("/api/v1/monitors/shop/", {"name": "S"}).json()["labels"]
    found = api.get("/api/v1/monitors/?label=europe").json()["results"]
    assert [monitor["tag"] for monitor in found] == ["shop"]


def test_unknown_label_is_refused_with_the_way_to_add_it(api, make_monitor):
    make_monitor("shop")

    answer = api.patch("/api/v1/monitors/shop/", {"labels": ["nobody"]})

    assert answer.status_code == 400
    assert answer.json()["errors"] == {
        "labels": ["There is no label nobody. POST to /api/v1/labels/ to add it."]
    }
    assert not Label.objects.exists()


@pytest.fixture
def heard():
    """Which monitors were said to bear other labels."""
    tags = []

    def hear(monitor, **kwargs):
        tags.append(monitor.tag)

    monitor_labelled.connect(hear)
    yield tags
    monitor_labelled.disconnect(hear)


def test_change_of_labels_is_announced(api, make_monitor, heard):
    make_monitor("shop")
    api.post("/api/v1/labels/", {"name": "payments"})

    api.patch("/api/v1/monitors/shop/", {"name": "Shed"})
    api.patch("/api/v1/monitors/shop/", {"labels": ["payments"]})

    assert heard == ["shop"]


@pytest.mark.parametrize("name", ["", "Not A Label", "-x", "x" * 51, "payments"])
def test_unfit_label_is_refused(api, name):
    api.post("/api/v1/labels/", {"name": "payments"})

    answer = api.post("/api/v1/labels/", {"name": name})

    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == ["name"]


def test_label_in_use_is_not_deleted(api, make_monitor, make_rule):
    label = Label.objects.create(name="payments")
    shop = make_monitor("shop")
    shop.label([label])
    rule = make_rule(shop)
    rule.labels.set([label])
    path = f"/api/v1/labels/{label.pk}/"

    refused = api.delete(path)

    assert refused.status_code == 400
    said = "The label payments is in use by one monitor and one alert rule."
    assert refused.json()["errors"] == {"name": [said]}
    shop.retire(at=timezone.now())
    rule.retire(at=timezone.now())
    assert api.delete(path).status_code == 204
    assert not Label.objects.exists()


def test_owner_and_incidents_are_set_and_left_open(api, make_monitor):
    make_monitor("shop")
    user = get_user_model().objects.create_user("ana")
    given = {"owner": "ana", "incident_severity": "major", "incident_drafts": True}

    shown = api.patch("/api/v1/monitors/shop/", given).json()

    assert shown.items() >= given.items()
    kept = Monitor.objects.get()
    assert (kept.owner, kept.incident_severity, kept.incident_drafts) == (user, 2, True)
    nothing = dict.fromkeys(given)
    shown = api.patch("/api/v1/monitors/shop/", nothing).json()
    assert shown.items() >= nothing.items()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"owner": "nobody"}, "owner"),
        ({"owner": 5}, "owner"),
        ({"owner": "gone"}, "owner"),
        ({"incident_severity": "huge"}, "incident_severity"),
        ({"incident_severity": 2}, "incident_severity"),
        ({"incident_drafts": "yes"}, "incident_drafts"),
        ({"labels": "payments"}, "labels"),
    ],
)
def test_unfit_owner_or_incidents_are_refused_by_field(
    api, make_monitor, change, field
):
    make_monitor("shop")
    get_user_model().objects.create_user("gone", is_active=False)

    answer = api.patch("/api/v1/monitors/shop/", change)

    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == [field]
