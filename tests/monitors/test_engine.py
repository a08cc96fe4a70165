import threading
import time
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from alerting import evaluation
from alerting.models import Alert
from egress.client import Response
from monitors import engine as engines
from monitors import runners, tasks
from monitors.checkers import Checker, Outcome
from monitors.engine import BURST, FIRST_SECONDS, FLUSH_SECONDS, Pace
from monitors.instants import ms, whole
from monitors.models import (
    CheckResult,
    FailureEpisode,
    Monitor,
    MonitorState,
    Prober,
    Pulse,
    StatusPeriod,
)
from monitors.recording import Observation, expire, record
from monitors.signals import results_recorded
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
def test_tick_claims_checks_and_leaves_its_pulse(shop, make_monitor, monkeypatch):
    monkeypatch.setattr(engines, "_engine", None)
    make_monitor("shop", shop.url)

    tasks.tick.run()
    assert engines.engine().wait_idle(10)
    engines.engine().stop()

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


def observed(monitor, *statuses, start=None, every=60):
    """Record statuses of a monitor as its claimed checks would."""
    start = start or whole(timezone.now())
    for n, status in enumerate(statuses):
        MonitorState.objects.filter(pk=monitor.pk).update(claim=7)
        claim = engines.Claim(monitor.plan, 7, ms(start))
        at = start + timedelta(seconds=n * every)
        outcome = Outcome(status, 5.0, "" if status == "up" else "It failed")
        record([Observation(claim, at, outcome)])
    return start


@pytest.mark.django_db
def test_shown_status_waits_for_its_confirmations_and_is_dated_back(make_monitor):
    monitor = make_monitor(interval=60, confirmations=3, retry_interval=20)
    start = observed(monitor, "up", "down", "down")

    state = MonitorState.objects.get()
    assert (state.status, state.raw_status) == ("up", "down")
    assert state.due_at <= timezone.now() + timedelta(seconds=20)

    observed(monitor, "down", start=start + timedelta(minutes=3))
    state = MonitorState.objects.get()
    assert (state.status, state.since) == ("down", start + timedelta(minutes=1))
    assert monitor.periods.last().started_at == start + timedelta(minutes=1)


@pytest.mark.django_db
def test_rules_read_what_is_not_confirmed(make_monitor, make_rule):
    monitor = make_monitor(interval=60, confirmations=10)
    make_rule(monitor, failure_threshold=2)

    observed(monitor, "up", "down", "down")

    assert Alert.objects.count() == 1
    assert MonitorState.objects.get().status == "up"


@pytest.mark.django_db
def test_failures_under_a_parent_that_is_down_are_marked(make_monitor):
    parent, child = make_monitor("database"), make_monitor("shop")
    grandchild = make_monitor("cart")
    child.depend_on([parent])
    grandchild.depend_on([child])
    child, grandchild = (
        Monitor.objects.select_related("state").get(pk=m.pk)
        for m in (child, grandchild)
    )

    observed(child, "down")
    observed(parent, "down")
    start = whole(timezone.now()) + timedelta(minutes=1)
    observed(child, "down", "up", start=start)
    observed(grandchild, "down", start=start)

    def marks(monitor):
        results = monitor.results.order_by("checked_at")
        return list(results.values_list("is_consequence", flat=True))

    assert marks(child) == [False, True, False]
    # One hop only: its parent is up again.
    assert marks(grandchild) == [False]


@pytest.mark.django_db
def test_first_and_last_answer_of_a_run_of_failures_are_kept(make_monitor):
    monitor = make_monitor()
    start = whole(timezone.now())

    def fails(n, body):
        MonitorState.objects.update(claim=7)
        claim = engines.Claim(monitor.plan, 7, ms(start))
        headers = {"set-cookie": "id=1", "server": "nginx"}
        answer = Response(
            status=500, headers=headers, body=body, latency_ms=1.0, phases={}
        )
        outcome = Outcome("down", 1.0, "The answer was 500", {}, answer)
        record([Observation(claim, start + timedelta(seconds=n), outcome)])

    for n, body in enumerate([b"first", b"second", b'{"password": "x"} ' * 900]):
        fails(n, body)
    observed(monitor, "up", start=start + timedelta(seconds=9))
    fails(10, b"another run")

    newest, run = FailureEpisode.objects.all()
    assert (run.began_at, run.last_at) == (start, start + timedelta(seconds=2))
    assert run.first["body"] == "first"
    assert run.first["headers"] == {"set-cookie": "***", "server": "nginx"}
    assert run.last["body"].startswith('{"password": "***"}')
    assert len(run.last["body"]) <= 4096
    assert newest.first == newest.last


