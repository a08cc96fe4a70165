"""The Celery application: the bell, and the watch kept in case it is not heard."""

import logging
import os
import threading
import time
from typing import Any

from celery import Celery
from celery.signals import setup_logging, task_prerun, worker_ready, worker_shutdown

from . import broker  # noqa: F401  registers doorbell://

logger = logging.getLogger(__name__)

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")


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


app = Tocsin("tocsin")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def configure_logging(**kwargs: Any) -> None:
    """Keep Django's logging; connecting is what stops Celery from replacing it."""


class Watch(threading.Thread):
    """Runs a worker's periodic tasks itself whenever the bell stays silent.

    This is the sweep: with beat dead or every message lost, work is late by
    one period and nothing more.
    """

    def __init__(self, worker: Any) -> None:
        super().__init__(name="watch", daemon=True)
        self.queues = {queue.name for queue in worker.task_consumer.queues}
        self.last_run: dict[str, float] = {}
        self.stopped = threading.Event()

    def note(self, name: str) -> None:
        self.last_run[name] = time.monotonic()

    def mine(self) -> list[tuple[str, float]]:
        """The periodic tasks routed to the queues this worker consumes."""
        routes = app.amqp.router
        return [
            (entry["task"], entry["schedule"])
            for entry in app.conf.beat_schedule.values()
            if routes.route({}, entry["task"])["queue"].name in self.queues
        ]

    def run(self) -> None:
        from django.db import close_old_connections

        tasks = self.mine()
        while not self.stopped.wait(0.25):
            for name, period in tasks:
                if time.monotonic() - self.last_run.get(name, 0.0) < period * 1.5:
                    continue
                self.note(name)
                try:
                    app.tasks[name].run()
                except Exception:
                    logger.exception("%s failed", name)
                finally:
                    close_old_connections()


_watch: Watch | None = None


@worker_ready.connect
def keep_watch(sender: Any, **kwargs: Any) -> None:
    global _watch
    _watch = Watch(sender)
    _watch.start()


@task_prerun.connect
def note_bell(task: Any, **kwargs: Any) -> None:
    if _watch:
        _watch.note(task.name)


@worker_shutdown.connect
def end_watch(**kwargs: Any) -> None:
    if _watch:
        _watch.stopped.set()
