import threading
import time
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from monitors import engine as engines
from monitors import tasks
from monitors.checkers import Outcome
from monitors.instants import ms, whole
from monitors.models import CheckResult, Monitor, MonitorState, Pulse, StatusPeriod
from monitors.recording import Observation, expire, record
from tests.servers import WebServer


@pytest.fixture
def engine():
    running = engines.Engine()
    yield running
    running.stop()


def claim_all(limit=1000):
    now = timezone.now()
    return MonitorState.claim_due(at=now, until=now + timedelta(seconds=1), limit=limit)


@pytest.mark.django_db(transaction=True)
def test_engine_records_what_the_target_answers(engine, shop, make_monitor):
    make_monitor("good", shop.url)
    make_monitor("refused", "http://127.0.0.1:1/")
    make_monitor(
        "wrong", shop.url, config={"url": shop.url, "expected_status_codes": ["404"]}
    )

    engine.submit(claim_all())
    assert engine.wait_idle(10)

    found = {r.monitor.tag: r for r in CheckResult.objects.select_related("monitor")}
    assert (found["good"].status, found["good"].error) == ("up", "")
    assert found["good"].latency_ms > 0
    assert (found["refused"].status, found["refused"].error) == (
        "down",
        "Connection refused",
    )
    assert found["wrong"].error == "The answer was 200, expected 404"
    assert set(MonitorState.objects.values_list("claim", flat=True)) == {None}


@pytest.fixture
def hanging():
    server = WebServer()
    server.delay = 60.0
    yield server
    server.close()


@pytest.mark.django_db(transaction=True)
def test_hanging_targets_delay_nobody(engine, shop, hanging, make_monitor):
    for n in range(20):
        make_monitor(f"hangs{n}", config={"url": hanging.url, "timeout": 60.0})
    make_monitor("good", shop.url)

    engine.submit(claim_all())
    give_up = time.monotonic() + 30
    while not CheckResult.objects.exists() and time.monotonic() < give_up:
        time.sleep(0.02)

    assert CheckResult.objects.get().monitor.tag == "good"


@pytest.mark.django_db(transaction=True)
def test_hanging_target_is_cut_at_its_deadline(engine, hanging, make_monitor):
    make_monitor(config={"url": hanging.url, "timeout": 0.5})

    engine.submit(claim_all())
    assert engine.wait_idle(30)

    result = CheckResult.objects.get()
    assert (result.status, result.error) == ("down", "No answer within 0.5 s")


@pytest.mark.django_db(transaction=True)
def test_engine_starts_no_check_before_its_moment(engine, shop, make_monitor):
    now = timezone.now()
    for n in range(4):
        monitor = make_monitor(f"m{n}", shop.url)
        due = now + timedelta(milliseconds=300 * n)
        MonitorState.objects.filter(pk=monitor.pk).update(due_at=due)

    claims = MonitorState.claim_due(at=now, until=now + timedelta(seconds=2), limit=9)
    due = {claim.plan.pk: claim.due_at for claim in claims}
    engine.submit(claims)
    assert engine.wait_idle(10)

    early = timedelta(milliseconds=5)  # two clocks are involved
    for result in CheckResult.objects.all():
        assert result.checked_at >= due[result.monitor_id] - early
    assert CheckResult.objects.count() == 4


@pytest.mark.django_db(transaction=True)
def test_unreadable_config_is_no_data_with_its_reason(engine, make_monitor):
    monitor = make_monitor()
    Monitor.objects.filter(pk=monitor.pk).update(config={"nonsense": 1})

    engine.submit(claim_all())
    assert engine.wait_idle(10)

    result = CheckResult.objects.get()
    assert result.status == "no_data"
    assert "nonsense" in result.error


@pytest.mark.django_db(transaction=True)
def test_two_workers_never_take_the_same_tick(make_monitor):
    monitors = [make_monitor(f"m{n}") for n in range(40)]
    taken, barrier = [], threading.Barrier(4)

    def work():
        barrier.wait(10)
        try:
            taken.extend(claim.plan.pk for claim in claim_all())
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert sorted(taken) == [m.pk for m in monitors]


