from datetime import timedelta
from itertools import pairwise

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from access.models import ApiKey
from alerting.models import Alert, RuleState
from monitors import upkeep
from monitors.checkers import Outcome
from monitors.instants import instant, ms, whole
from monitors.models import (
    CheckResult,
    LatencyBucket,
    Monitor,
    MonitorState,
    Rebuild,
    StatusPeriod,
)
from monitors.pushing import Pushed, push
from monitors.recording import Observation, record

ADDRESS = "/api/v1/results/"


def row(monitor, at, status="up", **more):
    return {
        "monitor": monitor.tag,
        "checked_at": at.isoformat(),
        "status": status,
        **more,
    }


def bars(monitor):
    """The shown history as (status, seconds since it was created)."""
    return [
        (p.status, round((p.started_at - monitor.created_at).total_seconds()))
        for p in StatusPeriod.objects.filter(monitor=monitor)
    ]


def settle():
    while not upkeep.run(at=timezone.now(), seconds=5):
        pass


def test_row_is_stored_whole_when_the_answer_is_given(api, make_monitor):
    monitor, at = make_monitor(), whole(timezone.now())

    answer = api.post(
        ADDRESS,
        {"results": [row(monitor, at, "down", latency_ms=12.5, error="Refused")]},
    )

    assert answer.status_code == 202
    assert answer.json() == {"accepted": 1, "duplicates": 0, "refused": []}
    result = CheckResult.objects.get()
    assert (result.checked_at, result.status) == (at, "down")
    assert (result.latency_ms, result.error) == (12.5, "Refused")
    assert str(result.checked_by) == "key tests"
    assert MonitorState.objects.get().raw_status == "down"


def test_recent_rows_drive_rules_in_any_order(api, make_monitor, make_rule):
    monitor = make_monitor()
    now = timezone.now()
    make_rule(monitor, failure_threshold=3)
    RuleState.objects.all().delete()
    Monitor.objects.update(counts_from=now - timedelta(hours=1))
    monitor.rules.update(counts_from=now - timedelta(hours=1))

    for minutes in (1, 3, 2):
        assert not Alert.objects.exists()
        at = now - timedelta(minutes=minutes)
        api.post(ADDRESS, {"results": [row(monitor, at, "down")]})

    assert Alert.objects.get().state == "TRIGGERED"


def test_old_rows_are_history_and_drive_nothing(api, make_monitor, make_rule):
    monitor = make_monitor()
    make_rule(monitor, failure_threshold=1)
    monitor.rules.update(counts_from=timezone.now() - timedelta(days=9))
    Monitor.objects.update(counts_from=timezone.now() - timedelta(days=9))

    at = timezone.now() - timedelta(minutes=11)
    api.post(ADDRESS, {"results": [row(monitor, at, "down")]})

    assert CheckResult.objects.get().position == 0
    assert not Alert.objects.exists()
    assert MonitorState.objects.get().raw_status == "no_data"


def test_rows_that_cannot_be_taken_are_refused_one_by_one(api, make_monitor, settings):
    monitor, now = make_monitor(), timezone.now()
    good = row(monitor, now)
    rows = [
        good,
        {**good, "monitor": "nobody"},
        row(monitor, now + timedelta(minutes=6)),
        row(monitor, now - timedelta(days=31)),
        {**good, "status": "fine"},
        {**good, "checked_at": "yesterday"},
        {**good, "latency_ms": "12"},
        {**good, "latency_ms": -1},
        {**good, "error": "a\x00b"},
        {**good, "extra": 1},
        "nonsense",
        good,
    ]

    answer = api.post(ADDRESS, {"results": rows}).json()

    assert (answer["accepted"], answer["duplicates"]) == (1, 1)
    said = {refused["index"]: refused["reason"] for refused in answer["refused"]}
    assert sorted(said) == list(range(1, 11))
    assert "no monitor nobody" in said[1]
    assert "5 minutes ahead" in said[2]
    assert "older than 30 days" in said[3]
    assert "choose one of up" in said[4]
    assert "such as 2026" in said[5]


@pytest.mark.parametrize(
    "body", [[], {}, {"results": {}}, {"results": [], "more": 1}, {"results": None}]
)
def test_body_of_another_shape_is_refused(body, api):
    assert api.post(ADDRESS, body).status_code == 400


