"""What the clock does with maintenances: each step once, however late it comes."""

from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alerting import evaluation
from alerting.models import Alert
from incidents import clock
from incidents.models import (
    Incident,
    Maintenance,
    MaintenanceSettings,
    Occurrence,
    OccurrenceUpdate,
    Reminder,
)
from monitors.models import CheckResult, MonitorState, Overlay

from .planned import NOW, hear, minutes, plan, plan_one


@pytest.fixture
def told():
    names, stop = hear()
    yield names
    stop()


@pytest.fixture
def shop(make_monitor):
    return make_monitor("shop")


def seen(occurrence):
    occurrence.refresh_from_db()
    return occurrence.state, occurrence.started_at, occurrence.ended_at


# Beginning and ending


def test_it_begins_and_ends_at_its_moments_once(db, told):
    occurrence = plan_one(reminders=[])

    states = []
    for minute in (59, 60, 61, 119, 120, 121):
        clock.run_due(minutes(minute))
        occurrence.refresh_from_db()
        states.append(occurrence.state)

    assert states == [
        *("SCHEDULED", "IN_PROGRESS", "IN_PROGRESS"),
        *("IN_PROGRESS", "COMPLETED", "COMPLETED"),
    ]
    assert seen(occurrence) == ("COMPLETED", minutes(60), minutes(120))
    assert told == ["scheduled", "started", "completed"]
    assert occurrence.sequence == 0


def test_worker_stopped_across_start_and_end_catches_up_in_order(shop, told):
    """Kener leaves what it missed as a whole scheduled for ever."""
    occurrence = plan_one(
        impacts={shop: "MAINTENANCE"}, starts_at=minutes(120), ends_at=minutes(150)
    )

    clock.run_due(minutes(6000))

    assert seen(occurrence) == ("COMPLETED", minutes(120), minutes(150))
    assert told == ["scheduled", "started", "completed"]
    [overlay] = Overlay.objects.all()
    assert (overlay.started_at, overlay.ended_at) == (minutes(120), minutes(150))
    assert not Reminder.objects.filter(settled_at=None).exists()


def test_half_past_two_in_the_gap_begins_at_half_past_three(db, told):
    berlin = ZoneInfo("Europe/Berlin")
    maintenance = plan(
        rrule="FREQ=DAILY;COUNT=3",
        starts_at=datetime(2026, 3, 28, 2, 30, tzinfo=berlin),
        time_zone="Europe/Berlin",
        duration_minutes=60,
        reminders=[],
    )
    _, gap, _ = maintenance.occurrences.order_by("starts_at")

    clock.run_due(datetime(2026, 3, 29, 3, 29, 59, tzinfo=berlin))
    assert seen(gap)[0] == "SCHEDULED"
    clock.run_due(datetime(2026, 3, 29, 3, 30, tzinfo=berlin))
    assert seen(gap)[0] == "IN_PROGRESS"


def test_verifying_waits_for_a_person(db):
    occurrence = plan_one(verify_before_completion=True)

    clock.run_due(minutes(6000))

    assert seen(occurrence) == ("VERIFYING", minutes(60), None)


def test_verifying_ends_after_its_minutes(db, told):
    occurrence = plan_one(verify_before_completion=True, verify_minutes=30)

    clock.run_due(minutes(149))
    assert seen(occurrence)[0] == "VERIFYING"
    clock.run_due(minutes(150))

    assert seen(occurrence) == ("COMPLETED", minutes(60), minutes(150))
    assert told == ["scheduled", "started", "changed", "completed"]


def test_what_was_extended_in_time_does_not_end(db):
    occurrence = plan_one()
    clock.run_due(minutes(60))

    occurrence.extend(minutes(180), at=minutes(119))
    clock.run_due(minutes(120))

    assert seen(occurrence)[0] == "IN_PROGRESS"


def test_one_that_fails_stops_no_other(db, monkeypatch, caplog):
    first, second = plan_one(), plan_one()
    step = Occurrence.step

    def fail(self):
        return 1 / 0 if self.pk == first.pk else step(self)

    monkeypatch.setattr(Occurrence, "step", fail)
    clock.run_due(minutes(60))

    assert seen(second)[0] == "IN_PROGRESS"
    assert "could not be kept" in caplog.text


