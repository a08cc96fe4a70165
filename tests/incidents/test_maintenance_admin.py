import html
import re
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.contrib.auth.models import Permission, User
from django.test import Client

from incidents.models import Maintenance, MaintenanceSettings, Occurrence

from .planned import NOW, minutes, plan, plan_one

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


def shown(page):
    """What the form has in its fields, as a browser sends it back."""
    form = page.split('id="maintenance_form"')[1]
    fields = {}
    for tag in re.findall(r"<input[^>]*>", form):
        found = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        ticked = found["type"] not in ("radio", "checkbox") or " checked" in tag
        if ticked and found["type"] != "submit" and "name" in found:
            usual = "on" if found["type"] == "checkbox" else ""
            value = html.unescape(found.get("value", usual))
            fields.setdefault(found["name"], []).append(value)
    for name, text in re.findall(
        r'<textarea name="([^"]+)"[^>]*>\n?(.*?)</textarea>', form, re.DOTALL
    ):
        fields[name] = [html.unescape(text).replace("\n", "\r\n")]
    for name, options in re.findall(
        r'<select name="([^"]+)"[^>]*>(.*?)</select>', form, re.DOTALL
    ):
        fields[name] = re.findall(r'value="([^"]*)" selected', options)
    return fields


def change(admin, planned, **more):
    """Open its page, change these fields, save; return the answer."""
    address = f"{LIST}{planned.pk}/change/"
    fields = shown(admin.get(address).content.decode())
    return admin.post(address, {**fields, **more})


def dates(planned):
    rows = planned.occurrences.order_by("starts_at")
    return list(rows.values_list("pk", "starts_at", "ends_at", "sequence"))


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
        (recurring(repeats="daily", left_out="2026-W12-2"), "not &quot;2026-W12-2"),
        (
            recurring(repeats="daily", left_out="2026-03-11\n2026-03-12T02:00"),
            "To leave out 2026-03-12 02:00 changes nothing",
        ),
        (filled(description=""), "This field is required."),
        (filled(description="<!-- soon -->"), "Nothing of this would be seen"),
        (
            filled(
                starts="9999-12-31T23:59",
                ends="9999-12-31T23:59",
                time_zone="America/New_York",
            ),
            "It must lie in the years 1970 to 2099.",
        ),
        (
            filled(
                starts="0001-01-01T00:00",
                ends="0001-01-01T00:01",
                time_zone="Asia/Tokyo",
            ),
            "It must lie in the years 1970 to 2099.",
        ),
        (filled(minutes_before="0"), "Give up to 50 whole numbers"),
        (filled(minutes_before=" ".join(map(str, range(1, 52)))), "Give up to 50"),
    ],
)
def test_what_is_not_fit_is_said_beside_its_field(admin, facts, why):
    response = admin.post(f"{LIST}add/", facts)

    assert response.status_code == 200
    assert why in errors(response)
    assert not Maintenance.objects.exists()


def once(starts_at, zone="Europe/Berlin"):
    ends_at = starts_at + timedelta(hours=1)
    return {"starts_at": starts_at, "ends_at": ends_at, "time_zone": zone}


def ruled(rrule, *clock, **more):
    starts_at = datetime(*clock, tzinfo=UTC)
    return {"rrule": rrule, "starts_at": starts_at, "duration_minutes": 60, **more}


