"""How the engine itself is doing: counted in memory, written a few times a minute."""

import logging
import os
import socket
import threading
import time
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.utils import timezone

from .instants import instant, ms
from .models import EngineMinute
from .sketches import Sketch

logger = logging.getLogger(__name__)

MINUTE: Final = 60_000
WRITE_SECONDS: Final = 10.0
KEPT: Final = timedelta(days=7)


def name_of_worker() -> str:
    """Who checks, as results and figures name it."""
    return settings.WORKER_NAME or socket.gethostname()


class _Minute:
    def __init__(self, at: int) -> None:
        self.at, self.checks = at, 0
        self.lateness, self.flushes = Sketch(), Sketch()


class Meter:
    """Counts what one engine does. Any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._minutes: dict[int, _Minute] = {}
        self._written_at = time.monotonic()
        self._is_changed = False

    def started(self, late: int) -> None:
        """A check has been started so many milliseconds after it was due."""
        with self._lock:
            minute = self._now()
            minute.checks += 1
            minute.lateness.add(late)
            self._is_changed = True

    def flushed(self, seconds: float) -> None:
        """Results have been written and evaluated, in so many seconds."""
        with self._lock:
            self._now().flushes.add(seconds * 1000)
            self._is_changed = True

    def _now(self) -> _Minute:
        at = ms(timezone.now()) // MINUTE * MINUTE
        if at not in self._minutes:
            self._minutes[at] = _Minute(at)
        return self._minutes[at]

    def write_due(self) -> None:
        if time.monotonic() - self._written_at >= WRITE_SECONDS:
            self.write()

    def write(self) -> None:
        """Write what has changed; a database that is away for a moment is no error."""
        self._written_at = time.monotonic()
        with self._lock:
            if not self._is_changed:
                return
            self._is_changed = False
            minutes = list(self._minutes.values())
            newest = max(self._minutes)
            self._minutes = {newest: self._minutes[newest]}
            worker = f"{name_of_worker()}:{os.getpid()}"[:150]
            rows = [
                EngineMinute(
                    worker=worker,
                    at=instant(minute.at),
                    checks=minute.checks,
                    lateness=minute.lateness.to_bytes(),
                    flushes=minute.flushes.to_bytes(),
                )
                for minute in minutes
            ]
        try:
            EngineMinute.objects.bulk_create(
                rows,
                update_conflicts=True,
                unique_fields=["worker", "at"],
                update_fields=["checks", "lateness", "flushes"],
            )
        except Exception:
            logger.exception("The engine's figures could not be written")


def forget(at: datetime) -> int:
    """Delete the minutes that are too old at this moment; return how many."""
    deleted, _ = EngineMinute.objects.filter(at__lt=at - KEPT).delete()
    return deleted