def test_too_many_rows_are_refused_before_any_is_stored(api, make_monitor):
    monitor, now = make_monitor(), timezone.now()
    rows = [row(monitor, now - timedelta(seconds=n)) for n in range(10_001)]

    answer = api.post(ADDRESS, {"results": rows})

    assert answer.status_code == 400
    assert "at most 10,000" in answer.json()["detail"]
    assert not CheckResult.objects.exists()


def test_ten_thousand_rows_come_in_at_once_and_again_as_duplicates(api, make_monitor):
    monitor, now = make_monitor(), timezone.now()
    rows = [
        row(monitor, now - timedelta(seconds=n), error="x" * 400) for n in range(10_000)
    ]

    first = api.post(ADDRESS, {"results": rows})
    second = api.post(ADDRESS, {"results": rows[::-1]})

    assert first.json()["accepted"] == 10_000
    assert (second.json()["accepted"], second.json()["duplicates"]) == (0, 10_000)
    assert CheckResult.objects.count() == 10_000


def test_key_without_the_scope_may_not_push(api, make_monitor):
    key = ApiKey(name="reader", scopes=["monitors:write"]).issue()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")

    assert api.post(ADDRESS, {"results": []}).status_code == 403


@pytest.mark.django_db
def test_history_before_the_monitor_was_made_shows_in_its_bars(make_monitor):
    monitor = make_monitor(interval=60)
    begin = monitor.created_at - timedelta(hours=10)
    pushed = [
        Pushed(n, "shop", begin + timedelta(minutes=n), Outcome(status))
        for n, status in enumerate(["up", "up", "down", "down", "up"])
    ]

    push(pushed, by=None, at=timezone.now())
    settle()

    hours = -36_000
    assert bars(monitor) == [
        ("up", hours),
        ("down", hours + 120),
        ("up", hours + 240),
        # Two intervals and the timeout after the last of them.
        ("no_data", hours + 240 + 130),
    ]
    assert not Rebuild.objects.exists()


@pytest.mark.django_db
def test_history_inside_a_pause_shows_and_the_pause_stays(make_monitor):
    monitor = make_monitor(interval=60)
    start = monitor.created_at
    Monitor.objects.update(created_at=start - timedelta(hours=2))
    push(
        [Pushed(0, "shop", start - timedelta(hours=1), Outcome("up"))],
        by=None,
        at=timezone.now(),
    )
    settle()
    StatusPeriod.change(
        monitor.pk, "up", at=start - timedelta(minutes=50), cause="by hand"
    )
    StatusPeriod.change(
        monitor.pk, "no_data", at=start - timedelta(minutes=49), cause="paused"
    )
    push(
        [Pushed(0, "shop", start - timedelta(minutes=30), Outcome("down"))],
        by=None,
        at=timezone.now(),
    )
    settle()

    found = bars(monitor)
    assert ("down", -1800) in found
    assert found[-1] == ("no_data", -1800 + 130)


@pytest.mark.django_db
def test_late_row_corrects_what_was_taken_for_silence(make_monitor):
    monitor = make_monitor(interval=60)
    start = timezone.now() - timedelta(minutes=8)
    at = [start + timedelta(minutes=n) for n in (0, 6)]
    push([Pushed(0, "shop", at[0], Outcome("up"))], by=None, at=timezone.now())
    push([Pushed(0, "shop", at[1], Outcome("up"))], by=None, at=timezone.now())
    assert "no_data" in [s for s, _ in bars(monitor)[1:]]

    late = [
        Pushed(n, "shop", start + timedelta(minutes=n), Outcome("up"))
        for n in range(1, 6)
    ]
    push(late, by=None, at=timezone.now())
    settle()

    assert [s for s, _ in bars(monitor)] == ["up"]
    assert MonitorState.objects.get().status == "up"


@pytest.mark.django_db(transaction=True)
def test_two_pushes_of_the_same_rows_store_each_once(make_monitor, at_once):
    make_monitor()
    now = timezone.now()
    pushed = [
        Pushed(n, "shop", now - timedelta(seconds=n), Outcome("up")) for n in range(500)
    ]
    receipts = []

    def send():
        receipts.append(push(pushed, by=None, at=now))

    at_once(*[send] * 3)

    assert CheckResult.objects.count() == 500
    assert sum(r.accepted for r in receipts) == 500
    assert sum(r.duplicates for r in receipts) == 1000
    positions = CheckResult.objects.values_list("position", flat=True)
    assert sorted(positions) == list(range(1, 501))