@pytest.mark.parametrize(
    "facts",
    [
        once(datetime(2027, 10, 31, 0, 30, tzinfo=UTC)),
        once(datetime(2027, 10, 31, 1, 30, tzinfo=UTC)),
        once(datetime(2026, 12, 1, 12, 0, 30, tzinfo=UTC)),
        once(datetime(2026, 12, 1, 12, 0, 30, 500_000, tzinfo=UTC)),
        ruled("FREQ=DAILY", 2026, 12, 1, 10, 0, 30),
        ruled("FREQ=DAILY", 2026, 3, 29, 1, 30, local_start="2026-03-29T02:30:00")
        | {"time_zone": "Europe/Berlin"},
        ruled("FREQ=MONTHLY;BYDAY=5MO", 2026, 11, 30, 10),
        ruled("FREQ=MONTHLY;BYDAY=-2FR", 2026, 12, 18, 10),
        ruled("FREQ=MONTHLY;BYDAY=-1FR", 2026, 12, 25, 10),
        ruled("FREQ=MONTHLY;BYDAY=1FR,2FR", 2026, 12, 4, 10),
        ruled("FREQ=MONTHLY;BYMONTHDAY=31", 2026, 12, 31, 10),
        ruled("FREQ=WEEKLY;BYDAY=FR,TU", 2026, 12, 1, 10),
        ruled("FREQ=WEEKLY;BYDAY=TU", 2026, 12, 1, 10),
        ruled("freq=daily;count=3", 2026, 12, 1, 10),
        ruled("FREQ=DAILY", 2026, 12, 1, 10, exdates=["2026-12-03", "2026-12-05"]),
        ruled("FREQ=DAILY\nEXDATE:20261203T100000", 2026, 12, 1, 10),
    ],
)
def test_another_title_leaves_the_dates_alone(admin, facts):
    planned = plan(**facts)
    before, told = dates(planned), Maintenance.objects.values().get()

    response = change(admin, planned, title="Longer")

    assert response.status_code == 302, errors(response)
    assert dates(planned) == before
    after = Maintenance.objects.values().get()
    assert after["title"] == "Longer"
    parted = {
        "title",
        "plan_at",
        *(("rrule", "exdates") if "\n" in told["rrule"] else ()),
    }
    assert {n: v for n, v in after.items() if n not in parted} == {
        n: v for n, v in told.items() if n not in parted
    }
    assert not planned.occurrences.exclude(updates=None).exists()


def test_what_is_refused_when_it_is_saved_is_said_in_the_form(admin):
    long_ago = filled(starts="2026-02-20T02:30", ends="2026-03-10T03:30")

    response = admin.post(f"{LIST}add/", long_ago)

    assert "It began more than a day ago." in errors(response)
    assert "Writes *pause*.</textarea>" in response.content.decode()
    assert not Maintenance.objects.exists()


def test_refused_change_is_said_in_the_form_and_nothing_is_saved(admin):
    planned = plan_one().maintenance
    planned.occurrences.get().cancel(at=NOW)

    response = change(admin, planned, title="Longer", ends="2026-03-02T18:00")

    assert "It has been planned for this start before." in errors(response)
    assert 'value="Longer"' in response.content.decode()
    planned.refresh_from_db()
    assert planned.title == "Database upgrade"
    history = admin.get(f"{LIST}{planned.pk}/history/").content.decode()
    assert "Changed" not in history


def test_who_may_not_change_it_reads_when_it_happens(admin):
    daily = ruled("FREQ=DAILY", 2026, 12, 1, 10)
    planned = plan(**daily, time_zone="Europe/Berlin", reminders=[30, 5])
    planned.retire(at=NOW)

    page = admin.get(f"{LIST}{planned.pk}/change/").content.decode()

    assert "Every day at 11:00 Europe/Berlin, for 1 hour" in page
    assert "30, 5" in page
    assert ">None<" not in page


def test_zone_that_is_no_more_is_not_exchanged_for_another(admin):
    planned = plan(**ruled("FREQ=DAILY", 2026, 12, 1, 10))
    Maintenance.objects.update(time_zone="US/Pacific-New")

    response = change(admin, planned, title="Longer")

    assert "Give a zone by its name" in errors(response)
    assert Maintenance.objects.get().time_zone == "US/Pacific-New"


