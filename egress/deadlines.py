"""Cutting off what takes too long: one thread for all deadlines of a process.

A thread for each, as threading.Timer makes one, costs more than a small request.
"""

import heapq
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

logger = logging.getLogger(__name__)


class Deadline:
    """Something that is done at a moment, unless it is over before."""

    __slots__ = ("_cut", "_lock", "at", "is_over")

    def __init__(self, at: float, cut: Callable[[], None]) -> None:
        self.at, self._cut, self.is_over = at, cut, False
        self._lock = threading.Lock()

    def come(self) -> None:
        with self._lock:
            if not self.is_over:
                self.is_over = True
                self._cut()

    def end(self) -> None:
        """From now on nothing is cut; what is just being cut, is before this ends."""
        with self._lock:
            self.is_over = True


class Reaper:
    """Waits for the next deadline, and no thread is there before the first."""

    # Those that are over leave when their moment comes; sooner, if so many wait.
    MOST: Final = 4096

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Deadline]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, deadline: Deadline) -> None:
        with self._changed:
            if len(self._heap) >= self.MOST:
                self._heap = [entry for entry in self._heap if not entry[2].is_over]
                heapq.heapify(self._heap)
            heapq.heappush(self._heap, (deadline.at, next(self._numbers), deadline))
            if self._thread is None:
                name = "deadlines"
                self._thread = threading.Thread(
                    target=self._run, name=name, daemon=True
                )
                self._thread.start()
            elif self._heap[0][2] is deadline:
                self._changed.notify()

    def _run(self) -> None:
        while True:
            due = self._next()
            try:
                due.come()
            except Exception:
                logger.exception("A deadline could not be kept")

    def _next(self) -> Deadline:
        with self._changed:
            while True:
                while self._heap and self._heap[0][2].is_over:
                    heapq.heappop(self._heap)
                wait = self._heap[0][0] - time.monotonic() if self._heap else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._heap)[2]
                self._changed.wait(wait)


_reaper = Reaper()


def _begin_anew() -> None:
    """Threads do not live on in a child process."""
    global _reaper
    _reaper = Reaper()


os.register_at_fork(after_in_child=_begin_anew)


def later(seconds: float, act: Callable[[], None]) -> Deadline:
    """Have something done on another thread after so many seconds."""
    ours = Deadline(time.monotonic() + seconds, act)
    _reaper.add(ours)
    return ours


@contextmanager
def deadline(seconds: float, cut: Callable[[], None]) -> Iterator[None]:
    """Call `cut` on another thread if what follows is not over by then."""
    ours = later(seconds, cut)
    try:
        yield
    finally:
        ours.end()
