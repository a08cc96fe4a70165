"""The bare loop: the same checks on the same schedule, and nothing around them.

python -m bench.bare reads a plan as JSON, by the names of Loop's arguments, and
prints what the checks cost as JSON. It imports nothing of the product.
"""

import heapq
import json
import sys
import time
from typing import Any, Final

import pycurl

# Shorter than the time in which libcurl might want to be called again.
LONGEST_WAIT: Final = 0.05
DEADLINE_MS: Final = 10_000


class Loop:
    """Checks one address for each phase, once an interval, on a new connection.

    Phases are seconds after each multiple of the interval. What is measured
    begins after the warm-up; all lengths are in seconds.
    """

    def __init__(
        self,
        url: str,
        phases: list[float],
        interval: float,
        warm_up: float,
        seconds: float,
        bundle: str,
    ) -> None:
        self._url, self._interval, self._bundle = url, interval, bundle
        self._multi, self._active = pycurl.CurlMulti(), 0
        began = time.time()
        self._measured = began + warm_up
        self._until = self._measured + seconds
        self._due = [_first(began, phase, interval) for phase in phases]
        heapq.heapify(self._due)
        self._late: list[float] = []
        self._not_up = 0

    def run(self) -> dict[str, Any]:
        """Return CPU in seconds and every lateness in seconds."""
        self._go_on_until(self._measured)
        self._late.clear()
        self._not_up, cpu = 0, time.process_time()
        self._go_on_until(self._until)
        while self._active:
            self._move(LONGEST_WAIT)
        return {
            "cpu_seconds": round(time.process_time() - cpu, 3),
            "not_up": self._not_up,
            "late": self._late,
        }

    def _go_on_until(self, end: float) -> None:
        while (now := time.time()) < end:
            self._start_due(now)
            self._move(max(0.0, min(self._due[0], end) - now))

    def _start_due(self, now: float) -> None:
        while self._due[0] <= now:
            due = heapq.heapreplace(self._due, self._due[0] + self._interval)
            self._late.append(now - due)
            self._multi.add_handle(self._handle())
            self._active += 1

    def _move(self, seconds: float) -> None:
        """Move all transfers on, then wait for so long or for one of them."""
        self._multi.perform()
        _, succeeded, failed = self._multi.info_read()
        for curl in [*succeeded, *(curl for curl, *_ in failed)]:
            self._finish(curl)
        if self._active:
            self._multi.select(min(seconds, LONGEST_WAIT))
        else:
            time.sleep(seconds)

    def _finish(self, curl: "pycurl.Curl") -> None:
        self._not_up += curl.getinfo(pycurl.RESPONSE_CODE) != 200
        self._multi.remove_handle(curl)
        curl.close()
        self._active -= 1

    def _handle(self) -> "pycurl.Curl":
        curl = pycurl.Curl()
        curl.setopt(pycurl.URL, self._url)
        curl.setopt(pycurl.WRITEFUNCTION, lambda data: None)
        curl.setopt(pycurl.TIMEOUT_MS, DEADLINE_MS)
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.FRESH_CONNECT, 1)
        curl.setopt(pycurl.FORBID_REUSE, 1)
        if self._bundle:
            curl.setopt(pycurl.CAINFO, self._bundle)
        return curl


def _first(after: float, phase: float, interval: float) -> float:
    return ((after - phase) // interval + 1) * interval + phase


if __name__ == "__main__":
    print(json.dumps(Loop(**json.load(sys.stdin)).run()))