def test_another_end_leaves_the_start_alone(admin):
    planned = plan(**once(datetime(2027, 10, 31, 1, 30, tzinfo=UTC)))

    response = change(admin, planned, ends="2027-10-31T05:00")

    assert response.status_code == 302, errors(response)
    [(_, starts_at, ends_at, _)] = dates(planned)
    assert starts_at == datetime(2027, 10, 31, 1, 30, tzinfo=UTC)
    assert ends_at == datetime(2027, 10, 31, 4, tzinfo=UTC)


def test_another_zone_keeps_what_the_clock_shows(admin):
    planned = plan(**once(datetime(2026, 12, 1, 12, 0, 30, tzinfo=UTC)))

    response = change(admin, planned, time_zone="Asia/Tokyo")

    assert response.status_code == 302, errors(response)
    [(_, starts_at, ends_at, _)] = dates(planned)
    assert starts_at == datetime(2026, 12, 1, 4, 0, 30, tzinfo=UTC)
    assert ends_at == datetime(2026, 12, 1, 5, 0, 30, tzinfo=UTC)


def test_what_recurs_can_happen_once_instead_and_the_other_way_round(admin):
    planned = plan(**ruled("FREQ=DAILY", 2026, 12, 1, 10))

    response = change(admin, planned, repeats="once", ends="2026-12-01T12:00")
    assert response.status_code == 302, errors(response)
    [(_, starts_at, ends_at, _)] = dates(planned)
    assert ends_at - starts_at == timedelta(hours=2)

    response = change(admin, planned, repeats="weekdays", duration_minutes="30")
    assert response.status_code == 302, errors(response)
    planned.refresh_from_db()
    assert (planned.rrule, planned.ends_at) == (
        "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR",
        None,
    )
    assert len(dates(planned)) >= 10


def test_another_start_takes_the_day_of_the_month_along(admin):
    planned = plan(**ruled("FREQ=MONTHLY;BYMONTHDAY=3", 2026, 12, 3, 10))

    response = change(admin, planned, starts="2026-12-05T10:00")

    assert response.status_code == 302, errors(response)
    planned.refresh_from_db()
    assert planned.rrule == "FREQ=MONTHLY;BYMONTHDAY=5"


def test_exdate_lines_of_a_pasted_rule_go_where_dates_are_left_out(admin):
    rule = "RRULE:FREQ=DAILY\r\nEXDATE:20260312T023000\r\n"

    response = admin.post(
        f"{LIST}add/", recurring(repeats="rule", rule=rule, left_out="2026-03-14")
    )

    assert response.status_code == 302, errors(response)
    planned = Maintenance.objects.get()
    assert planned.rrule == "RRULE:FREQ=DAILY"
    assert planned.exdates == ["2026-03-14", "2026-03-12T02:30:00"]


def test_unfit_exdate_line_is_said_beside_the_dates(admin):
    rule = "FREQ=DAILY\r\nEXDATE:soon"

    response = admin.post(f"{LIST}add/", recurring(repeats="rule", rule=rule))

    assert "EXDATE must be written as" in errors(response)


def test_warnings_are_shown_with_the_dates_and_when_it_is_saved(admin):
    facts = recurring(repeats="daily") | {"duration_minutes": "4320"}
    overlap = "The window is longer than its period: dates overlap."

    page = admin.post(f"{LIST}add/", {**facts, "_dates": "y"}).content.decode()
    assert overlap in page
    saved = admin.post(f"{LIST}add/", facts, follow=True).content.decode()
    assert overlap in saved

    renamed = change(admin, Maintenance.objects.get(), title="Longer")
    assert overlap not in admin.get(renamed.url).content.decode()


def test_dates_that_once_left_nothing_out_do_not_hinder(admin):
    planned = plan(
        **ruled("FREQ=WEEKLY;BYDAY=TU", 2026, 12, 1, 10, exdates=["20261202"]),
    )

    response = change(admin, planned, title="Longer")

    assert response.status_code == 302, errors(response)


