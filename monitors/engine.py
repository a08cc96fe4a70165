"""Runs checks: each at its own moment, all at once, each with one deadline.

One thread drives every HTTP transfer; other kinds of check run on threads of
their kind. Another thread writes down what has answered, so that neither a
hanging target nor the database delays the next check.
"""

import heapq
import itertools
import logging
import os
import resource
import threading
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db import close_old_connections, connections
from django.utils import timezone

from egress.client import RequestFailed, Response
from egress.transfers import Transfers

from .checkers import HTTPLike, Outcome
from .checkers.base import NO_DATA, UP
from .instants import ms
from .metering import Meter, name_of_worker
from .models import Claim, MonitorState, Prober
from .observing import FAILING
from .recording import Observation, record
from .runners import Runners
from .watchdog import OFFLINE, Watchdog

logger = logging.getLogger(__name__)

# What changes something, or may, is written down at once, unless that was done
# BURST times just now: then so often only, however much there is. The rest can wait.
FIRST_SECONDS: Final = 0.01
FLUSH_SECONDS: Final = 0.2
BURST: Final = 10
CALM_SECONDS: Final = 1.0
FLUSH_RESULTS: Final = 500
MOST_IN_FLIGHT: Final = 10_000
# Descriptors that are not for checks: the database, logs, bells.
OTHER_FILES: Final = 100


class Engine:
    def __init__(self) -> None:
        self._planned: list[tuple[float, int, Claim]] = []
        self._order = itertools.count()
        self._held: dict[tuple[int, int], tuple[float, Claim]] = {}
        self._answered: list[Observation] = []
        self._has_news, self._pace = False, Pace()
        self._heard: deque[tuple[Claim, datetime, Outcome]] = deque()
        self._lock = threading.Condition()
        self._started = False
        self._stopping = False
        self._wake_out, self._wake_in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._transfers = Transfers()
        self._watchdog = Watchdog(settings.WATCHDOG_URLS, self._transfers)
        self._runners = Runners()
        self._most = min(MOST_IN_FLIGHT, files() - OTHER_FILES)
        self._moved = {"engine": time.monotonic(), "recorder": time.monotonic()}
        self._prober: int | None = None
        self.meter = Meter()

    # What others call

    @property
    def room(self) -> int:
        """How many more checks may be claimed."""
        return max(0, self._most - len(self._held))

    def submit(self, claims: Iterable[Claim]) -> None:
        """Start each claim at the moment it is due, or now if that is past."""
        now, clock = ms(timezone.now()), time.monotonic()
        with self._lock:
            for claim in claims:
                start = clock + max(0, claim.due - now) / 1000
                heapq.heappush(self._planned, (start, next(self._order), claim))
                self._held[claim.number, claim.plan.pk] = (start, claim)
            if not self._started:
                self._started = True
                for name, run in (("engine", self._drive), ("recorder", self._write)):
                    threading.Thread(target=run, name=name, daemon=True).start()
        self._wake()

    def wait_idle(self, seconds: float) -> bool:
        """Wait until everything submitted is recorded; False if time ran out."""
        with self._lock:
            self._has_news = True
            self._lock.notify_all()
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
        self.meter.write()

    def renew(self) -> None:
        """Keep the lease of whatever takes its time."""
        lease = settings.CHECK_LEASE_SECONDS
        old = time.monotonic() - lease / 3
        with self._lock:
            held = [c for start, c in self._held.values() if start < old]
        if held:
            MonitorState.renew(
                [c.plan.pk for c in held],
                {c.number for c in held},
                until=timezone.now() + timedelta(seconds=lease),
            )

    def still_for(self) -> float:
        """Seconds since the thread that has been still the longest last moved."""
        if not self._started:
            return 0.0
        return time.monotonic() - min(self._moved.values())

    # The driving thread

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # it is full of wakes already
            os.write(self._wake_in, b"!")

    def _drive(self) -> None:
        self._transfers.watch(self._wake_out)
        while not self._stopping:
            self._moved["engine"] = time.monotonic()
            try:
                self._transfers.run(self._start_due())
                self._drain_wakes()
                self._take_heard()
                self._runners.give_up()
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
                    return min(wait, 1.0)
                claim = heapq.heappop(self._planned)[2]
            self._start(claim)

    def _start(self, claim: Claim) -> None:
        at, plan = timezone.now(), claim.plan
        self.meter.started(ms(at) - claim.due)
        checker = plan.checker
        if checker is None:
            self._answer(claim, at, Outcome(NO_DATA, error=plan.problem))
        elif isinstance(checker, HTTPLike):

            def done(answer: Response | RequestFailed) -> None:
                self._doubt(claim, at, checker.judge(answer))

            self._transfers.start(checker.request(), done)
        else:

            def hear(outcome: Outcome) -> None:
                # On the runner's thread; doubts are for the driving one.
                self._heard.append((claim, at, outcome))
                self._wake()

            self._runners.submit(plan.kind, checker, plan.tag, hear)

    def _take_heard(self) -> None:
        while self._heard:
            self._doubt(*self._heard.popleft())

    def _doubt(self, claim: Claim, at: datetime, outcome: Outcome) -> None:
        """Take a failure for one only while our own line is up."""
        checker = claim.plan.checker
        is_line = checker is not None and checker.needs_line
        if outcome.status not in FAILING or not is_line:
            self._answer(claim, at, outcome)
            return

        def tell(is_online: bool) -> None:
            found = outcome if is_online else _blind(outcome)
            self._answer(claim, at, found)

        self._watchdog.ask(tell, is_news=claim.last_seen not in FAILING)

    def _answer(self, claim: Claim, at: datetime, outcome: Outcome) -> None:
        calm = outcome.status == claim.last_seen == UP
        with self._lock:
            self._answered.append(Observation(claim, at, outcome))
            if not calm and not self._has_news:
                self._has_news = True
                self._lock.notify_all()
            elif len(self._answered) in (1, FLUSH_RESULTS):
                self._lock.notify_all()

    # The writing thread

    def _write(self) -> None:
        try:
            while self._write_next():
                self.meter.write_due()
                close_old_connections()
        finally:
            connections.close_all()

    def _write_next(self) -> bool:
        """Write down what has answered, if anything; False if that was all."""
        self._moved["recorder"] = time.monotonic()
        with self._lock:
            self._lock.wait_for(lambda: self._answered or self._stopping, 1.0)
            batch = self._gather()
            if not self._answered and self._stopping:
                return False
        if batch:
            self._flush(batch)
        return True

    def _gather(self) -> list[Observation]:
        """Wait a little for more, if what is there can wait."""
        if not self._answered:
            return []

        def is_enough() -> bool:
            return len(self._answered) >= FLUSH_RESULTS or self._stopping

        if not self._lock.wait_for(lambda: self._has_news or is_enough(), CALM_SECONDS):
            return self._answered[:]
        self._lock.wait_for(is_enough, self._pace.wait(time.monotonic()))
        self._has_news = False
        self._pace.spend(time.monotonic())
        return self._answered[:]

    def _flush(self, batch: list[Observation]) -> None:
        began = time.monotonic()
        try:
            if self._prober is None:
                self._prober = Prober.named(name_of_worker())
            record(batch, by=self._prober)
        except Exception:
            # They stay in memory and are tried again: an observation that was
            # made is not lost to a database that is away for a moment.
            logger.exception("%d results could not be recorded yet", len(batch))
            time.sleep(1.0)
            return
        self.meter.flushed(time.monotonic() - began)
        with self._lock:
            del self._answered[: len(batch)]
            for observation in batch:
                claim = observation.claim
                self._held.pop((claim.number, claim.plan.pk), None)
            self._lock.notify_all()


