import sys
import threading
import time
from importlib.util import module_from_spec, spec_from_file_location

import pytest
from celery.signals import worker_init
from django.db import transaction

import config.settings
from config.celery import Tocsin, Watch, app


class Kept(Watch):
    """A watch over tasks of the test's own."""

    names = ("tests.look",)

    def tasks(self):
        return [(name, 0.1) for name in self.names]


@pytest.fixture
def looked():
    """How often the task has run; `looked.happened` is set each time it does."""

    class Looked:
        times, error, happened = 0, None, threading.Event()

    looked = Looked()

    @app.task(name="tests.look", shared=False)
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


def test_long_task_delays_no_other(watch, looked):
    began, go_on = threading.Event(), threading.Event()

    @app.task(name="tests.long", shared=False)
    def long():
        began.set()
        go_on.wait(60)

    watch.names = ("tests.long", "tests.look")
    try:
        watch.start()
        assert began.wait(20)
        for _ in range(3):
            looked.happened.clear()
            assert looked.happened.wait(20)
    finally:
        go_on.set()
        del app.tasks["tests.long"]


@pytest.mark.parametrize(
    ("last_run", "due"),
    [
        (None, 100.0),
        (100.0, 101.0),
        (100.02, 101.0),
        # A bell rang in between: what came in since may have rung in vain.
        (100.6, 101.0),
        # It rang only just now.
        (100.95, 102.0),
        # It took long.
        (103.4, 104.0),
    ],
)
def test_watch_looks_at_each_step_of_the_period(last_run, due):
    watch = Watch({"checks"})
    watch.began = 100.0
    if last_run is not None:
        watch.last_run["tests.look"] = last_run

    assert watch.due("tests.look", 1.0) == due


def test_watch_notes_what_a_bell_has_started(watch, looked, monkeypatch):
    monkeypatch.setattr("config.celery._watch", watch)

    app.tasks["tests.look"].apply()

    assert looked.times == 1
    assert watch.due("tests.look", 3600.0) > time.monotonic()


def test_every_periodic_task_is_kept_by_one_worker(settings):
    app.loader.import_default_modules()
    checks, deliveries = (Watch({q}).tasks() for q in ("checks", "deliveries"))

    names = [name for name, _ in checks + deliveries]
    assert sorted(names) == sorted(settings.WATCH_SECONDS)
    assert sorted(names) == sorted(
        entry["task"] for entry in app.conf.beat_schedule.values()
    )
    assert {name.split(".")[0] for name, _ in checks} == {"monitors", "alerting"}
    assert set(names) <= set(app.tasks)


def test_without_a_bell_nothing_is_later_than_a_second(settings):
    sweeps = [
        "alerting.tasks.sweep",
        "monitors.tasks.tick",
        "outbox.tasks.deliver_due",
        "statuspages.tasks.build_pages",
        "subscriptions.tasks.fan_out_due",
    ]

    assert [settings.WATCH_SECONDS[name] for name in sweeps] == [1.0] * len(sweeps)


@pytest.fixture
def bell(tmp_path):
    """Another application, whose messages are files in a folder of the test."""
    bell = Tocsin("bell", broker="doorbell://localhost", set_as_current=False)
    bell.conf.broker_transport_options = {"folder": str(tmp_path / "broker")}
    bell.conf.task_default_queue = "bells"
    yield bell
    bell.close()


def rung(tmp_path):
    return len(list(tmp_path.glob("broker/bells/[!.]*")))


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


def test_worker_lets_no_thread_that_computes_hold_up_the_others():
    before = sys.getswitchinterval()
    try:
        worker_init.send(sender=None)

        assert sys.getswitchinterval() == pytest.approx(0.0005)
    finally:
        sys.setswitchinterval(before)