def test_many_reminders(admin):
    many = [10 * n for n in range(1, 51)]

    response = admin.post(
        f"{LIST}add/", filled(minutes_before=", ".join(map(str, many)))
    )

    assert response.status_code == 302, errors(response)
    assert Maintenance.objects.get().reminders == many
    assert "up to 50" in admin.get(f"{LIST}add/").content.decode()


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


def extending(until, *occurrences):
    chosen = [one.pk for one in occurrences]
    facts = {"action": "extend", "_selected_action": chosen, "confirmed": "yes"}
    return {**facts, "ends_at": f"{until:%Y-%m-%dT%H:%M}"}


def test_all_are_extended_or_none(admin):
    early, late = (
        plan_one(starts_at=minutes(60), ends_at=minutes(90), title="Early"),
        plan_one(starts_at=minutes(60), ends_at=minutes(200), title="Late"),
    )

    response = admin.post(DATES, extending(minutes(100), early, late))

    assert f"{late}: Give a later end; this is none." in errors(response)
    assert str(early) not in errors(response)
    assert {one.ends_at for one in Occurrence.objects.all()} == {
        minutes(90),
        minutes(200),
    }
    assert not early.updates.exists()
    admin.post(DATES, extending(minutes(300), early, late))
    assert {one.ends_at for one in Occurrence.objects.all()} == {minutes(300)}


# What people are told


def stepping(occurrence, action, **more):
    page = f"{DATES}{occurrence.pk}/change/"
    chosen = {"action": action, "_selected_action": [occurrence.pk]}
    return {**chosen, "next": page, "index": "0", **more}


@pytest.mark.parametrize(
    ("before", "step", "state"),
    [
        ([], "start", "IN_PROGRESS"),
        (["start"], "verify", "VERIFYING"),
        (["start"], "complete", "COMPLETED"),
    ],
)
def test_step_with_a_message_takes_one_press(admin, before, step, state):
    occurrence = plan_one()
    for name in before:
        getattr(occurrence, name)(at=NOW)

    said = stepping(occurrence, step, body="Disks are **in**.")
    page = admin.post(DATES, said, follow=True).content.decode()

    written = occurrence.updates.first()
    assert (written.state, written.body) == (state, "Disks are **in**.")
    assert "Disks are <strong>in</strong>." in page


def test_story_is_shown_newest_first_with_times_and_authors(admin, operator):
    occurrence = plan_one()
    occurrence.note("Half is done.", at=minutes(1), author=operator)
    occurrence.start(at=minutes(61), due=None)
    occurrence.note("<script>", at=minutes(62))

    page = admin.get(f"{DATES}{occurrence.pk}/change/").content.decode()

    story = page.split('id="story-head"')[1]
    told = [story.index(t) for t in ("The maintenance has begun.", "Half is done.")]
    assert told == sorted(told)
    assert "ana" in story
    assert "12:01" in story
    assert "13:01" in story
    assert "<script>" not in story


def test_update_is_written(admin):
    occurrence = plan_one()

    said = stepping(occurrence, "note", body="Half is *done*.")
    page = admin.post(DATES, said, follow=True).content.decode()

    written = occurrence.updates.get()
    assert (written.state, written.body) == ("SCHEDULED", "Half is *done*.")
    assert written.author.username == "ana"
    assert "Half is <em>done</em>." in page


def test_update_without_words_is_asked_for(admin):
    first, second = plan_one(), plan_one()
    chosen = {"action": "note", "_selected_action": [first.pk, second.pk]}

    page = admin.post(DATES, chosen).content.decode()
    assert "Write an update on two occurrences" in page
    empty = admin.post(DATES, {**chosen, "confirmed": "yes", "body": " "})
    assert "This field is required." in errors(empty)
    admin.post(DATES, {**chosen, "confirmed": "yes", "body": "Half is done."})

    assert [one.updates.get().body for one in (first, second)] == ["Half is done."] * 2


