from datetime import UTC, datetime, timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from monitors.instants import whole
from monitors.models import Monitor, MonitorState, StatusPeriod


@pytest.mark.django_db
def test_new_monitor_is_due_at_once_and_honestly_unknown(make_monitor):
    monitor = make_monitor()

    assert whole(monitor.state.due_at) == whole(monitor.created_at)
    assert monitor.state.status == "no_data"
    assert monitor.periods.get().status == "no_data"


@pytest.mark.django_db
def test_config_is_spelled_out_with_its_defaults(make_monitor):
    monitor = make_monitor(url="http://127.0.0.1:9000/")

    assert monitor.config == {
        "url": "http://127.0.0.1:9000/",
        "method": "GET",
        "timeout": 10.0,
        "expected_status_codes": ["200-299"],
    }


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "url: This field is required."),
        ({"url": 5}, "url: Give a text."),
        ({"url": "ftp://example.org"}, "http:// or https://"),
        ({"url": "http://exa mple.org"}, "space or control character"),
        ({"url": "http://example.org\r\nX: y"}, "space or control character"),
        ({"url": "http://me:secret@example.org"}, "Remove the name and password"),
        ({"url": "http://example.org:99999999"}, "no address"),
        ({"url": "http://[bad"}, "no address"),
        ({"url": "http://example.org", "timeout": 0}, "0.1 to 60 seconds"),
        ({"url": "http://example.org", "timeout": True}, "Give a number"),
        ({"url": "http://example.org", "method": "BREW"}, "Choose one of GET"),
        ({"url": "http://example.org", "expected_status_codes": []}, "at least one"),
        ({"url": "http://example.org", "expected_status_codes": ["9"]}, "100 to 599"),
        ({"url": "http://example.org", "expected_status_codes": ["x"]}, "no code"),
        ({"url": "http://example.org", "unknown": 1}, "no such field"),
    ],
)
def test_unfit_config_is_refused_saying_what_to_do(config, said, make_monitor):
    with pytest.raises(ValidationError) as refused:
        make_monitor(config=config)

    assert said in str(refused.value)


@pytest.mark.django_db
@pytest.mark.parametrize("tag", ["", "Shop", "a b", "-a", "a-", "a\n", "ä", "a/b"])
def test_unfit_tag_is_refused(tag, make_monitor):
    with pytest.raises(ValidationError):
        make_monitor(tag, name="Shop")


@pytest.mark.django_db
def test_tag_is_free_again_after_retiring(make_monitor):
    make_monitor("shop").retire(at=timezone.now())

    make_monitor("shop")

    assert Monitor.objects.current().count() == 1


@pytest.mark.django_db
def test_two_current_monitors_cannot_share_a_tag(make_monitor):
    make_monitor("shop")

    with pytest.raises(IntegrityError):
        Monitor.objects.create(tag="shop", name="Other")


@pytest.mark.django_db
def test_pausing_and_resuming_twice_changes_nothing(make_monitor):
    monitor = make_monitor()
    now = timezone.now()

    assert [monitor.pause(at=now), monitor.pause(at=now)] == [True, False]
    assert monitor.state.__class__.objects.get().due_at is None
    assert [monitor.resume(at=now), monitor.resume(at=now)] == [True, False]
    soon = now + timedelta(seconds=Monitor.RESUMED_WITHIN)
    assert now - timedelta(milliseconds=1) < MonitorState.objects.get().due_at < soon


@pytest.mark.django_db
def test_retired_monitor_cannot_be_resumed(make_monitor):
    monitor = make_monitor()
    monitor.retire(at=timezone.now())

    assert monitor.resume(at=timezone.now()) is False
    assert MonitorState.objects.get().due_at is None


@pytest.mark.django_db
def test_editing_the_target_counts_anew_and_drops_the_running_check(make_monitor):
    monitor = make_monitor()
    before = monitor.counts_from
    MonitorState.objects.update(claim=7)

    monitor.config["url"] = "http://127.0.0.1:8/"
    monitor.save()

    assert monitor.counts_from > before
    assert MonitorState.objects.get().claim is None


@pytest.mark.django_db
def test_renaming_does_not_count_anew(make_monitor):
    monitor = make_monitor()
    before = monitor.counts_from

    monitor.name = "Another"
    monitor.save()

    assert Monitor.objects.get().counts_from == whole(before)


@pytest.mark.django_db
def test_period_never_ends_before_it_began(make_monitor):
    monitor = make_monitor()
    period = monitor.periods.get()

    StatusPeriod.change(monitor.pk, "up", at=period.started_at - timedelta(hours=1))

    period.refresh_from_db()
    assert period.ended_at == period.started_at


@given(
    st.text("abcdefghij0123456789-", min_size=1, max_size=20),
    st.integers(5, 86_400),
    st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)),
)
def test_slots_follow_each_other_by_exactly_one_interval(tag, interval, now):
    monitor = Monitor(tag=tag, interval=interval)

    first = monitor.next_due(now)
    second = monitor.next_due(first + timedelta(milliseconds=1))

    assert now < first <= now + timedelta(seconds=interval, milliseconds=1)
    gap = (second - first).total_seconds()
    assert gap == pytest.approx(interval, abs=0.001)


def test_slots_of_many_monitors_spread_over_the_interval():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    phases = [
        (Monitor(tag=f"m{n}", interval=60).next_due(now) - now).total_seconds()
        for n in range(1000)
    ]

    a_second = [sum(s <= phase < s + 1 for phase in phases) for s in range(60)]
    assert max(a_second) < 40


@pytest.mark.django_db
def test_new_interval_takes_effect_at_once(make_monitor):
    monitor = make_monitor(interval=86_400)
    far = timezone.now() + timedelta(hours=21)
    MonitorState.objects.update(due_at=far)

    monitor.interval = 5
    monitor.save()

    assert MonitorState.objects.get().due_at <= timezone.now()
