import threading
import time
from importlib.util import module_from_spec, spec_from_file_location

import pytest
from django.db import transaction

import config.settings
from config.celery import Tocsin, Watch, app


class Kept(Watch):
    """A watch over one task of the test's own."""

    def tasks(self):
        return [("tests.look", 0.1)]


@pytest.fixture
def looked():
    """How often the task has run; `looked.happened` is set each time it does."""

    class Looked:
        times, error, happened = 0, None, threading.Event()

    looked = Looked()

    @app.task(name="tests.look")
    def look():
        looked.times += 1
        looked.happened.set()
        if looked.error:
            raise looked.error

    yield looked
    del app.tasks["tests.look"]


@pytest.fixture
def watch(transactional_db):
    watch = Kept({"checks"})
    yield watch
    watch.stopped.set()
    for thread in threading.enumerate():
        if thread.name.startswith("watch "):
            thread.join(5)


def test_watch_runs_what_no_bell_rings_for(watch, looked):
    watch.start()

    for _ in range(3):
        assert looked.happened.wait(5)
        looked.happened.clear()


def test_watch_goes_on_after_a_failure(watch, looked):
    looked.error = ValueError("The task is broken")
    watch.start()

    for _ in range(2):
        assert looked.happened.wait(5)
        looked.happened.clear()


def test_watch_leaves_alone_what_the_bell_has_rung_for(watch, looked):
    watch.note("tests.look")
    watch.start()
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        watch.note("tests.look")
        time.sleep(0.01)

    assert looked.times == 0


def test_every_periodic_task_is_kept_by_one_worker():
    app.loader.import_default_modules()
    checks, deliveries = (Watch({q}).tasks() for q in ("checks", "deliveries"))

    names = [name for name, _ in checks + deliveries]
    assert sorted(names) == sorted(
        entry["task"] for entry in app.conf.beat_schedule.values()
    )
    assert {name.split(".")[0] for name, _ in checks} == {"monitors", "alerting"}
    assert set(names) <= set(app.tasks)


@pytest.fixture
def bell(tmp_path):
    """Another application, whose messages are files in a folder of the test."""
    bell = Tocsin("bell", broker="doorbell://localhost", set_as_current=False)
    bell.conf.broker_transport_options = {"folder": str(tmp_path / "broker")}
    bell.conf.task_default_queue = "bells"
    yield bell
    bell.close()


def rung(tmp_path):
    folder = tmp_path / "broker" / "bells"
    return len(list(folder.iterdir())) if folder.exists() else 0


def test_bell_rings_after_commit(transactional_db, bell, tmp_path):
    with transaction.atomic():
        bell.ring("tests.look")
        assert rung(tmp_path) == 0

    assert rung(tmp_path) == 1


def test_bell_does_not_ring_for_what_was_rolled_back(transactional_db, bell, tmp_path):
    with transaction.atomic():
        bell.ring("tests.look")
        transaction.set_rollback(True)

    assert rung(tmp_path) == 0


def test_bell_survives_a_folder_that_cannot_be_written(
    transactional_db, bell, tmp_path, caplog
):
    (tmp_path / "broker").touch()

    bell.ring("tests.look")

    assert "The bell for tests.look did not ring" in caplog.text


def test_bell_survives_a_dead_server(transactional_db, caplog, monkeypatch):
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:9/0")
    spec = spec_from_file_location("config.others", config.settings.__file__)
    settings = module_from_spec(spec)
    spec.loader.exec_module(settings)
    dead = Tocsin("dead", broker=settings.CELERY_BROKER_URL, set_as_current=False)
    dead.conf.broker_transport_options = settings.CELERY_BROKER_TRANSPORT_OPTIONS
    started = time.monotonic()

    dead.ring("tests.look")
    dead.close()

    assert "The bell for tests.look did not ring" in caplog.text
    assert time.monotonic() - started < 2


def test_task_runs_one_at_a_time_and_once_more_if_rung_meanwhile():
    began, go_on, runs = threading.Event(), threading.Event(), []

    @app.task(name="tests.look", shared=False)
    def look():
        runs.append(1)
        began.set()
        go_on.wait(20)

    thread = threading.Thread(target=look)
    thread.start()
    assert began.wait(20)
    look()
    look()
    assert len(runs) == 1
    go_on.set()
    thread.join(20)

    assert len(runs) == 2
    look()
    assert len(runs) == 3


def test_task_that_failed_runs_again():
    @app.task(name="tests.stumble", shared=False)
    def stumble():
        raise ValueError("stumbled")

    for _ in range(2):
        with pytest.raises(ValueError, match="stumbled"):
            stumble()