@pytest.mark.parametrize("step", ["start", "note"])
def test_words_that_nobody_would_see_are_asked_for_again(admin, step):
    occurrence = plan_one()

    response = admin.post(DATES, stepping(occurrence, step, body="<!-- x -->"))

    assert "Nothing of this would be seen by anybody." in errors(response)
    assert "&lt;!-- x --&gt;" in response.content.decode()
    occurrence.refresh_from_db()
    assert occurrence.state == "SCHEDULED"
    assert not occurrence.updates.exists()


@pytest.mark.parametrize("step", ["move", "extend"])
def test_message_of_a_step_that_asks_is_taken_along(admin, step):
    occurrence = plan_one()
    times = {"starts_at": "2026-03-03T01:00", "ends_at": "2026-03-03T02:30"}

    page = admin.post(DATES, stepping(occurrence, step, body="Late *disks*."))
    assert "Late *disks*.</textarea>" in page.content.decode()
    said = stepping(occurrence, step, body="Late *disks*.", confirmed="yes", **times)
    admin.post(DATES, said)

    assert occurrence.updates.get().body == "Late *disks*."


def test_message_of_cancelling_is_its_reason(admin):
    occurrence = plan_one()

    page = admin.post(DATES, stepping(occurrence, "cancel", body="Late disks"))

    assert 'value="Late disks"' in page.content.decode()


def test_who_only_looks_reads_the_story_and_writes_nothing(db):
    occurrence = plan_one()
    occurrence.note("Half is done.", at=NOW)
    reader = User.objects.create_user("ben", is_staff=True)
    reader.user_permissions.add(Permission.objects.get(codename="view_occurrence"))
    client = Client()
    client.force_login(reader)

    page = client.get(f"{DATES}{occurrence.pk}/change/").content.decode()

    assert "Half is done." in page
    assert "<textarea" not in page
    client.post(DATES, stepping(occurrence, "note", body="No."))
    assert occurrence.updates.count() == 1


def test_what_is_over_can_be_told_of_only(admin):
    occurrence = plan_one()
    occurrence.cancel(at=NOW)

    page = admin.get(f"{DATES}{occurrence.pk}/change/").content.decode()

    steps = re.findall(r'<button[^>]*name="action" value="(\w+)"', page)
    assert steps == ["note"]
    admin.post(DATES, stepping(occurrence, "note", body="It will be in May."))
    assert occurrence.updates.first().body == "It will be in May."


@pytest.mark.parametrize("year", ["1969", "9999"])
def test_date_far_away_is_refused(admin, year):
    occurrence = plan_one(verify_before_completion=True, verify_minutes=90)
    times = {"starts_at": f"{year}-12-31T01:00", "ends_at": f"{year}-12-31T23:59"}

    response = admin.post(DATES, {**moving(occurrence), "confirmed": "yes", **times})

    assert "It must lie in the years 1970 to 2099." in errors(response)


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


@pytest.mark.parametrize(("is_on", "word"), [(True, "on"), (False, "off")])
def test_switch_of_reminders_is_found_beside_the_subscribers(admin, is_on, word):
    MaintenanceSettings(sends_reminders=is_on).save()
    page = admin.get("/admin/subscriptions/subscriber/").content.decode()
    link = rf'<a href="([^"]+)"[^>]*>Send Maintenance Reminders: {word}</a>'

    response = admin.get(re.search(link, page)[1], follow=True)

    assert "Send Maintenance Reminders" in response.content.decode()
    assert response.request["PATH_INFO"].startswith(
        "/admin/incidents/maintenancesettings/"
    )


def test_switch_of_reminders_is_not_offered_to_who_may_not_see_it(db):
    reader = User.objects.create_user("ben", is_staff=True)
    reader.user_permissions.add(Permission.objects.get(codename="view_subscriber"))
    client = Client()
    client.force_login(reader)

    page = client.get("/admin/subscriptions/subscriber/").content.decode()

    assert "Send Maintenance Reminders" not in page