@pytest.mark.django_db
def test_killed_workers_monitors_come_back_after_the_lease(make_monitor, settings):
    settings.CHECK_LEASE_SECONDS = 10
    make_monitor()
    now = timezone.now()
    until = now + timedelta(seconds=1)

    assert len(MonitorState.claim_due(at=now, until=until, limit=9)) == 1
    assert MonitorState.claim_due(at=now, until=until, limit=9) == []
    later = until + timedelta(seconds=10)
    assert len(MonitorState.claim_due(at=later, until=later, limit=9)) == 1


@pytest.mark.django_db
def test_stopped_engine_gives_its_monitors_back_at_once(make_monitor):
    make_monitor()
    now = timezone.now()
    claims = MonitorState.claim_due(at=now, until=now + timedelta(seconds=1), limit=9)

    MonitorState.release(claims)

    assert len(claim_all()) == 1


@pytest.mark.django_db
def test_result_of_a_lost_claim_is_dropped(make_monitor):
    make_monitor()
    (mine,) = claim_all()
    MonitorState.objects.update(lease_until=None)
    (theirs,) = claim_all()

    lost = record([Observation(mine, timezone.now(), Outcome("down"))])
    kept = record([Observation(theirs, timezone.now(), Outcome("up", 1.0))])

    assert (lost, len(kept)) == ([], 1)
    assert MonitorState.objects.get().status == "up"


@pytest.mark.django_db
def test_result_of_a_paused_monitor_is_dropped(make_monitor):
    monitor = make_monitor()
    (claim,) = claim_all()
    monitor.pause(at=timezone.now())

    assert record([Observation(claim, timezone.now(), Outcome("down"))]) == []
    assert MonitorState.objects.get().status == "no_data"


@pytest.mark.django_db
def test_gap_between_results_is_no_data(make_monitor):
    monitor = make_monitor(interval=60)
    start = whole(timezone.now())
    for minutes in (0, 60):
        MonitorState.objects.update(due_at=start, claim=7)
        claim = engines.Claim(monitor.plan, 7, ms(start))
        record([Observation(claim, start + timedelta(minutes=minutes), Outcome("up"))])

    periods = [
        (p.status, (p.started_at - start).total_seconds())
        for p in StatusPeriod.objects.filter(started_at__gte=start)
    ]
    # A result speaks for two intervals and the timeout of ten seconds.
    assert periods == [("up", 0.0), ("no_data", 130.0), ("up", 3600.0)]
    assert StatusPeriod.objects.filter(ended_at=None).count() == 1


@pytest.mark.django_db
def test_expiring_turns_what_nobody_watches_to_no_data_once(make_monitor):
    monitor = make_monitor(interval=60)
    start = whole(timezone.now())
    (claim,) = claim_all()
    record([Observation(claim, start, Outcome("up"))])

    assert expire(at=start + timedelta(seconds=129)) == 0
    assert expire(at=start + timedelta(seconds=131)) == 1
    assert expire(at=start + timedelta(seconds=999)) == 0

    last = monitor.periods.last()
    assert (last.status, last.started_at) == ("no_data", start + timedelta(seconds=130))


@pytest.mark.django_db
def test_recording_takes_as_many_queries_for_30_monitors_as_for_one(make_monitor):
    for n in range(31):
        make_monitor(f"m{n}")
    observations = [
        Observation(claim, timezone.now(), Outcome("up", 1.0)) for claim in claim_all()
    ]

    with CaptureQueriesContext(connection) as one:
        record(observations[:1])
    with CaptureQueriesContext(connection) as thirty:
        record(observations[1:])

    assert len(one) == len(thirty)
    assert CheckResult.objects.count() == 31


@pytest.mark.django_db(transaction=True)
def test_tick_claims_checks_and_leaves_its_pulse(shop, make_monitor):
    make_monitor("shop", shop.url)

    tasks.tick.run()
    assert engines.engine().wait_idle(10)

    assert CheckResult.objects.get().status == "up"
    assert Pulse.objects.get().name == "tick"


@pytest.mark.django_db
def test_pruning_keeps_what_is_within_the_retention(make_monitor, settings):
    settings.RESULT_RETENTION_DAYS = 30
    monitor = make_monitor()
    now = timezone.now()
    for days in (1, 29, 31, 400):
        CheckResult.objects.create(
            monitor=monitor, checked_at=now - timedelta(days=days), status="up"
        )

    tasks.prune.run()

    assert CheckResult.objects.count() == 2
