from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import time_machine
from rest_framework.test import APIClient

from access.models import ApiKey
from incidents.models import Maintenance, Occurrence
from monitors.models import Overlay

from .planned import NOW, minutes

ROOT = "/api/v1/maintenances/"


@pytest.fixture(autouse=True)
def clock():
    with time_machine.travel(NOW, tick=False) as travelled:
        yield travelled


@pytest.fixture
def shop(db, make_monitor):
    return make_monitor("shop")


def z(at):
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def once(api, **more):
    facts = {
        "title": "Database upgrade",
        "description": "Writes pause.",
        "starts_at": z(minutes(120)),
        "ends_at": z(minutes(180)),
    }
    return api.post(ROOT, {**facts, **more})


@pytest.fixture
def planned(api, shop):
    """The address of the one date of a maintenance."""
    made = once(api, monitors=[{"tag": "shop", "impact": "DOWN"}]).json()
    listed = api.get(f"{ROOT}{made['id']}/occurrences/").json()
    return f"{ROOT}{made['id']}/occurrences/{listed['results'][0]['id']}/"


def test_once(api, shop):
    answer = once(
        api,
        description="Writes *pause*.",
        monitors=[{"tag": "shop", "impact": "DEGRADED"}],
        reminders=[30],
    )

    assert answer.status_code == 201
    made = answer.json()
    assert made["monitors"] == [{"tag": "shop", "impact": "DEGRADED"}]
    assert made["reminders"] == [30]
    assert made["rrule"] == ""
    found = api.get(f"{ROOT}{made['id']}/").json()
    assert found == made
    [row] = api.get(f"{ROOT}{made['id']}/occurrences/").json()["results"]
    assert (row["starts_at"], row["ends_at"], row["state"]) == (
        *(z(minutes(120)), z(minutes(180))),
        "SCHEDULED",
    )


def test_by_a_rule_at_a_local_time(api, db):
    answer = api.post(
        ROOT,
        {
            "title": "Backup",
            "description": "Nothing pauses.",
            "rrule": "FREQ=DAILY",
            "timezone": "Europe/Berlin",
            "starts_at": "2026-03-27T02:30:00",
            "duration_minutes": 60,
        },
    )

    assert answer.status_code == 201
    made = answer.json()
    assert made["starts_at"] == "2026-03-27T01:30:00Z"
    assert made["schedule"] == "Every day at 02:30 Europe/Berlin, for 1 hour"
    rows = api.get(
        f"{ROOT}{made['id']}/occurrences/",
        {"from": "2026-03-28T00:00:00Z", "to": "2026-03-31T00:00:00Z"},
    ).json()["results"]
    assert [row["starts_at"] for row in rows] == [
        "2026-03-28T01:30:00Z",
        "2026-03-29T01:30:00Z",
        "2026-03-30T00:30:00Z",
    ]


def test_first_start_in_the_gap(api, db):
    facts = {
        "title": "Backup",
        "description": "Nothing pauses.",
        "rrule": "FREQ=DAILY;COUNT=2",
        "timezone": "Europe/Berlin",
        "starts_at": "2026-03-29T02:30:00",
        "duration_minutes": 60,
    }
    made = api.post(ROOT, facts).json()

    api.patch(f"{ROOT}{made['id']}/", {"duration_minutes": 30})

    rows = Occurrence.objects.order_by("starts_at")
    berlin = ZoneInfo("Europe/Berlin")
    assert [f"{r.starts_at.astimezone(berlin):%d %H:%M}" for r in rows] == [
        "29 03:30",
        "30 02:30",
    ]
    assert {r.ends_at - r.starts_at for r in rows} == {timedelta(minutes=30)}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"ends_at": None}, "ends_at"),
        ({"ends_at": z(minutes(-5)), "starts_at": z(minutes(-9))}, "ends_at"),
        ({"timezone": "Mars/Base"}, "timezone"),
        ({"rrule": "FREQ=DAILY"}, "ends_at"),
        ({"rrule": "FREQ=SOMETIMES", "ends_at": None, "duration_minutes": 9}, "rrule"),
        ({"monitors": [{"tag": "gone", "impact": "DOWN"}]}, "monitors"),
        ({"monitors": [{"tag": "shop"}, {"tag": "shop"}]}, "monitors"),
        ({"monitors": [{"impact": "DOWN"}]}, "monitors"),
        ({"reminders": [0]}, "reminders"),
        ({"reminders": ["60"]}, "reminders"),
        ({"starts_at": "3000-01-01T00:00:00Z"}, "starts_at"),
        ({"schedule": "Often"}, "schedule"),
        ({"warnings": []}, "warnings"),
        ({"description": ""}, "description"),
        ({"description": " "}, "description"),
        ({"description": None}, "description"),
        ({"description": "<!-- soon -->"}, "description"),
        ({"reminders": [*range(1, 52)]}, "reminders"),
        ({"state": "COMPLETED"}, "state"),
    ],
)
def test_what_is_not_fit_is_refused_by_its_name(api, shop, changes, field):
    answer = once(api, **changes)

    assert answer.status_code == 400
    assert field in answer.json()["errors"]
    assert not Maintenance.objects.exists()


