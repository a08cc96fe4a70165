"""The Celery application: the bell, and the watch kept in case it is not heard."""

import logging
import math
import os
import sys
import threading
import time
from typing import Any, Final

from celery import Celery, Task
from celery.signals import (
    setup_logging,
    task_prerun,
    worker_init,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)

from . import broker  # registers doorbell://
from .clock import add_clock
from .sentinel import Sentinel, pulse_from_parent

logger = logging.getLogger(__name__)

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

# In seconds. Python's own 5 ms are lost after each answer of the database while
# another thread computes, such as drawing a page: a notice asks a dozen times.
SWITCH_AFTER: Final = 0.0005


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


@worker_init.connect
def take_turns(**kwargs: Any) -> None:
    """Let a thread that computes hold up those that deliver for a moment only."""
    sys.setswitchinterval(SWITCH_AFTER)


class Watch:
    """Runs a worker's periodic tasks itself, as often as WATCH_SECONDS says.

    This is the sweep: without a clock, and with every message lost, work is late
    by a second and nothing more. Each task has a thread of its own, so that a
    long one delays no other; but all look in step, because a processor that is
    awake and warm does it for half the price.
    """

    def __init__(self, queues: set[str]) -> None:
        self.queues = queues
        self.began = time.monotonic()
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
        from django.conf import settings

        route = app.amqp.router.route
        return [
            (name, period)
            for name, period in settings.WATCH_SECONDS.items()
            if route({}, name)["queue"].name in self.queues
        ]

    def note(self, name: str) -> None:
        self.last_run[name] = time.monotonic()

    def due(self, name: str, period: float) -> float:
        """The next step of the period; but not what a bell has only just started."""
        if name not in self.last_run:
            return self.began
        soonest = self.last_run[name] + period / 10
        return self.began + math.ceil((soonest - self.began) / period) * period

    def wait(self, name: str, period: float) -> bool:
        """Wait until the task is due; False if the watch is over."""
        while (left := self.due(name, period) - time.monotonic()) > 0:
            if self.stopped.wait(left):
                break
        return not self.stopped.is_set()

    def keep(self, name: str, period: float) -> None:
        from django.db import close_old_connections, connections

        # A connection that is wanted twice a minute is not worth its memory.
        part = close_old_connections if period < 30 else connections.close_all
        while self.wait(name, period):
            self.note(name)
            try:
                app.tasks[name]()
            except Exception:
                logger.exception("%s failed", name)
            finally:
                part()


_watch: Watch | None = None
_sentinel: Sentinel | None = None


@worker_ready.connect
def keep_watch(sender: Any, **kwargs: Any) -> None:
    global _watch
    _watch = Watch({queue.name for queue in sender.task_consumer.queues})
    _watch.start()


@worker_ready.connect
def post_sentinel(**kwargs: Any) -> None:
    global _sentinel
    from django.conf import settings

    from monitors.engine import engine_still_for

    _sentinel = Sentinel(
        "The engine",
        engine_still_for,
        limit=settings.WORKER_STUCK_SECONDS,
        pulse=pulse_from_parent(),
    )
    _sentinel.start()


@task_prerun.connect
def note_bell(task: Any, **kwargs: Any) -> None:
    if _watch:
        _watch.note(task.name)


@worker_shutting_down.connect
def stop_listening(**kwargs: Any) -> None:
    """Celery sees that it is to end only when it has stopped waiting for messages."""
    broker.leave()


@worker_shutdown.connect
def end_watch(**kwargs: Any) -> None:
    if _watch:
        _watch.stopped.set()
    if _sentinel:
        _sentinel.stopped.set()
