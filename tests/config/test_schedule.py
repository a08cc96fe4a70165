import json
import time

import pytest
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from config.celery import Tocsin
from config.celery import app as tocsin
from config.schedule import LOOK_EVERY, MARK, Schedule

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def app(tmp_path):
    app = Tocsin("scheduling", broker="doorbell://localhost", set_as_current=False)
    app.conf.update(
        broker_transport_options={"folder": str(tmp_path)},
        result_expires=None,
        beat_schedule={
            "look here": {"task": "tests.here", "schedule": 3600.0},
            "look there": {
                "task": "tests.there",
                "schedule": 3600.0,
                "options": {"expire_seconds": 30},
            },
        },
    )
    yield app
    app.close()
    tocsin.set_current()


@pytest.fixture
def load(app):
    """Load the schedule as a clock does that starts."""
    loaded = []

    def load(app=app):
        loaded.append(Schedule(app=app))
        return loaded[-1]

    yield load
    for schedule in loaded:
        schedule.close()


def names():
    return sorted(PeriodicTask.objects.values_list("name", flat=True))


def row(name):
    return PeriodicTask.objects.get(name=name)


def test_settings_become_rows(app, load):
    load()

    assert names() == ["look here", "look there"]
    assert row("look there").expire_seconds == 30
    assert json.loads(row("look there").headers) == {MARK: "look there"}


def test_what_is_no_longer_in_the_settings_goes(app, load):
    load()
    del app.conf.beat_schedule["look there"]

    schedule = load()

    assert names() == ["look here"]
    assert list(schedule.schedule) == ["look here"]


def test_what_an_operator_made_stays(app, load):
    load()
    ours = row("look there")
    ours.pk, ours.name = None, "look there, a copy"
    ours.save()
    renamed = row("look here")
    renamed.name = "look here, renamed"
    renamed.save()
    hourly = IntervalSchedule.objects.create(every=1, period="hours")
    for name, headers in [("own", "{}"), ("broken", "{")]:
        PeriodicTask.objects.create(
            name=name, task="tests.own", interval=hourly, headers=headers
        )
    app.conf.beat_schedule.clear()

    load()

    assert names() == [
        "broken",
        "look here, renamed",
        "look there, a copy",
        "own",
    ]


def test_what_an_operator_switched_off_stays_off(app, load):
    load()
    PeriodicTask.objects.filter(name="look here").update(enabled=False)

    schedule = load()

    assert not row("look here").enabled
    assert list(schedule.schedule) == ["look there"]


def test_edits_are_seen_in_time_however_rarely_it_rings(load):
    load()
    schedule = load()
    waits = [schedule.tick() for _ in range(5)]

    assert 0 < waits[-1] <= LOOK_EVERY

    edited = row("look here")
    edited.enabled = False
    edited.save()
    schedule._looked_at -= LOOK_EVERY
    schedule.tick()

    assert list(schedule.schedule) == ["look there"]


def test_it_does_not_spin_until_the_time_has_come(app, load):
    app.conf.beat_schedule = {"look": {"task": "tests.look", "schedule": 0.2}}
    schedule = load()
    steps, until = 0, time.monotonic() + 1.0
    while (now := time.monotonic()) < until:
        time.sleep(min(schedule.tick(), until - now))
        steps += 1

    # For each of five rings: one step that rings, one that looks what is next.
    assert steps <= 15


def test_messages_say_what_they_are_and_expire(app, load, tmp_path):
    schedule = load()
    schedule.apply_async(schedule.schedule["look there"], advance=False)

    (message,) = tmp_path.glob("*/[!.]*")
    headers = json.loads(message.read_text())["headers"]
    assert headers["task"] == "tests.there"
    assert headers["expires"] is not None


def test_shipped_schedule_becomes_rows(load, settings):
    load(tocsin)

    rows = PeriodicTask.objects.all()
    assert {row.task for row in rows} == set(settings.WATCH_SECONDS)
    assert all(row.expire_seconds == row.interval.every for row in rows)