def test_what_was_missed_happens_in_its_order_across_maintenances(db):
    plan_one(title="Long", starts_at=minutes(60), ends_at=minutes(300))
    plan_one(title="Short", starts_at=minutes(120), ends_at=minutes(180))

    clock.run_due(minutes(6000))

    steps = OccurrenceUpdate.objects.order_by("pk")
    assert [(u.occurrence.title, u.state) for u in steps] == [
        ("Long", "IN_PROGRESS"),
        ("Short", "IN_PROGRESS"),
        ("Short", "COMPLETED"),
        ("Long", "COMPLETED"),
    ]


def test_order_holds_where_more_is_due_than_is_read_at_once(db, monkeypatch):
    monkeypatch.setattr(clock, "MOST_AT_ONCE", 2)
    for n in range(5):
        plan_one(starts_at=minutes(60 + n), ends_at=minutes(600 - n))

    clock.run_due(minutes(6000))

    moments = [update.at for update in OccurrenceUpdate.objects.order_by("pk")]
    assert moments == sorted(moments)
    assert len(moments) == 10


def test_many_that_were_missed_cost_as_much_each(db):
    def questions(count):
        Maintenance.objects.all().delete()
        for n in range(count):
            plan_one(starts_at=minutes(60 + n), ends_at=minutes(600), reminders=[])
        with CaptureQueriesContext(connection) as asked:
            clock.run_due(minutes(6000))
        return len(asked)

    one, three, nine = questions(1), questions(3), questions(9)

    assert nine - three == 3 * (three - one)


def test_window_under_way_after_a_long_silence_has_its_row(db, shop):
    maintenance = plan(
        {shop: "MAINTENANCE"},
        rrule="FREQ=DAILY",
        starts_at=minutes(60),
        duration_minutes=600,
        reminders=[],
    )
    back = minutes(120 * 1440 + 120)

    clock.run_due(back)

    now = maintenance.occurrences.under_way().get()
    assert now.started_at == minutes(120 * 1440 + 60)
    assert Overlay.objects.filter(cause=now.cause, ended_at__gt=back).exists()


def test_planning_further_adds_nothing_that_an_edit_let_be(db):
    """By the new times it would be under way; it begins with its next date."""
    maintenance = plan(
        rrule="FREQ=WEEKLY", starts_at=minutes(60), duration_minutes=4000, reminders=[]
    )
    maintenance.revise(
        at=NOW, starts_at=minutes(-60), local_start="", duration_minutes=4000
    )

    clock.run_due(minutes(1440))

    assert not maintenance.occurrences.under_way().exists()
    assert maintenance.occurrences.open().first().starts_at == minutes(-60 + 7 * 1440)


def test_zone_that_is_gone_stops_no_other(db, caplog):
    broken, other = (
        plan(
            rrule="FREQ=DAILY", starts_at=minutes(60), duration_minutes=30, reminders=[]
        )
        for _ in range(2)
    )
    Maintenance.objects.filter(pk=broken.pk).update(time_zone="Atlantis/Ampheres")

    for day in range(1, 4):
        clock.run_due(minutes(1440 * day + 100))

    done = Occurrence.objects.filter(state="COMPLETED")
    assert done.filter(maintenance=broken).count() == 4
    assert done.filter(maintenance=other).count() == 4
    assert "could not be kept" not in caplog.text
    assert caplog.text.count("Atlantis/Ampheres") == 1


# Races


def test_two_sweeps_at_once_begin_and_end_it_once(
    transactional_db, shop, told, at_once
):
    occurrence = plan_one(impacts={shop: "MAINTENANCE"}, reminders=[])
    Overlay.objects.all().delete()
    Occurrence.objects.update(is_laid=False)

    at_once(*[lambda: clock.run_due(minutes(60))] * 3)
    at_once(*[lambda: clock.run_due(minutes(120))] * 3)

    assert seen(occurrence) == ("COMPLETED", minutes(60), minutes(120))
    assert told == ["scheduled", "started", "completed"]
    assert Overlay.objects.count() == 1
    assert occurrence.updates.count() == 2


def test_two_beats_at_once_remind_once(transactional_db, told, at_once):
    plan_one(starts_at=minutes(120), ends_at=minutes(180))

    at_once(*[lambda: clock.run_due(minutes(60))] * 3)

    assert told == ["scheduled", "reminded"]