class Pace:
    """How long news wait for more of them: few wait for nothing but what comes with
    them, and many go together, so that none is written down by itself under load."""

    def __init__(self) -> None:
        # When all that was written down would have been, FLUSH_SECONDS apart.
        self._spent_until = 0.0

    def wait(self, now: float) -> float:
        ahead = self._spent_until - now
        return max(FIRST_SECONDS, ahead - (BURST - 1) * FLUSH_SECONDS)

    def spend(self, now: float) -> None:
        spent = max(self._spent_until, now) + FLUSH_SECONDS
        # However much there was, news wait for FLUSH_SECONDS at the most.
        self._spent_until = min(spent, now + BURST * FLUSH_SECONDS)


def _blind(outcome: Outcome) -> Outcome:
    reason = f"{OFFLINE} ({outcome.error})" if outcome.error else OFFLINE
    return replace(outcome, status=NO_DATA, error=reason, answer=None)


def files() -> int:
    """Return how many files this process may open, having asked for the most."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_IN_FLIGHT * 2 if hard == resource.RLIM_INFINITY else hard
    if soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return soft


_engine: Engine | None = None
_making = threading.Lock()


def engine() -> Engine:
    """The engine of this process, made at first use."""
    global _engine
    with _making:
        if _engine is None:
            _engine = Engine()
        return _engine


def engine_still_for() -> float:
    """Seconds since the engine last moved; 0.0 if there is none."""
    return _engine.still_for() if _engine else 0.0
