"""Ends a worker that stands still, so that whoever started it starts another."""

import faulthandler
import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

logger = logging.getLogger(__name__)

# Names the pipe that says we live, if our parent listens (`config/children.py`).
PULSE: Final = "TOCSIN_PULSE_FD"
LONGEST_PAUSE: Final = 2.0


class Sentinel:
    """Looks every couple of seconds whether something still moves."""

    def __init__(
        self,
        what: str,
        still_for: Callable[[], float],
        *,
        limit: float,
        pulse: int | None = None,
    ) -> None:
        self.what, self.still_for, self.limit = what, still_for, limit
        self.pause = min(LONGEST_PAUSE, limit / 4)
        self.pulse = pulse
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._stand, name="sentinel", daemon=True)
        self._is_suspected = False

    def start(self) -> None:
        self.thread.start()

    def _stand(self) -> None:
        self._beat()
        while not self.stopped.wait(self.pause):
            self._beat()
            try:
                self._look()
            except Exception:
                logger.exception("%s cannot be asked whether it moves", self.what)

    def _beat(self) -> None:
        if self.pulse is not None:
            with suppress(OSError):  # it is full, or nobody listens any more
                os.write(self.pulse, b".")

    def _look(self) -> None:
        """End the process if it is too still, twice in a row.

        Once may be a process that was itself stopped for a while, and has only
        just been let go on.
        """
        still = self.still_for()
        was_suspected, self._is_suspected = self._is_suspected, still > self.limit
        if was_suspected and self._is_suspected:
            end(f"{self.what} has stood still for {still:.0f} seconds")


def end(reason: str) -> None:
    """End at once, saying what every thread was doing: a farewell could hang, too."""
    logger.critical("%s; this process ends, for another to begin.", reason)
    faulthandler.dump_traceback()
    os._exit(os.EX_SOFTWARE)


def pulse_from_parent() -> int | None:
    """The pipe that our parent listens at; our own children are not to hold it."""
    given = os.environ.pop(PULSE, "")
    if not given:
        return None
    pulse = int(given)
    os.set_inheritable(pulse, False)
    os.set_blocking(pulse, False)
    return pulse