def test_a_person_who_cancels_and_the_clock_that_begins(
    transactional_db, shop, told, at_once
):
    occurrence = plan_one(impacts={shop: "MAINTENANCE"}, reminders=[])

    at_once(
        lambda: clock.run_due(minutes(60)),
        lambda: Occurrence.objects.get().cancel(at=minutes(60)),
        lambda: clock.run_due(minutes(60)),
    )

    assert seen(occurrence)[0] == "CANCELLED"
    assert told in (
        ["scheduled", "cancelled"],
        ["scheduled", "started", "cancelled"],
    )
    assert not Overlay.objects.filter(ended_at__gt=minutes(60)).exists()


def test_two_who_extend_at_once_shorten_nothing(transactional_db, at_once):
    plan_one()

    def extend(end):
        with suppress(ValidationError):
            Occurrence.objects.get().extend(minutes(end), at=minutes(5))

    at_once(*[partial(extend, end) for end in (300, 200, 250)])

    assert Occurrence.objects.get().ends_at == minutes(300)


def test_an_edit_and_a_retirement_leave_nothing_open(transactional_db, at_once):
    maintenance = plan(
        rrule="FREQ=WEEKLY;COUNT=3", starts_at=minutes(60), duration_minutes=30
    )

    def edit():
        with suppress(ValidationError):
            Maintenance.objects.get().revise(
                at=minutes(1), starts_at=minutes(1500), local_start=""
            )

    at_once(edit, lambda: maintenance.retire(at=minutes(1)))

    assert not Occurrence.objects.open().exists()


def test_a_person_who_extends_and_the_clock_that_completes(
    transactional_db, shop, told, at_once
):
    occurrence = plan_one(impacts={shop: "MAINTENANCE"}, reminders=[])
    clock.run_due(minutes(60))

    at_once(
        lambda: clock.run_due(minutes(120)),
        lambda: Occurrence.objects.get().extend(minutes(180), at=minutes(119)),
    )

    state, _, ended = seen(occurrence)
    [overlay] = Overlay.objects.all()
    assert (state, ended, overlay.ended_at) in (
        ("COMPLETED", minutes(120), minutes(120)),
        ("IN_PROGRESS", None, minutes(180)),
    )


def test_two_clocks_plan_further_once(transactional_db, at_once):
    maintenance = plan(
        rrule="FREQ=DAILY", starts_at=minutes(60), duration_minutes=30, reminders=[]
    )
    before = maintenance.occurrences.count()

    at_once(*[lambda: clock.run_due(minutes(60 * 24))] * 3)

    assert maintenance.occurrences.count() == before + 1


# Reminders


def test_each_reminder_is_sent_once(db, told):
    plan_one(starts_at=minutes(2000), ends_at=minutes(2060))

    for minute in (559, 560, 561, 1939, 1940, 1941):
        clock.run_due(minutes(minute))

    assert told == ["scheduled", "reminded", "reminded"]


def test_of_several_that_were_missed_the_last_is_sent(db, told):
    plan_one(starts_at=minutes(2000), ends_at=minutes(2060))

    clock.run_due(minutes(1950))

    assert told == ["scheduled", "reminded"]


def test_reminder_that_is_over_when_it_is_planned_is_not_sent(db, told):
    plan_one(starts_at=minutes(600), ends_at=minutes(660))

    clock.run_due(minutes(5))

    assert told == ["scheduled"]


def test_moving_moves_reminders(db, told):
    occurrence = plan_one(starts_at=minutes(2000), ends_at=minutes(2060))
    clock.run_due(minutes(560))

    occurrence.move(minutes(4000), minutes(4060), at=minutes(600))
    clock.run_due(minutes(1940))
    assert told == ["scheduled", "reminded", "changed"]
    clock.run_due(minutes(2560))
    clock.run_due(minutes(3940))

    assert told[3:] == ["reminded", "reminded"]


@pytest.mark.parametrize("where", ["maintenance", "settings", "list"])
def test_nobody_is_reminded_where_that_is_switched_off(db, told, where):
    if where == "settings":
        MaintenanceSettings(sends_reminders=False).save()
    plan_one(
        starts_at=minutes(2000),
        ends_at=minutes(2060),
        sends_reminders=where != "maintenance",
        reminders=[] if where == "list" else [1440, 60],
    )

    clock.run_due(minutes(1950))

    assert told == ["scheduled"]


def test_what_was_cancelled_or_begun_is_not_reminded_of(db, told):
    off, begun = (
        plan_one(starts_at=minutes(2000), ends_at=minutes(2060)) for _ in range(2)
    )
    off.cancel(at=minutes(5))
    begun.start(at=minutes(6))
    told.clear()

    clock.run_due(minutes(1950))

    assert told == []


