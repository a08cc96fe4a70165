"""What is planned, its dates, and what a person does with them."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.core.exceptions import ValidationError
from django.db import connection

from incidents.models import Maintenance, Occurrence
from monitors import zones
from monitors.models import Overlay
from statuspages.models import zone_choices

from .planned import NOW, hear, minutes, plan, plan_one

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture
def told():
    names, stop = hear()
    yield names
    stop()


@pytest.fixture
def shop(make_monitor):
    return make_monitor("shop")


def in_utc(at):
    return f"{at.astimezone(UTC):%m-%d %H:%M}"


def starts(maintenance):
    rows = maintenance.occurrences.order_by("starts_at")
    return [in_utc(row.starts_at) for row in rows]


def nightly(**more):
    facts = {
        "rrule": "FREQ=DAILY",
        "starts_at": datetime(2026, 3, 27, 2, 30, tzinfo=BERLIN),
        "time_zone": "Europe/Berlin",
        "duration_minutes": 60,
    }
    return plan(**{**facts, **more})


def laid():
    overlays = Overlay.objects.order_by("started_at", "pk")
    return [(o.status, o.started_at, o.ended_at) for o in overlays]


# Planning


def test_once_is_one_occurrence(db, told):
    occurrence = plan_one()

    assert (occurrence.starts_at, occurrence.ends_at) == (minutes(60), minutes(120))
    assert occurrence.state == "SCHEDULED"
    assert occurrence.sequence == 0
    assert told == ["scheduled"]


def test_rows_are_made_for_ninety_days(db, told):
    maintenance = nightly()

    assert maintenance.occurrences.count() == 66
    assert told == ["scheduled"]


def test_rows_are_made_for_the_next_ten_if_those_are_more(db):
    maintenance = nightly(rrule="FREQ=YEARLY")

    assert maintenance.occurrences.count() == 10
    assert maintenance.occurrences.last().starts_at.year == 2035


def test_half_past_two_in_berlin_across_the_change_of_the_clock(db):
    maintenance = nightly(rrule="FREQ=DAILY;COUNT=4")

    rows = maintenance.occurrences.order_by("starts_at")
    assert [row.original[8:] for row in rows] == [
        "27T02:30:00",
        "28T02:30:00",
        "29T02:30:00",
        "30T02:30:00",
    ]
    # On the 29th the clock goes from 02:00 to 03:00: 02:30 is 03:30 there.
    assert starts(maintenance) == [
        "03-27 01:30",
        "03-28 01:30",
        "03-29 01:30",
        "03-30 00:30",
    ]
    assert [row.ends_at - row.starts_at for row in rows] == [timedelta(hours=1)] * 4


def test_first_start_in_the_gap_keeps_its_time_of_day(db):
    maintenance = nightly(
        rrule="FREQ=DAILY;COUNT=2",
        starts_at=datetime(2026, 3, 29, 1, 30, tzinfo=UTC),
        local_start="2026-03-29T02:30:00",
    )
    maintenance.refresh_from_db()
    maintenance.revise(at=NOW, duration_minutes=30)

    assert starts(maintenance) == ["03-29 01:30", "03-30 00:30"]


def test_count_of_ten_is_not_once(db):
    """Kener took every rule with COUNT=1 in it, such as COUNT=10, for one date."""
    assert nightly(rrule="FREQ=DAILY;COUNT=10").occurrences.count() == 10


def test_next_dates_are_those_of_the_rule(db):
    maintenance = nightly(exdates=["2026-03-28"])

    dates = maintenance.next_dates(10, after=NOW)

    assert len(dates) == 10
    assert [in_utc(begin) for begin, _ in dates[:2]] == ["03-27 01:30", "03-29 01:30"]


@pytest.mark.parametrize(
    ("field", "facts"),
    [
        ("ends_at", {"starts_at": minutes(5), "ends_at": None}),
        ("ends_at", {"starts_at": minutes(5), "ends_at": minutes(5)}),
        ("duration_minutes", {"duration_minutes": 5}),
        ("time_zone", {"time_zone": "Mars/Base"}),
        ("reminders", {"reminders": [0]}),
        ("reminders", {"reminders": ["60"]}),
        ("exdates", {"exdates": ["2026-03-28"]}),
        ("rrule", {"rrule": "FREQ=HOURLY", "duration_minutes": 5}),
        ("duration_minutes", {"rrule": "FREQ=DAILY"}),
        ("starts_at", {"rrule": "FREQ=WEEKLY;BYDAY=SU", "duration_minutes": 5}),
        (
            "exdates",
            {"rrule": "FREQ=DAILY", "duration_minutes": 5, "exdates": ["Friday"]},
        ),
    ],
)
def test_what_cannot_be_planned_is_refused_by_its_field(db, field, facts):
    facts = {"starts_at": minutes(60), **facts}
    if "rrule" not in facts:
        facts.setdefault("ends_at", minutes(120))

    with pytest.raises(ValidationError) as refused:
        plan(**facts)

    assert field in refused.value.message_dict


def test_what_would_be_over_is_refused(db):
    with pytest.raises(ValidationError, match="over already"):
        plan(starts_at=minutes(-60), ends_at=minutes(-5))

    assert not Maintenance.objects.exists()


def test_plan_grows_with_time(db, told):
    maintenance = nightly()
    at = NOW + timedelta(days=2)

    assert maintenance.plan_further(at=at)
    assert not maintenance.plan_further(at=at)

    assert maintenance.occurrences.count() == 68
    assert told == ["scheduled"]


# Editing


def test_editing_moves_untouched_dates_and_no_day_happens_twice(db, told):
    maintenance = nightly(rrule="FREQ=DAILY;COUNT=4")
    first, second, third, fourth = maintenance.occurrences.order_by("starts_at")
    first.start(at=minutes(5))
    second.move(*(second.starts_at + timedelta(hours=n) for n in (5, 6)), at=minutes(6))
    third.cancel(at=minutes(7))
    told.clear()

    maintenance.revise(
        at=minutes(10),
        starts_at=datetime(2026, 3, 27, 4, 0, tzinfo=BERLIN),
        local_start="",
    )

    assert starts(maintenance) == [
        "03-27 01:30",
        "03-28 06:30",
        "03-29 01:30",
        "03-30 02:00",
    ]
    moved = Occurrence.objects.get(pk=fourth.pk)
    assert moved.uid == fourth.uid
    assert moved.sequence == 1
    assert told == ["changed", "changed"]


def test_dates_that_are_no_more_are_taken_away(db):
    maintenance = nightly(rrule="FREQ=DAILY;COUNT=4")

    maintenance.revise(at=NOW, rrule="FREQ=DAILY;COUNT=2")

    assert starts(maintenance) == ["03-27 01:30", "03-28 01:30"]


def test_date_that_people_heard_of_is_cancelled_not_forgotten(db, told, shop):
    maintenance = nightly(impacts={shop: "DOWN"}, exdates=[])
    first, second, *_ = maintenance.occurrences.order_by("starts_at")

    maintenance.revise(at=NOW, exdates=["2026-03-27", "2026-03-28"])

    gone = Occurrence.objects.get(pk=first.pk)
    assert (gone.state, gone.uid, gone.sequence) == ("CANCELLED", first.uid, 1)
    assert gone.reason == "The dates have changed."
    assert not gone.is_touched
    assert [u.state for u in gone.updates.all()] == ["CANCELLED"]
    assert not Occurrence.objects.filter(pk=second.pk).exists()
    # One word of it all, at the next date; the other is for the pages.
    assert told == ["scheduled", "changed", "changed"]
    [said] = maintenance.occurrences.get(
        original__startswith="2026-03-29"
    ).updates.all()
    assert said.body == (
        "The dates have changed. Every day at 02:30 Europe/Berlin, for 1 hour, "
        "except on 27 March 2026 and 28 March 2026. "
        "Called off: 2026-03-27 01:30 UTC."
    )


def test_of_many_dates_that_go_a_few_are_named(db):
    maintenance = nightly()
    rows = maintenance.occurrences.order_by("starts_at")[:5]
    for row in rows:
        row.note("Mind this one.", at=NOW)

    maintenance.revise(
        at=NOW,
        rrule="FREQ=WEEKLY;BYDAY=WE",
        starts_at=datetime(2026, 4, 1, 2, 30, tzinfo=BERLIN),
        local_start="",
    )

    assert Occurrence.objects.filter(state="CANCELLED").count() == 5
    [said] = maintenance.occurrences.get(
        original__startswith="2026-04-01"
    ).updates.all()
    assert said.body.endswith(
        "Called off: 2026-03-27 01:30 UTC, 2026-03-28 01:30 UTC, "
        "2026-03-29 01:30 UTC and 2 more."
    )


def test_what_happened_once_and_was_planned_anew_comes_to_recur_from_there(db):
    occurrence = plan_one()
    later = {"starts_at": minutes(4 * 1440), "ends_at": minutes(4 * 1440 + 60)}
    occurrence.maintenance.revise(at=NOW, **later)

    occurrence.maintenance.revise(
        at=NOW, rrule="FREQ=WEEKLY", ends_at=None, duration_minutes=60
    )

    first = occurrence.maintenance.occurrences.order_by("starts_at").first()
    assert (first.pk, first.original) == (occurrence.pk, "2026-03-06T12:00:00")
    assert not Occurrence.objects.filter(state="CANCELLED").exists()


def test_date_that_was_left_out_can_come_back(db):
    maintenance = nightly()
    first = maintenance.occurrences.first()
    maintenance.revise(at=NOW, exdates=["2026-03-27"])

    maintenance.revise(at=NOW, exdates=[])

    back = maintenance.occurrences.open().order_by("starts_at").first()
    assert back.original == first.original
    assert back.uid != first.uid


def test_series_that_comes_to_happen_once_keeps_that_date(db):
    maintenance = nightly()
    second = maintenance.occurrences.order_by("starts_at")[1]

    maintenance.revise(
        at=NOW,
        rrule="",
        duration_minutes=None,
        local_start="",
        starts_at=second.starts_at,
        ends_at=second.ends_at,
    )

    assert maintenance.occurrences.open().get().pk == second.pk
    assert maintenance.occurrences.filter(state="CANCELLED").count() == 1


def test_edit_that_leaves_no_date_is_refused(db):
    maintenance = nightly()
    before = starts(maintenance)

    with pytest.raises(ValidationError, match="over already") as refused:
        maintenance.revise(
            at=NOW,
            starts_at=datetime(2026, 1, 1, 2, 30, tzinfo=BERLIN),
            local_start="",
            rrule="FREQ=DAILY;UNTIL=20260105",
        )

    assert list(refused.value.message_dict) == ["rrule"]
    assert starts(maintenance) == before
    assert Maintenance.objects.get().rrule == "FREQ=DAILY"


def test_series_may_end_with_the_date_under_way(db, told):
    maintenance = nightly()
    first = maintenance.occurrences.first()
    first.start(at=NOW)

    maintenance.revise(at=minutes(5), rrule="FREQ=DAILY;COUNT=1")

    assert maintenance.occurrences.open().get() == first
    assert first.updates.first().body.startswith("The dates have changed.")


@pytest.mark.parametrize(
    ("field", "starts_at", "ends_at"),
    [
        ("ends_at", -600, -60),
        ("starts_at", -600, 60),
        ("ends_at", 60, 60 + 1440 * 367),
    ],
)
def test_edit_that_rewrites_what_was_measured_is_refused(
    shop, field, starts_at, ends_at
):
    occurrence = plan_one(impacts={shop: "DOWN"})

    with pytest.raises(ValidationError) as refused:
        occurrence.maintenance.revise(
            at=NOW, starts_at=minutes(starts_at), ends_at=minutes(ends_at)
        )

    assert list(refused.value.message_dict) == [field]
    occurrence.refresh_from_db()
    assert occurrence.starts_at == minutes(60)
    assert laid() == [("down", minutes(60), minutes(120))]


@pytest.mark.parametrize("days", [7, 20_000])
def test_what_is_under_way_cannot_be_planned_for_another_start(db, days):
    occurrence = plan_one()
    occurrence.start(at=minutes(60), due=minutes(60))
    later = timedelta(days=days)

    with pytest.raises(ValidationError, match="It has begun") as refused:
        occurrence.maintenance.revise(
            at=minutes(70), starts_at=minutes(60) + later, ends_at=minutes(120) + later
        )

    assert list(refused.value.message_dict) == ["starts_at"]
    occurrence.refresh_from_db()
    assert occurrence.ends_at == minutes(120)
    assert Maintenance.objects.get().starts_at == minutes(60)


def test_what_is_under_way_can_end_within_a_year_only(db):
    occurrence = plan_one()
    occurrence.start(at=minutes(5))

    occurrence.maintenance.revise(at=minutes(10), ends_at=minutes(300))
    with pytest.raises(ValidationError, match="within 366 days"):
        occurrence.maintenance.revise(at=minutes(10), ends_at=minutes(366 * 1440 + 30))

    occurrence.refresh_from_db()
    assert occurrence.ends_at == minutes(300)


def test_moving_into_the_past_is_refused(shop):
    occurrence = plan_one(impacts={shop: "DOWN"})

    with pytest.raises(ValidationError, match="has passed") as refused:
        occurrence.move(NOW - timedelta(days=270), minutes(5), at=NOW)

    assert list(refused.value.message_dict) == ["starts_at"]
    assert laid() == [("down", minutes(60), minutes(120))]


def test_moving_to_the_minute_that_goes_on_is_not(db):
    occurrence = plan_one()

    assert occurrence.move(NOW, minutes(5), at=NOW + timedelta(seconds=40))


def test_what_began_days_ago_is_not_planned_any_more(shop):
    with pytest.raises(ValidationError, match="more than a day ago") as refused:
        plan({shop: "DOWN"}, starts_at=minutes(-1500), ends_at=minutes(5))

    assert list(refused.value.message_dict) == ["starts_at"]
    plan({shop: "DOWN"}, starts_at=minutes(-1400), ends_at=minutes(5))
    assert laid() == [("down", minutes(-1400), minutes(5))]


def test_date_begun_early_and_completed_does_not_happen_again(db):
    maintenance = nightly()
    first = maintenance.occurrences.first()
    first.start(at=NOW)
    first.complete(at=minutes(30))

    maintenance.revise(
        at=minutes(40),
        starts_at=datetime(2026, 3, 27, 4, 0, tzinfo=BERLIN),
        local_start="",
    )

    assert starts(maintenance)[:2] == ["03-27 01:30", "03-28 03:00"]


def test_date_completed_today_does_not_happen_again_tonight(db):
    maintenance = plan(
        rrule="FREQ=DAILY", starts_at=minutes(60), duration_minutes=30, reminders=[]
    )
    first = maintenance.occurrences.first()
    first.start(at=minutes(60), due=minutes(60))
    first.complete(at=minutes(90), due=minutes(90))

    maintenance.revise(at=minutes(100), starts_at=minutes(480), local_start="")

    assert starts(maintenance)[:2] == ["03-02 13:00", "03-03 20:00"]


def test_editing_the_words_leaves_a_moved_date_alone(db):
    occurrence = plan_one()
    occurrence.move(minutes(300), minutes(360), at=NOW)

    occurrence.maintenance.revise(at=NOW, title="Another title", description="*So*")

    occurrence.refresh_from_db()
    assert occurrence.starts_at == minutes(300)
    assert occurrence.maintenance.starts_at == minutes(300)
    assert occurrence.maintenance.html == "<p><em>So</em></p>"


def test_editing_what_happens_once_moves_its_date(db, told):
    occurrence = plan_one()

    occurrence.maintenance.revise(at=NOW, starts_at=minutes(300), ends_at=minutes(360))

    occurrence.refresh_from_db()
    assert occurrence.starts_at == minutes(300)
    assert [r.due_at for r in occurrence.reminders.filter(minutes=60)] == [minutes(240)]
    assert told == ["scheduled", "changed", "changed"]


def test_what_happened_once_comes_to_recur(db):
    occurrence = plan_one()

    occurrence.maintenance.revise(
        at=NOW, rrule="FREQ=WEEKLY;COUNT=3", ends_at=None, duration_minutes=30
    )

    assert occurrence.maintenance.occurrences.count() == 3


# Transitions


def test_steps_in_their_order(db, told):
    occurrence = plan_one()

    assert not occurrence.complete(at=minutes(1))
    assert occurrence.start(at=minutes(5))
    assert not occurrence.start(at=minutes(6))
    assert occurrence.verify(at=minutes(10))
    assert occurrence.complete(at=minutes(15))
    assert not occurrence.cancel(at=minutes(16))

    occurrence.refresh_from_db()
    assert occurrence.state == "COMPLETED"
    assert (occurrence.started_at, occurrence.ended_at) == (minutes(5), minutes(15))
    assert occurrence.due_at is None
    assert told == ["scheduled", "started", "changed", "completed"]
    assert [u.state for u in occurrence.updates.all()] == [
        "COMPLETED",
        "VERIFYING",
        "IN_PROGRESS",
    ]


def test_calendar_hears_of_times_and_of_cancelling_only(db):
    occurrence = plan_one()
    counted = []

    for change in (
        lambda: occurrence.note("It is still planned.", at=NOW),
        lambda: occurrence.move(minutes(30), minutes(90), at=NOW),
        lambda: occurrence.extend(minutes(95), at=NOW),
        lambda: occurrence.start(at=minutes(30)),
        lambda: occurrence.cancel(at=minutes(40)),
    ):
        change()
        occurrence.refresh_from_db()
        counted.append(occurrence.sequence)

    assert counted == [0, 1, 2, 2, 3]


def test_extending_wants_a_later_end(db):
    occurrence = plan_one()

    with pytest.raises(ValidationError, match="later end"):
        occurrence.extend(minutes(110), at=NOW)


def test_what_is_verified_goes_on_if_it_is_extended(db):
    occurrence = plan_one()
    occurrence.start(at=minutes(60))
    occurrence.verify(at=minutes(100))

    assert occurrence.extend(minutes(180), at=minutes(110))

    assert occurrence.state == "IN_PROGRESS"
    assert occurrence.due_at == minutes(180)


def test_retiring_cancels_all_and_tells_of_the_next(db, told):
    maintenance = nightly(rrule="FREQ=DAILY;COUNT=4")

    assert maintenance.retire(at=NOW)
    assert not maintenance.retire(at=NOW)

    assert {o.state for o in maintenance.occurrences.all()} == {"CANCELLED"}
    assert told == ["scheduled", "cancelled"]


def test_the_loser_of_a_race_changes_nothing(db, told):
    one = plan_one()
    other = Occurrence.objects.get(pk=one.pk)

    assert one.cancel(at=minutes(5), reason="Too late in the year")
    assert not other.start(at=minutes(6))

    one.refresh_from_db()
    assert (one.state, one.reason) == ("CANCELLED", "Too late in the year")
    assert told == ["scheduled", "cancelled"]


def test_edit_that_comes_after_a_retirement_revives_nothing(db):
    """Who edits has read it before it was taken back, and saves after."""
    maintenance = nightly(rrule="FREQ=WEEKLY")
    Maintenance.objects.get().retire(at=minutes(1))

    with pytest.raises(ValidationError, match="taken back"):
        maintenance.revise(
            at=minutes(2),
            starts_at=maintenance.starts_at + timedelta(days=1),
            local_start="",
        )

    assert not Occurrence.objects.open().exists()


def test_of_two_who_extend_at_once_the_later_end_counts(db):
    """The other one extends it after it was read here, and before it is locked."""
    occurrence = plan_one()
    other = Occurrence.objects.get()
    before_the_lock = [lambda: other.extend(minutes(300), at=minutes(5))]

    def interrupt(execute, sql, *args):
        if before_the_lock and sql.startswith("SAVEPOINT"):
            before_the_lock.pop()()
        return execute(sql, *args)

    with (
        connection.execute_wrapper(interrupt),
        pytest.raises(ValidationError, match="later end"),
    ):
        occurrence.extend(minutes(200), at=minutes(5))

    occurrence.refresh_from_db()
    assert occurrence.ends_at == minutes(300)


# Zones that are gone


def test_zone_that_is_gone_is_read_as_utc_and_said_once(db, caplog):
    maintenance = nightly()
    Maintenance.objects.update(time_zone="Atlantis/Poseidonis")
    maintenance.refresh_from_db()

    words = {maintenance.describe() for _ in range(3)}

    assert words == {"Every day at 02:30 UTC, for 1 hour"}
    assert caplog.text.count("There is no time zone Atlantis/Poseidonis") == 1


def test_what_a_rule_means_is_always_said(db):
    maintenance = nightly()
    maintenance.rrule = "FREQ=HOURLY"

    assert maintenance.describe() == "FREQ=HOURLY"


def test_dates_keep_their_times_until_the_zone_is_mended(db):
    maintenance = nightly()
    before = starts(maintenance)
    Maintenance.objects.update(time_zone="Atlantis/Evaemon")

    Maintenance.objects.get().plan_further(at=NOW + timedelta(days=2))
    assert starts(maintenance) == before
    Maintenance.objects.get().revise(at=NOW, time_zone="Europe/Paris")

    assert starts(maintenance) == before
    assert Occurrence.objects.filter(sequence__gt=0).count() == 0


@pytest.mark.parametrize("name", ["localtime", "Factory"])
def test_what_is_no_place_is_no_zone(db, name):
    with pytest.raises(ValidationError) as refused:
        nightly(time_zone=name)

    assert "time_zone" in refused.value.message_dict
    assert name not in zones.names()
    assert (name, name) not in zone_choices()


# Titles


def test_title_is_one_line(db):
    maintenance = nightly(title=" Upgrade\r\n\nUnsubscribe:\u2028 here ")
    assert maintenance.title == "Upgrade Unsubscribe: here"

    maintenance.revise(at=NOW, title="Other\nwords")

    assert Maintenance.objects.get().title == "Other words"


@pytest.mark.parametrize("odd", ["\x00", "\x1b", "\u202e", "\u2066", "\ud800"])
def test_title_with_what_nobody_sees_is_refused(db, odd):
    with pytest.raises(ValidationError) as refused:
        nightly(title=f"abc{odd}def")

    assert "title" in refused.value.message_dict


def test_description_is_required(db):
    with pytest.raises(ValidationError) as refused:
        nightly(description="")

    assert "description" in refused.value.message_dict


# What a date was


def test_date_that_is_over_stays_what_it_was(shop, make_monitor):
    bank = make_monitor("bank")
    over, ahead = nightly(impacts={shop: "DOWN"}).occurrences.order_by("starts_at")[:2]
    over.start(at=NOW)
    over.complete(at=minutes(30))

    Maintenance.objects.get().revise(
        at=minutes(40), impacts={bank: "PARTIAL"}, title="Other", description="Else"
    )

    over, ahead = (Occurrence.objects.get(pk=one.pk) for one in (over, ahead))
    assert (over.title, over.html) == ("Database upgrade", "<p>Writes pause.</p>")
    assert [(i.monitor, i.level) for i in over.affected] == [(shop, "DOWN")]
    assert (ahead.title, ahead.html) == ("Other", "<p>Else</p>")
    assert [(i.monitor, i.level) for i in ahead.affected] == [(bank, "PARTIAL")]


# Overlays


def test_overlay_is_laid_ahead_with_its_planned_times(shop):
    plan({shop: "MAINTENANCE"})

    assert laid() == [("maintenance", minutes(60), minutes(120))]
    overlay = Overlay.objects.get()
    assert overlay.holds_alerts
    assert overlay.cause == f"maintenance-occurrence:{Occurrence.objects.get().pk}"


def test_overlay_is_not_laid_long_before(shop):
    plan({shop: "MAINTENANCE"}, starts_at=minutes(61), ends_at=minutes(90))

    assert laid() == []


def test_overlays_follow_the_times(shop):
    occurrence = plan_one(impacts={shop: "DOWN"})

    occurrence.move(minutes(30), minutes(90), at=NOW)
    assert laid() == [("down", minutes(30), minutes(90))]
    occurrence.start(at=minutes(5))
    assert laid() == [("down", minutes(5), minutes(90))]
    occurrence.extend(minutes(100), at=minutes(20))
    assert laid() == [("down", minutes(5), minutes(100))]
    occurrence.verify(at=minutes(40))
    assert laid() == [("down", minutes(5), None)]
    occurrence.complete(at=minutes(50))
    assert laid() == [("down", minutes(5), minutes(50))]


def test_cancelled_before_it_began_leaves_nothing(shop):
    occurrence = plan_one(impacts={shop: "MAINTENANCE"})

    occurrence.cancel(at=minutes(5))

    assert laid() == []


def test_cancelled_under_way_ends_there(shop):
    occurrence = plan_one(impacts={shop: "MAINTENANCE"})
    occurrence.start(at=minutes(5))

    occurrence.cancel(at=minutes(15))

    assert laid() == [("maintenance", minutes(5), minutes(15))]


def test_none_lays_nothing(shop):
    occurrence = plan_one(impacts={shop: "NONE"})

    occurrence.start(at=minutes(5))

    assert laid() == []


def test_other_impacts_begin_where_the_former_end(shop, make_monitor):
    bank = make_monitor("bank")
    occurrence = plan_one(impacts={shop: "MAINTENANCE"})
    occurrence.start(at=minutes(5))

    occurrence.maintenance.revise(
        at=minutes(20), impacts={shop: "DEGRADED", bank: "PARTIAL"}
    )
    occurrence.extend(minutes(200), at=minutes(30))

    assert laid() == [
        ("maintenance", minutes(5), minutes(20)),
        ("degraded", minutes(20), minutes(200)),
        ("partial", minutes(20), minutes(200)),
    ]


def test_verifying_holds_for_its_minutes(shop):
    occurrence = plan_one(
        impacts={shop: "MAINTENANCE"}, verify_before_completion=True, verify_minutes=30
    )
    assert laid() == [("maintenance", minutes(60), minutes(150))]

    occurrence.maintenance.revise(at=NOW, verify_minutes=None)

    assert laid() == [("maintenance", minutes(60), None)]