@pytest.mark.django_db(transaction=True)
def test_phases_and_who_checked_are_kept(engine, shop, make_monitor, settings):
    settings.WORKER_NAME = "checks-berlin"
    make_monitor("shop", shop.url)

    engine.submit(claim_all())
    assert engine.wait_idle(10)

    result = CheckResult.objects.get()
    assert str(result.checked_by) == "checks-berlin"
    assert set(result.phases) >= {"first_byte"}
    assert sum(result.phases.values()) == pytest.approx(result.latency_ms, abs=0.2)


@pytest.mark.django_db(transaction=True)
def test_failures_are_no_data_while_our_own_line_is_down(shop, make_monitor, settings):
    settings.WATCHDOG_URLS = ["http://127.0.0.1:1/", "http://127.0.0.1:2/"]
    make_monitor("refused", "http://127.0.0.1:1/")
    make_monitor("good", shop.url)
    offline = engines.Engine()

    offline.submit(claim_all())
    assert offline.wait_idle(20)
    offline.stop()

    found = {r.monitor.tag: r for r in CheckResult.objects.select_related("monitor")}
    assert found["refused"].status == "no_data"
    assert "Our own line was down" in found["refused"].error
    assert found["good"].status == "up"


@pytest.mark.django_db(transaction=True)
def test_one_watchdog_address_that_answers_is_enough(shop, make_monitor, settings):
    settings.WATCHDOG_URLS = ["http://127.0.0.1:1/", shop.url]
    make_monitor("refused", "http://127.0.0.1:1/")
    online = engines.Engine()

    online.submit(claim_all())
    assert online.wait_idle(20)
    online.stop()

    assert CheckResult.objects.get().status == "down"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("needs_line", "expected"), [(True, "no_data"), (False, "down")]
)
def test_other_kinds_are_doubted_too_if_they_need_the_line(
    needs_line, expected, make_monitor, settings
):
    class Failing(Checker):
        timeout = 1.0

        def run(self):
            return Outcome("down", error="It fails")

    Failing.needs_line = needs_line
    settings.WATCHDOG_URLS = ["http://127.0.0.1:1/"]
    make_monitor()
    (claim,) = claim_all()
    claim.plan = replace(claim.plan, kind="other", checker=Failing())
    offline = engines.Engine()

    offline.submit([claim])
    assert offline.wait_idle(20)
    offline.stop()

    assert CheckResult.objects.get().status == expected


class Stuck(Checker):
    """Hangs in a call that heeds no deadline."""

    timeout = 0.1

    def __init__(self):
        self.release = threading.Event()

    def run(self):
        self.release.wait(60)
        return Outcome("up", 1.0)


def test_stuck_check_is_answered_for_and_its_thread_replaced():
    pool, stuck, answers = runners.Runners(), Stuck(), []
    pool.submit("slow", stuck, "shop", answers.append)

    give_up = time.monotonic() + 30
    while not answers and time.monotonic() < give_up:
        pool.give_up()
        time.sleep(0.02)
    stuck.release.set()

    assert [(a.status, a.error) for a in answers] == [
        ("down", "No answer within 0.1 s")
    ]


def test_slow_kind_does_not_keep_another_waiting():
    pool, stuck, answers = runners.Runners(), Stuck(), []
    for _ in range(runners.MOST_THREADS + 10):
        pool.submit("slow", stuck, "slow", lambda outcome: None)

    class Quick(Checker):
        timeout = 1.0

        def run(self):
            return Outcome("up", 1.0)

    done = threading.Event()
    pool.submit("quick", Quick(), "quick", lambda o: (answers.append(o), done.set()))

    assert done.wait(30)
    stuck.release.set()
    assert answers[0].status == "up"


