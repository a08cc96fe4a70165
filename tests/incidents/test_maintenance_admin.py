import re
from datetime import timedelta

import pytest
import time_machine

from incidents.models import Maintenance, MaintenanceSettings, Occurrence

from .planned import NOW, minutes, plan_one

LIST = "/admin/incidents/maintenance/"
DATES = "/admin/incidents/occurrence/"


@pytest.fixture(autouse=True)
def clock():
    with time_machine.travel(NOW, tick=False) as travelled:
        yield travelled


def filled(**more):
    return {
        "title": "Database upgrade",
        "description": "Writes *pause*.",
        "starts": "2026-03-10T02:30",
        "ends": "2026-03-10T03:30",
        "time_zone": "Europe/Berlin",
        "repeats": "once",
        "minutes_before": "1440, 60",
        "sends_reminders": "on",
        "impacts-TOTAL_FORMS": "0",
        "impacts-INITIAL_FORMS": "0",
        **more,
    }


def recurring(**more):
    return filled(ends="", duration_minutes="60", **more)


def errors(response):
    found = re.findall(
        r'<ul class="errorlist"[^>]*>(.*?)</ul>', response.content.decode()
    )
    return re.sub("<[^>]+>", " ", " ".join(found))


def test_plan_once(admin, make_monitor):
    shop = make_monitor("shop")
    row = {
        "impacts-TOTAL_FORMS": "1",
        "impacts-0-monitor": shop.pk,
        "impacts-0-level": "DOWN",
    }

    response = admin.post(f"{LIST}add/", filled(**row))

    assert response.status_code == 302, errors(response)
    occurrence = Occurrence.objects.get()
    assert f"{occurrence.starts_at:%d %H:%M}" == "10 01:30"
    assert occurrence.maintenance.reminders == [1440, 60]
    impacts = occurrence.maintenance.impacts.values_list("monitor", "level")
    assert list(impacts) == [(shop.pk, "DOWN")]


@pytest.mark.parametrize(
    ("chosen", "rule"),
    [
        ({"repeats": "daily"}, "FREQ=DAILY"),
        ({"repeats": "weekdays"}, "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR"),
        ({"repeats": "weekly"}, "FREQ=WEEKLY;BYDAY=TU"),
        ({"repeats": "weekly", "weekdays": ["TU", "FR"]}, "FREQ=WEEKLY;BYDAY=TU,FR"),
        ({"repeats": "monthly", "nth": "2"}, "FREQ=MONTHLY;BYDAY=2TU"),
        ({"repeats": "monthly"}, "FREQ=MONTHLY;BYMONTHDAY=10"),
        ({"repeats": "rule", "rule": "FREQ=DAILY;INTERVAL=3"}, "FREQ=DAILY;INTERVAL=3"),
    ],
)
def test_presets(admin, chosen, rule):
    response = admin.post(f"{LIST}add/", recurring(**chosen))

    assert response.status_code == 302, errors(response)
    planned = Maintenance.objects.get()
    assert planned.rrule == rule
    page = admin.get(f"{LIST}{planned.pk}/change/").content.decode()
    assert f'value="{chosen["repeats"]}"' in page
    assert re.search(rf'value="{chosen["repeats"]}"[^>]* checked', page)
    again = admin.post(f"{LIST}{planned.pk}/change/", recurring(**chosen))
    assert again.status_code == 302, errors(again)
    planned.refresh_from_db()
    assert planned.rrule == rule


def test_dates_are_shown_without_saving(admin):
    response = admin.post(
        f"{LIST}add/", recurring(repeats="daily", starts="2026-03-27T02:30", _dates="y")
    )

    page = response.content.decode()
    assert response.status_code == 200
    assert "Sun 29 Mar 2026, 03:30 CEST" in page
    assert "Mon 30 Mar 2026, 02:30 CEST" in page
    assert len(re.findall(r"2026, 0[23]:30 CES?T</td><td>", page)) == 10
    assert errors(response) == ""
    assert not Maintenance.objects.exists()


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (filled(ends=""), "Say when it ends"),
        (filled(starts="2026-01-01T00:00", ends="2026-01-01T01:00"), "over already"),
        (filled(minutes_before="soon"), "whole numbers"),
        (filled(starts=""), "required"),
        (recurring(repeats="rule", rule="FREQ=HOURLY"), "too often"),
        (recurring(repeats="rule"), "Write a rule"),
        (recurring(repeats="monthly", nth="1"), "start on Tuesday"),
        (recurring(repeats="daily", left_out="Friday"), "2026-12-25"),
    ],
)
def test_what_is_not_fit_is_said_beside_its_field(admin, facts, why):
    response = admin.post(f"{LIST}add/", facts)

    assert response.status_code == 200
    assert why in errors(response)
    assert not Maintenance.objects.exists()


def test_editing_moves_its_date(admin):
    admin.post(f"{LIST}add/", filled())
    planned = Maintenance.objects.get()

    response = admin.post(
        f"{LIST}{planned.pk}/change/", filled(ends="2026-03-10T05:30", title="Longer")
    )

    assert response.status_code == 302, errors(response)
    occurrence = Occurrence.objects.get()
    assert occurrence.ends_at - occurrence.starts_at == timedelta(hours=3)
    assert occurrence.maintenance.title == "Longer"


