"""The clock inside a worker, `celery worker --clock`: one process less."""

import logging
import os
import threading
from typing import Any

from celery import Celery, bootsteps
from celery.beat import Service
from celery.signals import worker_shutting_down
from click import Option

logger = logging.getLogger(__name__)

# A task that never returns would keep its worker from ending.
LONGEST_FAREWELL = 6.0


class Clock(bootsteps.StartStopStep):
    """Runs beat on a thread of the worker that has the option."""

    def __init__(self, worker: Any, clock: bool = False, **options: Any) -> None:
        super().__init__(worker, **options)
        self.enabled = clock
        self._ended = threading.Event()
        self._service: Service | None = None

    def start(self, worker: Any) -> None:
        threading.Thread(
            target=self._run, args=[worker.app], name="clock", daemon=True
        ).start()

    def stop(self, worker: Any) -> None:
        self._ended.set()
        if self._service:
            self._service.stop()

    def _run(self, app: Celery) -> None:
        """Keep the clock going; a database that is away for a moment stops it not."""
        from django.db import connections

        app.set_current()
        while not self._ended.is_set():
            self._service = Service(
                app,
                max_interval=1,
                scheduler_cls=app.conf.beat_scheduler,
                remote_control=False,
            )
            try:
                self._service.start()
            except Exception:
                logger.exception("The clock stumbled")
            finally:
                connections.close_all()
            self._ended.wait(1.0)


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
