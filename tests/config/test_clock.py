import threading
import time
from types import SimpleNamespace

import pytest
from celery.beat import Scheduler

from config.celery import Tocsin, app
from config.clock import Clock


class Stumbling(Scheduler):
    """A scheduler whose database is away at first."""

    stumbles = 1

    def tick(self, *args, **kwargs):
        if Stumbling.stumbles:
            Stumbling.stumbles -= 1
            raise ConnectionError("The database is away")
        return super().tick(*args, **kwargs)


@pytest.fixture
def ticking(tmp_path):
    """An application whose clock rings each 0.05 s for a task into a folder."""
    ticking = Tocsin("ticking", broker="doorbell://localhost", set_as_current=False)
    ticking.conf.update(
        broker_transport_options={"folder": str(tmp_path)},
        task_default_queue="bells",
        beat_scheduler="celery.beat:Scheduler",
        beat_schedule={"look": {"task": "tests.look", "schedule": 0.05}},
    )
    yield ticking
    ticking.close()
    app.set_current()


def rung(folder):
    return len(list(folder.glob("bells/*")))


def wait_for_rings(folder, n):
    until = time.monotonic() + 20
    while rung(folder) < n:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_clock_rings_until_its_worker_stops(ticking, tmp_path):
    worker = SimpleNamespace(app=ticking)
    clock = Clock(worker, clock=True)
    assert clock.include_if(worker)

    clock.start(worker)
    wait_for_rings(tmp_path, 3)
    clock.stop(worker)

    assert "clock" not in [thread.name for thread in threading.enumerate()]


def test_clock_that_has_long_to_wait_stops_at_once(ticking, tmp_path):
    ticking.conf.beat_schedule["look"]["schedule"] = 3600.0
    worker = SimpleNamespace(app=ticking)
    clock = Clock(worker, clock=True)
    clock.start(worker)

    clock.stop(worker)

    assert "clock" not in [thread.name for thread in threading.enumerate()]


def test_clock_goes_on_after_a_failure(ticking, tmp_path, caplog):
    ticking.conf.beat_scheduler = Stumbling
    worker = SimpleNamespace(app=ticking)
    clock = Clock(worker, clock=True)

    clock.start(worker)
    wait_for_rings(tmp_path, 2)
    clock.stop(worker)

    assert "The clock stumbled" in caplog.text


def test_worker_without_the_option_has_no_clock():
    worker = SimpleNamespace(app=app)

    assert not Clock(worker).include_if(worker)
