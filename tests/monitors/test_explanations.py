"""Percentages that explain themselves, and corrections of what they rest on."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitors import history
from monitors.instants import ms
from monitors.models import Correction, Monitor, Overlay, StatusPeriod, Turn
from statuspages.models import Snapshot, StatusPage

START = datetime(2026, 3, 1, tzinfo=UTC)
NOW = START + timedelta(days=10)


def hours(n):
    return START + timedelta(hours=n)


@pytest.fixture
def monitor(make_monitor):
    """Up for a day, down for six hours, degraded for another six, up since."""
    monitor = make_monitor()
    StatusPeriod.objects.all().delete()
    for n, status in ((0, "up"), (24, "down"), (30, "degraded"), (36, "up")):
        StatusPeriod.change(monitor.pk, status, at=hours(n), cause=f"at {n}")
    return monitor


def correct(monitor, begin, end, status, **more):
    more.setdefault("author", "ana")
    more.setdefault("reason", "The probe was wrong")
    return Correction.objects.create(
        monitor=monitor, started_at=hours(begin), ended_at=hours(end), status=status,
        **more,
    )  # fmt: skip


def test_percentage_comes_with_all_that_it_was_computed_from(monitor):
    found = history.explain(monitor, hours(0), hours(48), at=NOW)

    assert found.uptime == 87.5
    assert found.seconds == {
        "up": 36 * 3600.0,
        "degraded": 6 * 3600.0,
        "partial": 0.0,
        "down": 6 * 3600.0,
        "maintenance": 0.0,
        "no_data": 0.0,
    }
    assert [(s.counted, s.begin, s.end, s.cause) for s in found.segments] == [
        ("up", hours(0), hours(24), "at 0"),
        ("down", hours(24), hours(30), "at 24"),
        ("degraded", hours(30), hours(36), "at 30"),
        ("up", hours(36), hours(48), "at 36"),
    ]
    assert found.formula == (
        "(up + degraded + partial) / (up + degraded + partial + down) = "
        "151200 s / 172800 s; maintenance and no_data are left out"
    )


@pytest.mark.parametrize(
    ("counts", "expected"), [("up", 87.5), ("half", 81.25), ("down", 75.0)]
)
def test_degraded_counts_as_the_monitor_says(counts, expected, monitor):
    Monitor.objects.update(degraded_counts=counts)
    monitor.refresh_from_db()

    found = history.explain(monitor, hours(0), hours(48), at=NOW)

    assert found.uptime == expected


def test_time_that_has_not_been_is_left_out(monitor):
    found = history.explain(monitor, hours(0), hours(9999), at=hours(48))

    assert found.segments[-1].end == hours(48)
    assert sum(found.seconds.values()) == 48 * 3600


def test_correction_lies_over_all_and_says_who_and_why(monitor):
    Overlay.objects.create(
        monitor=monitor, kind="incident", status="down", started_at=hours(24),
        ended_at=hours(36), cause="incident:7",
    )  # fmt: skip
    correct(monitor, 24, 30, "up")

    found = history.explain(monitor, hours(0), hours(48), at=NOW)

    (fixed,) = (s for s in found.segments if s.is_corrected)
    assert (fixed.counted, fixed.begin, fixed.end) == ("up", hours(24), hours(30))
    assert fixed.cause == "Corrected by ana: The probe was wrong"
    assert found.seconds["down"] == 6 * 3600


def test_excluded_time_does_not_count(monitor):
    correct(monitor, 24, 36, Correction.Verdict.EXCLUDED)

    found = history.explain(monitor, hours(0), hours(48), at=NOW)

    assert (found.uptime, found.seconds["no_data"]) == (100.0, 12 * 3600)


def test_newest_correction_wins_and_undoing_brings_back_what_was(monitor):
    correct(monitor, 24, 30, "up", created_at=hours(60))
    newer = correct(monitor, 26, 30, "maintenance", created_at=hours(61))

    def down_and_maintenance():
        found = history.explain(monitor, hours(0), hours(48), at=NOW)
        return found.seconds["down"], found.seconds["maintenance"]

    assert down_and_maintenance() == (0, 4 * 3600)
    assert newer.undo(by="ben", at=timezone.now())
    assert not newer.undo(by="ben", at=timezone.now())
    assert down_and_maintenance() == (0, 0)
    Correction.objects.get(undone_at=None).undo(by="ben", at=timezone.now())
    assert down_and_maintenance() == (6 * 3600, 0)


def test_correction_of_what_is_not_over_is_refused(monitor):
    now = timezone.now()
    correction = Correction(
        monitor=monitor, started_at=now, ended_at=now + timedelta(hours=1),
        status="up", reason="x", author="ana",
    )  # fmt: skip
    with pytest.raises(ValidationError, match="Only what is over"):
        correction.full_clean()

    correction.ended_at = now - timedelta(hours=1)
    with pytest.raises(ValidationError, match="after the beginning"):
        correction.full_clean()


def test_correcting_has_the_pages_built_anew(monitor):
    Snapshot.objects.create(page=StatusPage.default(), built_at=timezone.now())

    correction = correct(monitor, 24, 30, "up")
    assert Snapshot.objects.exclude(dirty_at=None).exists()
    Snapshot.objects.update(dirty_at=None)
    correction.undo(by="ana", at=timezone.now())

    assert Snapshot.objects.exclude(dirty_at=None).exists()


def test_corrected_day_is_marked(monitor):
    correct(monitor, 24, 30, "up")

    found = history.of_monitors([monitor.pk], at=NOW, zone=UTC)[monitor.pk]

    marked = [day.date for day in found.days if day.is_corrected]
    assert marked == [hours(24).date()]


statuses = st.sampled_from(["up", "degraded", "partial", "down", "no_data"])
turns = st.lists(st.tuples(st.integers(0, 9 * 24 * 60), statuses), max_size=30)
zones = st.sampled_from(["UTC", "Asia/Kathmandu", "Europe/Berlin", "America/St_Johns"])


@pytest.mark.django_db
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(turns, zones, st.sampled_from(["up", "half", "down"]))
def test_sums_say_the_same_as_going_through_every_period(
    make_monitor, monkeypatch, turns, zone, counts
):
    Monitor.objects.all().update(retired_at=NOW)
    monitor = make_monitor(degraded_counts=counts)
    StatusPeriod.objects.filter(monitor=monitor).delete()
    StatusPeriod.turn(
        [
            Turn(monitor.pk, ms(START + timedelta(minutes=n)), status, "")
            for n, status in sorted(turns)
        ]
    )

    told = {}
    for most in (10_000, -1):
        with monkeypatch.context() as patched:
            patched.setattr(history, "MOST_PERIODS", most)
            (found,) = history.of_monitors(
                [monitor.pk], at=NOW, zone=ZoneInfo(zone), days=12
            ).values()
        days = [
            (d.date, {s: round(n, 3) for s, n in d.seconds.items() if n}, d.worst)
            for d in found.days
        ]
        told[most] = (days, found.uptime, found.now.shown)

    assert told[-1] == told[10_000]


@pytest.mark.django_db
@pytest.mark.parametrize("most", [10_000, -1])
def test_history_takes_five_queries_at_most_for_any_number(
    most, make_monitor, monkeypatch
):
    monkeypatch.setattr(history, "MOST_PERIODS", most)
    monitors = [make_monitor(f"m{n}") for n in range(30)]
    correct(monitors[0], 0, 1, "up")

    def count(some):
        ids = [m.pk for m in some]
        with CaptureQueriesContext(connection) as captured:
            history.of_monitors(ids, at=timezone.now(), zone=UTC)
        return len(captured)

    assert count(monitors[:2]) == count(monitors) <= 5


# Over the API


def test_api_explains_an_uptime(api, monitor):
    answer = api.get(
        "/api/v1/monitors/shop/uptime/",
        {"from": hours(0).isoformat(), "to": hours(48).isoformat()},
    )

    assert answer.status_code == 200
    told = answer.json()
    assert set(told) == {"uptime", "seconds", "formula", "intervals"}
    assert told["uptime"] == 87.5
    assert told["seconds"]["down"] == 6 * 3600
    assert told["intervals"][1] == {
        "from": "2026-03-02T00:00:00Z",
        "to": "2026-03-02T06:00:00Z",
        "status": "down",
        "cause": "at 24",
        "corrected": False,
    }


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"from": "yesterday"}, "from"),
        ({"from": "2026-03-02T00:00:00Z", "to": "2026-03-01T00:00:00Z"}, "from"),
        ({"from": "1990-03-02T00:00:00Z"}, "from"),
        ({"since": "2026-03-02T00:00:00Z"}, "since"),
    ],
)
def test_time_that_makes_no_sense_is_refused(query, field, api, make_monitor):
    make_monitor()
    for path in ("uptime", "latency"):
        answer = api.get(f"/api/v1/monitors/shop/{path}/", query)

        assert answer.status_code == 400
        assert field in answer.json()["errors"]


def test_api_tells_latencies_step_by_step(api, monitor):
    at = timezone.now() - timedelta(minutes=30)
    rows = [
        {
            "monitor": "shop",
            "checked_at": (at + timedelta(seconds=n)).isoformat(),
            "status": "up",
            "latency_ms": 10.0 + n,
        }
        for n in range(10)
    ]
    api.post("/api/v1/results/", {"results": rows})

    answer = api.get(
        "/api/v1/monitors/shop/latency/",
        {"from": (at - timedelta(seconds=1)).isoformat(), "step": "600"},
    )

    (point,) = answer.json()["points"]
    assert set(point) == {"at", "count", "avg", "min", "max", "p50", "p95", "p99"}
    assert (point["count"], point["min"], point["max"]) == (10, 10.0, 19.0)
    assert point["p50"] == pytest.approx(14.0, rel=0.02)


def test_step_that_is_too_fine_is_refused_saying_what_is_to_be_had(api, monitor):
    answer = api.get("/api/v1/monitors/shop/latency/", {"step": "1"})

    assert answer.status_code == 400
    assert "more than 2000 points" in answer.json()["detail"]


CORRECTION = {
    "monitor": "shop",
    "started_at": "2026-03-02T00:00:00Z",
    "ended_at": "2026-03-02T06:00:00Z",
    "status": "up",
    "reason": "The probe was wrong",
}


def test_api_corrects_and_undoes(api, monitor):
    span = {"from": hours(0).isoformat(), "to": hours(48).isoformat()}
    made = api.post("/api/v1/corrections/", CORRECTION)
    assert made.status_code == 201
    assert made.json()["author"] == "key tests"
    told = api.get("/api/v1/monitors/shop/uptime/", span).json()
    assert told["uptime"] == 100
    assert told["intervals"][1]["corrected"] is True

    for _ in range(2):
        undone = api.post(f"/api/v1/corrections/{made.json()['id']}/undo/").json()
    assert undone["undone_by"] == "key tests"
    told = api.get("/api/v1/monitors/shop/uptime/", span).json()
    assert told["uptime"] == 87.5
    listed = api.get("/api/v1/corrections/", {"is_undone": "false"}).json()
    assert listed["results"] == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"monitor": "nobody"}, "monitor"),
        ({"ended_at": "2026-03-01T00:00:00Z"}, "ended_at"),
        ({"ended_at": "2090-03-01T00:00:00Z"}, "ended_at"),
        ({"status": "partial"}, "status"),
        ({"reason": ""}, "reason"),
        ({"author": "somebody else"}, "author"),
    ],
)
def test_correction_that_cannot_be_is_refused(change, field, api, monitor):
    answer = api.post("/api/v1/corrections/", {**CORRECTION, **change})

    assert answer.status_code == 400
    assert field in answer.json()["errors"]


def test_list_of_corrections_takes_the_same_queries_for_any_number(api, monitor):
    def count():
        with CaptureQueriesContext(connection) as captured:
            api.get("/api/v1/corrections/")
        return len(captured)

    correct(monitor, 1, 2, "up")
    count()  # the key's use is noted once a minute
    one = count()
    for n in range(30):
        correct(monitor, n, n + 1, "up")

    assert count() == one
