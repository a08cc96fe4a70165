from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.utils import timezone

from monitors import latency, upkeep
from monitors.instants import instant, ms
from monitors.models import CheckResult, FailureEpisode, LatencyBucket, Rebuild
from monitors.models.bucket import DAY
from monitors.models.result import packed, unpacked

NOW = datetime(2026, 3, 20, 12, 30, tzinfo=UTC)
Size = LatencyBucket.Size


@pytest.fixture
def monitor(make_monitor):
    return make_monitor()


@pytest.fixture
def measure(monitor):
    """Store latencies a second apart from a moment on."""

    def measure(at, *latencies, status="up"):
        CheckResult.objects.bulk_create(
            CheckResult(
                monitor=monitor,
                checked_at=at + timedelta(seconds=n),
                status=status,
                latency_ms=ms_,
            )
            for n, ms_ in enumerate(latencies)
        )

    return measure


def settle(at):
    while not upkeep.run(at=at, seconds=5):
        pass


def mark(monitor, what, at):
    Rebuild.objects.create(what=what, monitor=monitor, at=at)


def test_every_hour_that_has_ended_gets_its_bucket_once(monitor, measure):
    for hours in (0, 1, 2, 3):
        measure(NOW.replace(minute=5) - timedelta(hours=hours), 10.0, 30.0)
    monitor.state.__class__.objects.update(checked_at=NOW)
    upkeep.mark_closed(NOW - timedelta(hours=3))

    settle(NOW)
    settle(NOW)

    hours = LatencyBucket.objects.filter(size=Size.HOUR).order_by("at")
    assert [b.at.hour for b in hours] == [8, 9, 10, 11][-len(hours) :]
    assert {b.count for b in hours} == {2}
    assert not Rebuild.objects.exists()


def test_day_is_built_from_its_hours_when_it_has_ended(monitor, measure):
    day = NOW.replace(hour=0, minute=0) - timedelta(days=2)
    for hour in (1, 5, 23):
        measure(day + timedelta(hours=hour), 10.0, 20.0, 60.0)
        mark(monitor, "hour", day + timedelta(hours=hour))

    settle(NOW)

    built = LatencyBucket.objects.get(size=Size.DAY)
    assert (built.at, built.count, built.total) == (day, 9, 270.0)


def test_only_what_was_answered_and_not_down_counts(monitor, measure):
    hour = NOW.replace(hour=3, minute=0)
    measure(hour, 10.0)
    measure(hour + timedelta(minutes=1), 9999.0, status="down")
    measure(hour + timedelta(minutes=2), None)
    mark(monitor, "hour", hour)

    settle(NOW)

    assert LatencyBucket.objects.filter(size=Size.HOUR).get().most == 10.0


def test_bucket_of_an_hour_that_is_empty_now_is_gone(monitor, measure):
    hour = NOW.replace(hour=3, minute=0)
    measure(hour, 10.0)
    mark(monitor, "hour", hour)
    settle(NOW)
    assert LatencyBucket.objects.filter(size=Size.HOUR).exists()

    CheckResult.objects.all().delete()
    mark(monitor, "hour", hour)
    settle(NOW)

    assert not LatencyBucket.objects.exists()


def test_points_are_the_same_from_buckets_and_from_single_results(monitor, measure):
    begin = NOW.replace(hour=0, minute=0)
    for hour in range(12):
        measure(begin + timedelta(hours=hour), *(5.0 + hour + n for n in range(50)))
        mark(monitor, "hour", begin + timedelta(hours=hour))
    end = begin + timedelta(hours=10)
    raw = latency.points(monitor, begin, end, 3599 * 2, at=NOW)
    settle(NOW)

    built = latency.points(monitor, begin, end, 7200, at=NOW)

    assert [p.count for p in built] == [100] * 5
    assert sum(p.count for p in raw) == 500
    first = built[0]
    assert (first.min, first.max) == (5.0, 55.0)
    values = sorted(5.0 + hour + n for hour in (0, 1) for n in range(50))
    for q, found in ((0.5, first.p50), (0.95, first.p95), (0.99, first.p99)):
        assert found == pytest.approx(values[int(q * 99)], rel=0.02)


