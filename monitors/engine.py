"""Runs checks: each at its own moment, all at once, each with one deadline.

One thread drives every HTTP transfer; other kinds of check run on a pool. A
second thread writes down what has answered, every 250 ms or 100 results, so
that neither a hanging target nor the database delays the next check.
"""

import heapq
import itertools
import logging
import os
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db import close_old_connections
from django.utils import timezone

from egress.client import RequestFailed, Response
from egress.kinds import ConfigInvalid
from egress.transfers import Transfers

from .checkers import HTTPLike, Outcome
from .checkers.base import NO_DATA
from .models import Claim, MonitorState
from .recording import Observation, record

logger = logging.getLogger(__name__)

FLUSH_SECONDS: Final = 0.25
FLUSH_RESULTS: Final = 100
MOST_IN_FLIGHT: Final = 2000
POOL_THREADS: Final = 32


class Engine:
    def __init__(self) -> None:
        self._planned: list[tuple[float, int, Claim]] = []
        self._order = itertools.count()
        self._held: dict[tuple[int, int], tuple[float, Claim]] = {}
        self._answered: list[Observation] = []
        self._lock = threading.Condition()
        self._started = False
        self._stopping = False
        self._wake_out, self._wake_in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._transfers = Transfers()
        self._pool = ThreadPoolExecutor(POOL_THREADS, thread_name_prefix="check")

    # What others call

    @property
    def room(self) -> int:
        """How many more checks may be claimed."""
        return max(0, MOST_IN_FLIGHT - len(self._held))

    def submit(self, claims: Iterable[Claim]) -> None:
        """Start each claim at the moment it is due, or now if that is past."""
        now, clock = timezone.now(), time.monotonic()
        with self._lock:
            for claim in claims:
                wait = (claim.due_at - now).total_seconds()
                start = clock + max(0.0, wait)
                heapq.heappush(self._planned, (start, next(self._order), claim))
                self._held[claim.number, claim.monitor.pk] = (start, claim)
            if not self._started:
                self._started = True
                for name, run in (("engine", self._drive), ("recorder", self._write)):
                    threading.Thread(target=run, name=name, daemon=True).start()
        self._wake()

    def wait_idle(self, seconds: float) -> bool:
        """Wait until everything submitted is recorded; False if time ran out."""
        with self._lock:
            return self._lock.wait_for(lambda: not self._held, seconds)

    def stop(self) -> None:
        """Record what has answered and give the rest back for others to check."""
        with self._lock:
            self._stopping = True
            answered = {id(o.claim) for o in self._answered}
            given_back = [c for _, c in self._held.values() if id(c) not in answered]
            self._planned.clear()
            self._lock.notify_all()
        self._wake()
        MonitorState.release(given_back)
        with self._lock:
            self._lock.wait_for(lambda: not self._answered, 3)

    def renew(self) -> None:
        """Keep the lease of whatever takes its time."""
        lease = settings.CHECK_LEASE_SECONDS
        old = time.monotonic() - lease / 3
        with self._lock:
            numbers = {c.number for start, c in self._held.values() if start < old}
            ids = [c.monitor.pk for start, c in self._held.values() if start < old]
        if ids:
            MonitorState.renew(
                ids, numbers, until=timezone.now() + timedelta(seconds=lease)
            )

    # The driving thread

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # it is full of wakes already
            os.write(self._wake_in, b"!")

    def _drive(self) -> None:
        self._transfers.watch(self._wake_out)
        while not self._stopping:
            try:
                self._transfers.run(self._start_due())
                self._drain_wakes()
            except Exception:
                logger.exception("The engine stumbled")
                time.sleep(0.1)

    def _drain_wakes(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self._wake_out, 4096):
                pass

    def _start_due(self) -> float:
        """Start what is due; return the seconds until something else is."""
        while True:
            with self._lock:
                if not self._planned:
                    return 1.0
                wait = self._planned[0][0] - time.monotonic()
                if wait > 0:
                    return wait
                claim = heapq.heappop(self._planned)[2]
            self._start(claim)

    def _start(self, claim: Claim) -> None:
        at = timezone.now()
        try:
            checker = claim.monitor.checker
        except (ConfigInvalid, KeyError) as error:
            reason = f"The monitor cannot be checked: {error}"
            self._answer(claim, at, Outcome(NO_DATA, error=reason))
            return
        if isinstance(checker, HTTPLike):

            def done(answer: Response | RequestFailed) -> None:
                self._answer(claim, at, checker.judge(answer))

            self._transfers.start(checker.request(), done)
        else:
            self._pool.submit(self._run, claim)

    def _run(self, claim: Claim) -> None:
        at = timezone.now()
        try:
            outcome = claim.monitor.checker.run()
        except Exception as error:
            logger.exception("The checker of %s failed", claim.monitor.tag)
            outcome = Outcome(NO_DATA, error=f"The checker itself failed: {error}")
        self._answer(claim, at, outcome)

    def _answer(self, claim: Claim, at: datetime, outcome: Outcome) -> None:
        with self._lock:
            self._answered.append(Observation(claim, at, outcome))
            self._lock.notify_all()

    # The writing thread

    def _write(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._answered or self._stopping)
                if not self._answered and self._stopping:
                    return
                self._lock.wait_for(
                    lambda: len(self._answered) >= FLUSH_RESULTS or self._stopping,
                    FLUSH_SECONDS,
                )
                batch = self._answered[:]
            self._flush(batch)

    def _flush(self, batch: list[Observation]) -> None:
        try:
            record(batch)
        except Exception:
            # They stay in memory and are tried again: an observation that was
            # made is not lost to a database that is away for a moment.
            logger.exception("%d results could not be recorded yet", len(batch))
            time.sleep(1.0)
            return
        finally:
            close_old_connections()
        with self._lock:
            del self._answered[: len(batch)]
            for observation in batch:
                claim = observation.claim
                self._held.pop((claim.number, claim.monitor.pk), None)
            self._lock.notify_all()


_engine: Engine | None = None
_making = threading.Lock()


def engine() -> Engine:
    """The engine of this process, made at first use."""
    global _engine
    with _making:
        if _engine is None:
            _engine = Engine()
        return _engine
