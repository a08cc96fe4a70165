"""Threads for the kinds of check that are no HTTP exchange.

Each kind has threads of its own, so that a slow kind keeps only itself
waiting. A check that does not keep its deadline is answered for, and its
thread replaced: it may hang in a call that nothing can interrupt.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Final

from django.db import connections

from .checkers import Checker, Outcome
from .checkers.base import DOWN, NO_DATA

logger = logging.getLogger(__name__)

MOST_THREADS: Final = 256  # of one kind
IDLE_SECONDS: Final = 30.0
# So much later than its deadline a check has certainly not kept it.
GRACE_SECONDS: Final = 2.0

Done = Callable[[Outcome], None]


class _Task:
    """One check on its way; whoever takes the answer first gives it."""

    def __init__(self, checker: Checker, tag: str, done: Done) -> None:
        self.checker, self.tag, self._done = checker, tag, done
        self.give_up_at = float("inf")
        self._lock = threading.Lock()
        self._is_answered = False

    def begin(self) -> None:
        self.give_up_at = time.monotonic() + self.checker.timeout + GRACE_SECONDS

    def answer(self, outcome: Outcome) -> bool:
        with self._lock:
            if self._is_answered:
                return False
            self._is_answered = True
        self._done(outcome)
        return True

    def run(self) -> bool:
        """Check, and answer; False if somebody else has answered meanwhile."""
        try:
            outcome = self.checker.run()
        except Exception as error:
            logger.exception("The checker of %s failed", self.tag)
            outcome = Outcome(NO_DATA, error=f"The checker itself failed: {error}")
        finally:
            # The check of ourselves asks the database; threads that wait hold none.
            connections.close_all()
        return self.answer(outcome)


class _Kind:
    """The threads of one kind; they come with the work and go without it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._waiting: queue.SimpleQueue[_Task] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = self._idle = 0
        self._running: set[_Task] = set()

    def submit(self, task: _Task) -> None:
        self._waiting.put(task)
        with self._lock:
            if self._idle >= self._waiting.qsize() or self._threads >= MOST_THREADS:
                return
            self._threads += 1
        self._start()

    def _start(self) -> None:
        name = f"check {self.name}"
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def _work(self) -> None:
        while task := self._next():
            task.begin()
            with self._lock:
                self._running.add(task)
            is_mine = task.run()
            with self._lock:
                self._running.discard(task)
            if not is_mine:
                return  # given up, and another thread is there in its place

    def _next(self) -> _Task | None:
        with self._lock:
            self._idle += 1
        try:
            return self._waiting.get(timeout=IDLE_SECONDS)
        except queue.Empty:
            with self._lock:
                self._threads -= 1
            return None
        finally:
            with self._lock:
                self._idle -= 1

    def give_up(self, now: float) -> None:
        """Answer for whatever has not kept its deadline, and replace its thread."""
        with self._lock:
            late = [task for task in self._running if task.give_up_at < now]
        for task in late:
            seconds = task.checker.timeout
            if task.answer(Outcome(DOWN, error=f"No answer within {seconds:g} s")):
                logger.error("The check of %s hangs; its thread is replaced", task.tag)
                with self._lock:
                    self._running.discard(task)
                self._start()


class Runners:
    def __init__(self) -> None:
        self._kinds: dict[str, _Kind] = {}

    def submit(self, kind: str, checker: Checker, tag: str, done: Done) -> None:
        if kind not in self._kinds:
            self._kinds[kind] = _Kind(kind)
        self._kinds[kind].submit(_Task(checker, tag, done))

    def give_up(self) -> None:
        now = time.monotonic()
        for kind in self._kinds.values():
            kind.give_up(now)