def test_open_hour_is_told_from_single_results(monitor, measure):
    measure(NOW - timedelta(minutes=10), 10.0, 20.0)

    (point,) = latency.points(monitor, NOW.replace(minute=0), NOW, 3600, at=NOW)

    assert (point.count, point.avg) == (2, 15.0)


@pytest.mark.parametrize(
    ("days", "step", "said"),
    [
        (40, 600, "step of 3600"),
        (500, 3600, "by the day|more than 2000"),
        (29, 60, "more than 2000 points"),
    ],
)
def test_step_that_is_not_to_be_had_is_refused(days, step, said, monitor):
    begin = NOW.replace(minute=0) - timedelta(days=days)
    end = begin + timedelta(days=2) if days != 29 else NOW

    with pytest.raises(latency.StepInvalid, match=said):
        latency.points(monitor, begin, end, step, at=NOW)


def test_days_are_told_for_ever(monitor, measure):
    day = NOW.replace(hour=0, minute=0) - timedelta(days=1000)
    LatencyBucket.objects.create(
        monitor=monitor, size=Size.DAY, at=day, count=1, total=7.0, least=7.0,
        most=7.0, sketch=latency.Sketch([7.0]).to_bytes(),
    )  # fmt: skip

    (point,) = latency.points(monitor, day, day + timedelta(days=3), 86_400, at=NOW)

    assert (point.at, point.p50) == (day, 7.0)


def test_forgetting_takes_what_is_past_its_retention_and_nothing_else(
    monitor, measure, settings
):
    settings.RESULT_RETENTION_DAYS, settings.LATENCY_HOURS_DAYS = 30, 400
    for days in (1, 29, 31, 40):
        measure(NOW - timedelta(days=days), *[1.0] * 700)
        at = NOW - timedelta(days=days)
        FailureEpisode.objects.create(monitor=monitor, began_at=at, last_at=at)
    for days in (399, 401):
        at = instant(ms(NOW) // DAY * DAY) - timedelta(days=days)
        for size in (Size.HOUR, Size.DAY):
            latency._write([monitor.pk], size, ms(at), {monitor.pk: bucket(5.0)})

    assert upkeep.forget(at=NOW, seconds=30)

    assert CheckResult.objects.count() == 1400
    assert FailureEpisode.objects.count() == 2
    assert LatencyBucket.objects.filter(size=Size.HOUR).count() == 1
    assert LatencyBucket.objects.filter(size=Size.DAY).count() == 2
    assert monitor.periods.exists()


def bucket(*latencies):
    found = latency.Bucket()
    for one in latencies:
        found.add(one)
    return found


def test_forgetting_stops_when_its_time_is_over_and_goes_on_later(monitor, measure):
    measure(NOW - timedelta(days=50), *[1.0] * 2500)

    assert not upkeep.forget(at=NOW, seconds=0)
    assert CheckResult.objects.count() == 2500
    assert upkeep.forget(at=NOW, seconds=30)
    assert not CheckResult.objects.exists()


def test_command_says_what_is_stored(monitor, measure):
    measure(timezone.now(), 1.0, 2.0)
    out = StringIO()

    call_command("history", stdout=out)

    said = out.getvalue()
    assert "single results" in said
    assert "30 days" in said
    assert "The whole database takes" in said


def test_phases_are_kept_to_the_tenth_of_a_millisecond():
    phases = {"dns": 0.04, "connect": 12.34, "tls": 250.0, "first_byte": 900.5}
    latency_ms = sum(phases.values()) + 3.2

    found = unpacked(packed({**phases, "transfer": 3.2}), latency_ms)

    assert found == {
        "connect": 12.3,
        "tls": 250.0,
        "first_byte": 900.5,
        "transfer": pytest.approx(3.2, abs=0.11),
    }
    assert unpacked(packed({}), 5.0) == {}
    assert len(packed(phases)) <= 8
