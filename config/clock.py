"""The clock inside a worker, `celery worker --clock`: one process less."""

import logging
import os
import threading
from typing import Any

from celery import Celery, bootsteps
from celery.signals import worker_shutting_down
from click import Option
from kombu.utils.imports import symbol_by_name

logger = logging.getLogger(__name__)

# A task that never returns would keep its worker from ending.
LONGEST_FAREWELL = 6.0


class Clock(bootsteps.StartStopStep):
    """Runs beat on a thread of the worker that has the option."""

    def __init__(self, worker: Any, clock: bool = False, **options: Any) -> None:
        super().__init__(worker, **options)
        self.enabled = clock
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, worker: Any) -> None:
        self._thread = threading.Thread(
            target=self._run, args=[worker.app], name="clock", daemon=True
        )
        self._thread.start()

    def stop(self, worker: Any) -> None:
        """End, and leave the time for noting what has rung when."""
        self._ended.set()
        if self._thread:
            self._thread.join(2.0)

    def _run(self, app: Celery) -> None:
        """Keep the clock going; a database that is away for a moment stops it not."""
        from django.db import connections

        app.set_current()
        while not self._ended.is_set():
            try:
                self._ring(app)
            except Exception:
                logger.exception("The clock stumbled")
            finally:
                connections.close_all()
            self._ended.wait(1.0)

    def _ring(self, app: Celery) -> None:
        """Ring until the end. Celery's own loop sleeps through being stopped."""
        scheduler = symbol_by_name(app.conf.beat_scheduler)(app=app)
        try:
            while not self._ended.wait(scheduler.tick()):
                pass
        finally:
            scheduler.close()


def add_clock(app: Celery) -> None:
    app.user_options["worker"].add(
        Option(["--clock"], is_flag=True, help="Run the clock (beat) as well.")
    )
    app.steps["worker"].add(Clock)


@worker_shutting_down.connect
def bound_farewell(**kwargs: Any) -> None:
    end = threading.Timer(LONGEST_FAREWELL, os._exit, [1])
    end.daemon = True
    end.start()