def test_description_is_required(api, db):
    facts = {
        "title": "Upgrade",
        "starts_at": z(minutes(60)),
        "ends_at": z(minutes(90)),
    }

    answer = api.post(ROOT, facts)

    assert answer.status_code == 400
    assert answer.json()["errors"] == {"description": ["This field is required."]}


def test_description_is_not_asked_for_again(api, planned):
    address = planned.split("occurrences/")[0]

    assert api.patch(address, {"title": "Longer"}).status_code == 200
    refused = api.patch(address, {"description": ""})

    assert refused.status_code == 400
    assert "description" in refused.json()["errors"]


def test_fifty_reminders(api, db):
    many = [10 * n for n in range(1, 51)]

    assert once(api, reminders=many).json()["reminders"] == many


def daily(api, **more):
    facts = {
        "title": "Backup",
        "description": "Nothing pauses.",
        "rrule": "FREQ=DAILY",
        "starts_at": "2026-03-10T02:00:00",
        "duration_minutes": 60,
    }
    return api.post(ROOT, {**facts, **more})


@pytest.mark.parametrize(
    ("facts", "warnings"),
    [
        ({}, []),
        (
            {"duration_minutes": 1500},
            ["The window is longer than its period: dates overlap."],
        ),
        (
            {"rrule": "FREQ=MONTHLY", "starts_at": "2026-03-31T02:00:00"},
            ["A month without the 31st is left out."],
        ),
    ],
)
def test_warnings_are_told(api, db, facts, warnings):
    made = daily(api, **facts).json()

    assert made["warnings"] == warnings
    assert api.get(ROOT).json()["results"][0]["warnings"] == warnings


def test_what_happens_once_has_no_warnings(api, db):
    assert once(api).json()["warnings"] == []


@pytest.mark.parametrize(
    "text", ["2026-03-12", "2026-03-12T02:00", "2026-03-12T02:00:00Z"]
)
def test_date_is_left_out(api, db, text):
    made = daily(api, exdates=[text]).json()

    assert made["exdates"] == [text]
    rows = Occurrence.objects.values_list("starts_at", flat=True)
    assert [f"{at:%d}" for at in rows.order_by("starts_at")[:3]] == ["10", "11", "13"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("20260312", 'not "20260312"'),
        ("2026-W11-4", 'not "2026-W11-4"'),
        ("2026-03-12 02:00", 'not "2026-03-12 02:00"'),
        ("2026-03-12T03:00", "To leave out 2026-03-12 03:00 changes nothing"),
        ("2026-03-09", "To leave out 2026-03-09 02:00 changes nothing"),
    ],
)
def test_what_leaves_out_nothing_is_refused(api, db, text, why):
    answer = daily(api, exdates=["2026-03-11", text])

    assert answer.status_code == 400
    assert why in answer.json()["errors"]["exdates"][0]
    assert "2026-03-11" not in answer.json()["errors"]["exdates"][0]
    assert not Maintenance.objects.exists()


def test_what_left_a_date_out_before_is_only_warned_of(api, db):
    made = daily(api, exdates=["2026-03-12T02:00"]).json()

    moved = api.patch(f"{ROOT}{made['id']}/", {"starts_at": "2026-03-10T04:00:00"})

    assert moved.status_code == 200
    assert "To leave out 2026-03-12 02:00" in moved.json()["warnings"][0]
    refused = api.patch(f"{ROOT}{made['id']}/", {"exdates": ["2026-03-12T02:00"]})
    assert "exdates" in refused.json()["errors"]


def test_exdate_lines_go_to_what_is_left_out(api, db):
    rule = "FREQ=DAILY\nEXDATE:20260312T020000"

    made = daily(api, rrule=rule, exdates=["2026-03-14"]).json()

    assert made["rrule"] == "FREQ=DAILY"
    assert made["exdates"] == ["2026-03-14", "2026-03-12T02:00:00"]
    again = api.patch(f"{ROOT}{made['id']}/", {"rrule": rule}).json()
    assert again["exdates"] == made["exdates"]


def test_unfit_exdate_line_is_refused(api, db):
    answer = daily(api, rrule="FREQ=DAILY\nEXDATE:soon")

    assert answer.status_code == 400
    assert "EXDATE must be written as" in answer.json()["errors"]["rrule"][0]