@pytest.mark.django_db(transaction=True)
def test_mark_made_while_rebuilding_is_not_lost(make_monitor, at_once):
    make_monitor(interval=60)
    now = timezone.now()

    def send(n):
        at = now - timedelta(hours=5, minutes=n)
        push([Pushed(0, "shop", at, Outcome("up"))], by=None, at=now)

    at_once(*[lambda n=n: (send(n), settle()) for n in range(4)])
    settle()

    known = StatusPeriod.objects.exclude(status="no_data")
    assert min(p.started_at for p in known) == whole(
        now - timedelta(hours=5, minutes=3)
    )
    assert not Rebuild.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_check_and_push_of_one_monitor_at_once_keep_both(make_monitor, at_once):
    make_monitor(interval=60)
    now = timezone.now()
    (claim,) = MonitorState.claim_due(at=now, until=now + timedelta(seconds=1), limit=9)

    at_once(
        lambda: record([Observation(claim, now, Outcome("up", 1.0))]),
        lambda: push([Pushed(0, "shop", now, Outcome("down"))], by=None, at=now),
    )

    assert CheckResult.objects.count() in (1, 2)
    assert MonitorState.objects.get().last_result == CheckResult.objects.count()


@pytest.mark.django_db
def test_pushing_takes_as_many_queries_for_30_monitors_as_for_one(make_monitor):
    for n in range(31):
        make_monitor(f"m{n}")
    now = timezone.now()
    pushed = [Pushed(n, f"m{n}", now, Outcome("up", 1.0)) for n in range(31)]

    with CaptureQueriesContext(connection) as one:
        push(pushed[:1], by=None, at=now)
    with CaptureQueriesContext(connection) as thirty:
        push(pushed[1:], by=None, at=now)

    assert len(one) == len(thirty)


def consistent(monitor):
    """Whether the periods follow each other, and say what lay before each."""
    periods = list(StatusPeriod.objects.filter(monitor=monitor))
    sums = dict.fromkeys(
        ("up", "degraded", "partial", "down", "maintenance", "no_data"), 0
    )
    for period, following in [*pairwise(periods), (periods[-1], None)]:
        assert {s: getattr(period, f"before_{s}") for s in sums} == sums
        if following is None:
            assert period.ended_at is None
            return
        assert period.ended_at == following.started_at
        assert period.status != following.status
        sums[period.status] += ms(period.ended_at) - ms(period.started_at)


statuses = st.sampled_from(["up", "degraded", "down", "no_data"])
observed = st.dictionaries(st.integers(1, 600), statuses, min_size=1, max_size=25)


@pytest.mark.django_db
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(observed, st.randoms(use_true_random=False), st.integers(1, 4))
def test_any_order_of_pushing_gives_the_same_history(
    make_monitor, observed, random, confirmations
):
    now = timezone.now()
    made = []
    for name in ("straight", "shuffled"):
        Monitor.objects.filter(tag=name, retired_at=None).update(retired_at=now)
        made.append(make_monitor(name, interval=60, confirmations=confirmations))
    rows = sorted(observed.items(), reverse=True)
    shuffled = rows[:]
    random.shuffle(shuffled)

    def send(name, some):
        push(
            [
                Pushed(n, name, now - timedelta(minutes=age), Outcome(status))
                for n, (age, status) in enumerate(some)
            ],
            by=None,
            at=now,
        )

    send("straight", rows)
    settle()
    for n in range(0, len(shuffled), 3):
        send("shuffled", shuffled[n : n + 3])
        if random.random() < 0.3:
            settle()
    settle()

    straight, other = (
        [
            (p.status, p.started_at)
            for p in StatusPeriod.objects.filter(monitor=m)
            if p.started_at < instant(ms(now)) - timedelta(seconds=1)
        ]
        for m in made
    )
    assert straight == other
    for monitor in made:
        consistent(monitor)


@pytest.mark.django_db
def test_late_latencies_enter_their_hour_and_their_day(make_monitor):
    monitor = make_monitor()
    at = timezone.now() - timedelta(days=3)
    pushed = [
        Pushed(n, "shop", at + timedelta(seconds=n), Outcome("up", 10.0 * (n + 1)))
        for n in range(5)
    ]

    push(pushed, by=None, at=timezone.now())
    settle()

    hour = monitor.latency_buckets.get(size=LatencyBucket.Size.HOUR)
    day = monitor.latency_buckets.get(size=LatencyBucket.Size.DAY)
    for bucket in (hour, day):
        assert (bucket.count, bucket.total) == (5, 150.0)
        assert (bucket.least, bucket.most) == (10.0, 50.0)
