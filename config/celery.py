"""The Celery application: the bell, and the watch kept in case it is not heard."""

import logging
import math
import os
import threading
import time
from typing import Any

from celery import Celery, Task
from celery.signals import setup_logging, task_prerun, worker_ready, worker_shutdown

from . import broker  # noqa: F401  registers doorbell://
from .clock import add_clock

logger = logging.getLogger(__name__)

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")


class Look(Task):
    """A task that finds its own work; one at a time of a kind in a process.

    Rung while it is running, it looks once more when it is done: what came in
    meanwhile may have come too late for the first look.
    """

    abstract = True
    _state = threading.Lock()
    _is_running = False
    _is_rung = False

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        with self._state:
            self._is_rung = self._is_running
            if self._is_running:
                return
            self._is_running = True
        again = True
        while again:
            try:
                self.run(*args, **kwargs)
            except BaseException:
                self._is_running = False
                raise
            with self._state:
                again, self._is_rung = self._is_rung, False
                self._is_running = again


class Tocsin(Celery):
    """Celery as a doorbell: a message says "look now" and carries nothing.

    Each task finds its own work in the database; a lost message costs one
    sweep, never work.
    """

    def ring(self, name: str) -> None:
        """Ask a worker to run the task, after commit; a dead broker is no error."""
        from django.db import transaction

        transaction.on_commit(lambda: self._ring(name))

    def _ring(self, name: str) -> None:
        try:
            self.send_task(name, expires=60, retry=False, ignore_result=True)
        except Exception as error:  # each transport has its own exceptions
            logger.warning("The bell for %s did not ring: %s", name, error)


app = Tocsin("tocsin", task_cls=Look)
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
add_clock(app)


@setup_logging.connect
def configure_logging(**kwargs: Any) -> None:
    """Keep Django's logging; connecting is what stops Celery from replacing it."""


class Watch:
    """Runs a worker's periodic tasks itself whenever the bell stays silent.

    This is the sweep: with beat dead or every message lost, work is late by
    half a period and nothing more. Each task has a thread of its own, so that
    a long one does not keep the others waiting.
    """

    def __init__(self, queues: set[str]) -> None:
        self.queues = queues
        self.last_run: dict[str, float] = {}
        self.stopped = threading.Event()

    def start(self) -> None:
        for name, period in self.tasks():
            keeper = threading.Thread(
                target=self.keep, args=(name, period), name=f"watch {name}", daemon=True
            )
            keeper.start()

    def tasks(self) -> list[tuple[str, float]]:
        """The periodic tasks of the queues this worker consumes, and their periods."""
        route = app.amqp.router.route
        return [
            (entry["task"], entry["schedule"])
            for entry in app.conf.beat_schedule.values()
            if route({}, entry["task"])["queue"].name in self.queues
        ]

    def note(self, name: str) -> None:
        self.last_run[name] = time.monotonic()

    def keep(self, name: str, period: float) -> None:
        from django.db import close_old_connections

        while not self.stopped.wait(min(1.0, period / 4)):
            silent = time.monotonic() - self.last_run.get(name, -math.inf)
            if silent < period * 1.5:
                continue
            self.note(name)
            try:
                app.tasks[name]()
            except Exception:
                logger.exception("%s failed", name)
            finally:
                close_old_connections()


_watch: Watch | None = None


@worker_ready.connect
def keep_watch(sender: Any, **kwargs: Any) -> None:
    global _watch
    _watch = Watch({queue.name for queue in sender.task_consumer.queues})
    _watch.start()


@task_prerun.connect
def note_bell(task: Any, **kwargs: Any) -> None:
    if _watch:
        _watch.note(task.name)


@worker_shutdown.connect
def end_watch(**kwargs: Any) -> None:
    if _watch:
        _watch.stopped.set()