def test_deleting_cancels(admin):
    occurrence = plan_one()

    admin.post(f"{LIST}{occurrence.maintenance_id}/delete/", {"post": "yes"})

    occurrence.refresh_from_db()
    assert occurrence.state == "CANCELLED"


@pytest.mark.parametrize(
    ("steps", "state"),
    [
        (["start"], "IN_PROGRESS"),
        (["start", "verify"], "VERIFYING"),
        (["start", "complete"], "COMPLETED"),
    ],
)
def test_buttons(admin, steps, state):
    occurrence = plan_one()

    for step in steps:
        facts = {"action": step, "_selected_action": [occurrence.pk]}
        assert admin.post(DATES, facts).status_code == 302

    occurrence.refresh_from_db()
    assert occurrence.state == state
    assert occurrence.updates.first().author.username == "ana"


def test_cancelling_asks_first(admin):
    occurrence = plan_one()
    facts = {"action": "cancel", "_selected_action": [occurrence.pk]}

    page = admin.post(DATES, facts).content.decode()
    assert "Cancel one occurrence?" in page
    assert not Occurrence.objects.filter(state="CANCELLED").exists()
    admin.post(DATES, {**facts, "confirmed": "yes", "reason": "Late disks"})

    assert Occurrence.objects.get().reason == "Late disks"


def test_extending_asks_until_when(admin):
    occurrence = plan_one()
    facts = {"action": "extend", "_selected_action": [occurrence.pk]}

    assert "Extend one occurrence?" in admin.post(DATES, facts).content.decode()
    confirmed = {**facts, "confirmed": "yes"}
    early = admin.post(DATES, {**confirmed, "ends_at": f"{minutes(90):%Y-%m-%dT%H:%M}"})
    assert "Give a later end" in early.content.decode()
    admin.post(DATES, {**confirmed, "ends_at": f"{minutes(300):%Y-%m-%dT%H:%M}"})

    assert Occurrence.objects.get().ends_at == minutes(300)


def moving(*occurrences):
    return {"action": "move", "_selected_action": [one.pk for one in occurrences]}


def test_moving_asks_for_another_time(admin):
    occurrence = plan_one()
    shown = admin.get(f"{DATES}{occurrence.pk}/change/").content.decode()
    assert "Move…" in shown

    page = admin.post(DATES, moving(occurrence)).content.decode()
    assert "Move one occurrence?" in page
    assert f'value="{minutes(60):%Y-%m-%dT%H:%M:%S}"' in page
    assert f'value="{minutes(120):%Y-%m-%dT%H:%M:%S}"' in page
    times = {"starts_at": "2026-03-03T01:00", "ends_at": "2026-03-03T02:30"}
    admin.post(DATES, {**moving(occurrence), "confirmed": "yes", **times})

    occurrence.refresh_from_db()
    assert occurrence.starts_at == minutes(13 * 60)
    assert occurrence.ends_at == minutes(14 * 60 + 30)
    assert occurrence.updates.first().author.username == "ana"


@pytest.mark.parametrize(
    ("starts", "ends", "why"),
    [
        ("2026-03-03T03:00", "2026-03-03T02:30", "It ends after its start"),
        ("2026-03-01T03:00", "2026-03-01T04:00", "It would be over already."),
        ("", "2026-03-03T02:30", "This field is required."),
        ("soon", "2026-03-03T02:30", "Enter a valid date/time."),
    ],
)
def test_unfit_move_is_said_and_what_was_typed_is_kept(admin, starts, ends, why):
    occurrence = plan_one()
    times = {"starts_at": starts, "ends_at": ends}

    page = admin.post(DATES, {**moving(occurrence), "confirmed": "yes", **times})

    assert why in errors(page)
    assert f'value="{ends}"' in page.content.decode()
    occurrence.refresh_from_db()
    assert occurrence.starts_at == minutes(60)


def test_only_one_that_is_to_come_is_moved(admin):
    begun, one, other = plan_one(), plan_one(), plan_one()
    begun.start(at=NOW)

    for chosen in ([begun], [one, other]):
        page = admin.post(DATES, moving(*chosen), follow=True).content.decode()
        assert "Choose one that is still to come." in page
    assert "Move…" not in admin.get(f"{DATES}{begun.pk}/change/").content.decode()


def test_pages_open(admin):
    occurrence = plan_one()

    for page in (
        *(LIST, f"{LIST}{occurrence.maintenance_id}/change/", f"{LIST}?retired=all"),
        *(DATES, f"{DATES}{occurrence.pk}/change/", f"{LIST}add/"),
    ):
        assert admin.get(page).status_code == 200


def test_settings_are_one_page(admin):
    response = admin.get("/admin/incidents/maintenancesettings/", follow=True)
    assert "Send Maintenance Reminders" in response.content.decode()

    admin.post(response.request["PATH_INFO"], {})

    assert not MaintenanceSettings.current().sends_reminders