def test_patch_moves_what_happens_once(api, planned):
    address = planned.split("occurrences/")[0]

    answer = api.patch(address, {"ends_at": z(minutes(240)), "title": "Longer"})

    assert answer.status_code == 200
    assert answer.json()["title"] == "Longer"
    assert api.get(planned).json()["ends_at"] == z(minutes(240))


def test_delete_cancels_and_hides_it(api, planned):
    address = planned.split("occurrences/")[0]

    assert api.delete(address).status_code == 204

    assert api.get(address).status_code == 404
    assert api.get(planned).status_code == 404
    assert Occurrence.objects.get().state == "CANCELLED"


def test_steps_of_an_occurrence(api, planned, clock):
    started = api.post(f"{planned}start/", {"message": "We begin early."})
    assert started.status_code == 200
    assert started.json()["state"] == "IN_PROGRESS"
    assert started.json()["started_at"] == z(NOW)
    assert Overlay.objects.get().status == "down"
    assert api.post(f"{planned}start/").status_code == 200

    extended = api.post(f"{planned}extend/", {"ends_at": z(minutes(300))})
    assert extended.json()["ends_at"] == z(minutes(300))
    clock.move_to(minutes(200))
    assert api.post(f"{planned}verify/").json()["state"] == "VERIFYING"
    assert api.post(f"{planned}complete/").json()["state"] == "COMPLETED"
    assert api.post(f"{planned}complete/").status_code == 200
    refused = api.post(f"{planned}cancel/", {"reason": "Late"})
    assert refused.status_code == 409
    assert refused.json()["detail"] == "This is not possible: it is completed."
    assert api.post(f"{planned}start/").status_code == 409

    told = api.get(f"{planned}updates/").json()["results"]
    assert told[-1]["body"] == "We begin early."


def test_cancel_says_why(api, planned):
    answer = api.post(f"{planned}cancel/", {"reason": "The disks are late"})

    assert answer.json()["state"] == "CANCELLED"
    assert answer.json()["reason"] == "The disks are late"
    assert answer.json()["sequence"] == 1


def test_move(api, planned):
    times = {"starts_at": z(minutes(500)), "ends_at": z(minutes(600))}

    assert api.post(f"{planned}move/", times).json()["starts_at"] == z(minutes(500))
    refused = api.post(f"{planned}move/", {**times, "ends_at": z(minutes(400))})

    assert refused.status_code == 400
    assert "ends_at" in refused.json()["errors"]


def test_extend_wants_a_later_end(api, planned):
    answer = api.post(f"{planned}extend/", {"ends_at": z(minutes(130))})

    assert answer.status_code == 400
    assert "ends_at" in answer.json()["errors"]


def test_write_an_update(api, planned):
    answer = api.post(f"{planned}updates/", {"body": "Half is *done*."})

    assert answer.status_code == 201
    assert answer.json()["state"] == "SCHEDULED"


def test_update_that_nobody_would_see_is_refused(api, planned):
    answer = api.post(f"{planned}updates/", {"body": "<!-- soon -->"})

    assert answer.status_code == 400
    assert "body" in answer.json()["errors"]


def test_dates_of_another_maintenance_are_not_found(api, planned):
    other = once(api).json()["id"]
    number = planned.rstrip("/").rpartition("/")[2]

    assert api.get(f"{ROOT}{other}/occurrences/{number}/").status_code == 404


def test_lists_are_read_in_a_number_of_queries_that_does_not_grow(
    api, shop, django_assert_max_num_queries
):
    for _ in range(12):
        once(api, monitors=[{"tag": "shop"}])

    with django_assert_max_num_queries(6):
        assert len(api.get(ROOT).json()["results"]) == 12


def test_scope(db):
    key = ApiKey(name="reader", scopes=["incidents:read"]).issue()
    reader = APIClient()
    reader.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")

    assert reader.get(ROOT).status_code == 200
    assert once(reader).status_code == 403


def test_a_zone_change_keeps_the_time_of_day(api, db):
    facts = {
        "title": "Backup",
        "description": "Nothing pauses.",
        "rrule": "FREQ=DAILY",
        "timezone": "Europe/Berlin",
        "starts_at": "2026-03-10T02:00:00",
        "duration_minutes": 60,
    }
    made = api.post(ROOT, facts).json()

    moved = api.patch(f"{ROOT}{made['id']}/", {"timezone": "Asia/Tokyo"}).json()

    at = datetime.fromisoformat(moved["starts_at"]).astimezone(ZoneInfo("Asia/Tokyo"))
    assert f"{at:%d %H:%M}" == "10 02:00"
