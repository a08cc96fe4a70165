"""What is planned, its dates, and what a person does with them."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.core.exceptions import ValidationError

from incidents.models import Maintenance, Occurrence
from monitors.models import Overlay

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