@pytest.mark.django_db
def test_after_an_outage_of_our_own_each_is_checked_once_and_spread(make_monitor):
    monitors = Monitor.objects.bulk_create(
        Monitor(tag=f"m{n}", name="M", interval=60, config={"url": "http://x/"})
        for n in range(300)
    )
    MonitorState.begin(monitors)
    now = timezone.now()
    MonitorState.objects.update(due_at=now - timedelta(hours=1))
    Pulse.note("tick", at=now - timedelta(hours=1))

    assert MonitorState.spread_out(at=now, seconds=60) == 300

    due = [
        (at - now).total_seconds()
        for at in MonitorState.objects.values_list("due_at", flat=True)
    ]
    assert -0.001 <= min(due) < max(due) <= 30
    assert max(sum(s <= d < s + 1 for d in due) for s in range(30)) < 25


@pytest.mark.django_db
def test_recording_500_results_takes_as_many_statements_as_10(make_monitor, make_rule):
    monitors = Monitor.objects.bulk_create(
        Monitor(tag=f"m{n}", name="M", config={"url": "http://127.0.0.1:9/"})
        for n in range(510)
    )
    MonitorState.begin(monitors)
    make_rule(*monitors)
    claims = claim_all(510)

    def flush(some, status):
        now = timezone.now()
        MonitorState.objects.update(claim=claims[0].number)
        with CaptureQueriesContext(connection) as captured:
            record([Observation(c, now, Outcome(status, 1.0, "x")) for c in some])
        return len(captured)

    for status in ("up", "up", "down", "degraded"):
        ten, five_hundred = flush(claims[:10], status), flush(claims[10:], status)
        assert ten == five_hundred, status


@pytest.mark.django_db
def test_killed_before_evaluating_late_results_are_evaluated_by_the_sweep(
    make_monitor, make_rule
):
    monitor = make_monitor(interval=60)
    make_rule(monitor, failure_threshold=3)
    receivers = results_recorded.receivers
    results_recorded.receivers = []
    try:
        observed(monitor, "down", "down", "down", start=timezone.now())
    finally:
        results_recorded.receivers = receivers
        results_recorded.sender_receivers_cache.clear()
    assert not Alert.objects.exists()

    MonitorState.objects.update(checked_at=timezone.now() - timedelta(minutes=1))
    evaluation.sweep()

    assert Alert.objects.get().failure_threshold == 3


@pytest.mark.django_db
def test_edit_is_seen_by_the_next_check(make_monitor):
    monitor = make_monitor(url="http://127.0.0.1:1/")
    parent = make_monitor("parent")
    (plan,) = [c.plan for c in claim_all() if c.plan.tag == "shop"]
    assert plan.checker.url == "http://127.0.0.1:1/"

    monitor.config["url"] = "http://127.0.0.1:2/"
    monitor.confirmations = 4
    monitor.save()
    monitor.depend_on([parent])
    (plan,) = [c.plan for c in claim_all() if c.plan.tag == "shop"]

    assert plan.checker.url == "http://127.0.0.1:2/"
    assert (plan.confirmations, plan.parents) == (4, (parent.pk,))


@pytest.mark.django_db
def test_names_without_end_share_one_number(monkeypatch):
    first = Prober.named("host-1")
    monkeypatch.setattr(Prober, "MOST", 2)
    second = Prober.named("host-2")

    others = {Prober.named(f"host-{n}") for n in range(3, 9)}

    assert (Prober.named("host-1"), Prober.named("host-2")) == (first, second)
    assert len(others) == 1
    assert Prober.objects.count() == 3


def test_a_few_news_in_a_row_wait_for_nothing_but_what_comes_with_them():
    pace = Pace()

    for n in range(BURST):
        assert pace.wait(100.0 + n / 100) == FIRST_SECONDS
        pace.spend(100.0 + n / 100)

    assert pace.wait(100.0 + BURST / 100) > FIRST_SECONDS


def test_news_without_end_are_written_down_five_times_a_second():
    pace, now, flushes = Pace(), 100.0, 0

    while now < 160.0:
        now += pace.wait(now)
        pace.spend(now)
        flushes += 1

    assert flushes <= BURST + 60 / FLUSH_SECONDS + 1


def test_news_after_however_many_wait_for_a_fifth_of_a_second_at_the_most():
    pace = Pace()
    for _ in range(1000):
        pace.spend(100.0)

    assert pace.wait(100.0) == pytest.approx(FLUSH_SECONDS)
    assert pace.wait(100.0 + FLUSH_SECONDS) == FIRST_SECONDS