# Any order of ticks


@given(ticks=st.lists(st.integers(0, 400), max_size=8))
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_order_of_ticks_gives_the_same_end(db, make_monitor, ticks):
    Maintenance.objects.all().delete()
    Overlay.objects.all().delete()
    monitor = make_monitor(f"m{timezone.now().timestamp()}".replace(".", ""))
    once = plan_one(impacts={monitor: "DOWN"})
    checked = plan_one(verify_before_completion=True, verify_minutes=20)

    for tick in [*ticks, 400]:
        clock.run_due(minutes(tick))

    assert seen(once) == ("COMPLETED", minutes(60), minutes(120))
    assert seen(checked) == ("COMPLETED", minutes(60), minutes(140))
    assert [u.state for u in checked.updates.order_by("at", "pk")] == [
        *("IN_PROGRESS", "VERIFYING", "COMPLETED"),
    ]
    [overlay] = Overlay.objects.all()
    assert (overlay.started_at, overlay.ended_at) == (minutes(60), minutes(120))


# What alerts do meanwhile

BEGIN = (timezone.now() + timedelta(hours=2)).replace(microsecond=0)


def checked(monitor, *checks):
    """Record checks, each (minute after BEGIN, status), and evaluate them."""
    position = MonitorState.objects.get(pk=monitor.pk).last_result
    for minute, status in checks:
        position += 1
        CheckResult.objects.create(
            monitor=monitor,
            checked_at=BEGIN + timedelta(minutes=minute),
            status=status,
            position=position,
        )
    MonitorState.objects.filter(pk=monitor.pk).update(last_result=position)
    evaluation.evaluate_monitors([monitor.pk])


@pytest.fixture
def window(shop, make_rule):
    """A window of an hour from BEGIN, over a monitor whose rule wants three checks."""
    make_rule(shop, failure_threshold=3, success_threshold=2)
    return plan_one(
        at=BEGIN - timedelta(minutes=30),
        impacts={shop: "MAINTENANCE"},
        starts_at=BEGIN,
        ends_at=BEGIN + timedelta(hours=1),
    )


def test_failing_inside_alerts_nobody_even_before_the_clock_has_ticked(window, shop):
    checked(shop, (0, "down"), (1, "down"), (2, "down"), (3, "down"))

    clock.run_due(BEGIN + timedelta(minutes=4))
    checked(shop, (5, "down"), (6, "down"))

    assert not Alert.objects.exists()


def test_outage_that_is_still_there_at_the_end_alerts_from_zero(window, shop):
    clock.run_due(BEGIN)
    checked(shop, (10, "down"), (20, "down"), (59, "down"))
    clock.run_due(BEGIN + timedelta(hours=1))

    checked(shop, (60, "down"), (61, "down"))
    assert not Alert.objects.exists()
    checked(shop, (62, "down"))

    assert Alert.objects.get().began_at == BEGIN + timedelta(minutes=60)


def test_outage_from_before_goes_on_with_its_incident(window, shop):
    checked(shop, (-5, "down"), (-4, "down"), (-3, "down"))
    clock.run_due(BEGIN)
    checked(shop, (5, "down"), (15, "down"))

    assert Alert.objects.get().state == "TRIGGERED"
    assert Incident.objects.get().is_open

    checked(shop, (20, "up"), (21, "up"))
    assert Alert.objects.get().state == "RESOLVED"
    assert not Incident.objects.get().is_open


def test_completed_by_hand_counts_from_there(window, shop):
    clock.run_due(BEGIN)
    window.complete(at=BEGIN + timedelta(minutes=10))

    checked(shop, (9, "down"), (10, "down"), (11, "down"), (12, "down"))

    assert Alert.objects.get().began_at == BEGIN + timedelta(minutes=10)


def test_named_only_holds_nothing(window, shop):
    window.maintenance.revise(at=BEGIN - timedelta(minutes=20), impacts={shop: "NONE"})

    checked(shop, (1, "down"), (2, "down"), (3, "down"))

    assert Alert.objects.count() == 1


def test_tick_asks_the_same_number_of_questions_if_nothing_is_due(
    db, django_assert_num_queries
):
    for _ in range(3):
        plan_one(starts_at=NOW + timedelta(days=5), ends_at=NOW + timedelta(days=6))

    with django_assert_num_queries(4):
        clock.run_due(NOW)
