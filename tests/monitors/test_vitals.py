import math
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from monitors import gauges, vitals
from monitors.instants import whole
from monitors.metering import Meter, forget
from monitors.models import EngineMinute, MonitorState
from monitors.sketches import Sketch

MINUTE = timedelta(minutes=1)


@pytest.fixture
def noon(time_machine):
    """A moment at which all minutes before it are written down."""
    time_machine.move_to("2026-11-21T12:00:20Z", tick=False)
    return timezone.now().replace(second=0)


@pytest.fixture
def worked(db):
    """Write down what a worker did in one minute."""

    def worked(at, checks=60, lateness=(1.0,), flushes=(), worker="a:1"):
        return EngineMinute.objects.create(
            worker=worker,
            at=at,
            checks=checks,
            lateness=Sketch(lateness).to_bytes(),
            flushes=Sketch(flushes).to_bytes(),
        )

    return worked


def test_gauges_merge_all_workers_over_the_last_whole_minutes(noon, worked):
    worked(noon - MINUTE, lateness=[10.0] * 90)
    worked(noon - 5 * MINUTE, lateness=[500.0] * 10, flushes=[40.0], worker="b:2")

    found = gauges.read()

    assert found["lateness_p50_ms"] == pytest.approx(10, rel=0.02)
    assert found["lateness_p95_ms"] == pytest.approx(500, rel=0.02)
    assert found["flush_p95_ms"] == pytest.approx(40, rel=0.02)
    assert found["checks"] == 120
    assert found["checks_per_second"] == pytest.approx(120 / 300)


def test_minutes_that_still_run_or_are_too_old_do_not_count(noon, worked):
    worked(noon)
    worked(noon - 6 * MINUTE)

    assert gauges.read("checks") == {"checks": 0}


@pytest.mark.parametrize(("second", "end"), [(11, 11 * 60 + 59), (12, 12 * 60)])
def test_minute_is_whole_once_every_worker_has_written_it(noon, second, end):
    until = vitals.whole_until(noon + timedelta(seconds=second))

    assert until == noon.replace(hour=end // 60, minute=end % 60)


@pytest.mark.django_db
def test_without_checks_nothing_is_measured_and_nothing_waits():
    found = gauges.read()

    assert [n for n, value in found.items() if math.isnan(value)] == [
        "lateness_p50_ms",
        "lateness_p95_ms",
        "flush_p50_ms",
        "flush_p95_ms",
    ]
    assert not any(value for value in found.values() if not math.isnan(value))


@pytest.mark.django_db
def test_what_a_meter_writes_is_what_the_gauges_read(noon, time_machine):
    meter = Meter()
    for late in range(100):
        meter.started(late)
    meter.flushed(0.25)
    meter.write()

    time_machine.move_to(noon + 2 * MINUTE, tick=False)

    found = gauges.read("checks", "lateness_p50_ms", "flush_p95_ms")
    assert found["checks"] == 100
    assert found["lateness_p50_ms"] == pytest.approx(49, rel=0.03)
    assert found["flush_p95_ms"] == pytest.approx(250, rel=0.02)


def test_oldest_due_monitor_is_one_that_nobody_has_taken(make_monitor):
    at = whole(timezone.now())
    for tag, late, lease in (
        ("late", 40, None),
        ("later", 10, None),
        ("lost", 50, -1),
        ("taken", 90, 20),
        ("early", -20, None),
    ):
        MonitorState.objects.filter(pk=make_monitor(tag).pk).update(
            due_at=at - timedelta(seconds=late),
            lease_until=lease and at + timedelta(seconds=lease),
        )

    assert vitals.oldest_due(at) == 50.0


def test_gauges_take_as_many_queries_for_one_as_for_thirty(make_monitor, worked):
    def queries():
        with CaptureQueriesContext(connection) as captured:
            gauges.read()
        return len(captured)

    end = vitals.whole_until(timezone.now())
    make_monitor("first")
    worked(end - MINUTE)
    few = queries()
    for n in range(29):
        make_monitor(f"m{n}")
        worked(end - MINUTE, worker=f"w:{n}")

    assert queries() == few == 4


def test_old_minutes_are_forgotten(worked):
    now = whole(timezone.now())
    for days in (0, 6, 8, 400):
        worked(now - timedelta(days=days))

    assert forget(now) == 2
    assert forget(now) == 0
    assert min(EngineMinute.objects.values_list("at", flat=True)) == now - timedelta(6)


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0"), (0.4231, "0.42"), (7.31, "7.31"), (42.81, "42.8"), (1234.5, "1,234")],
)
def test_numbers_are_said_in_a_few_figures(value, said):
    assert gauges.said(value) == said
