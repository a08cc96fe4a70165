"""The bare loop: the same checks on the same schedule, and nothing around them.

python -m bench.bare URL MONITORS INTERVAL SECONDS prints what it cost as JSON.
"""

import heapq
import json
import resource
import sys
import time

import pycurl


def loop(url: str, monitors: int, interval: float, seconds: float) -> dict[str, float]:
    """Check each of so many monitors every interval, spread evenly over it."""
    multi, active, done, late = pycurl.CurlMulti(), 0, 0, []
    began = time.monotonic()
    due = [(began + n * interval / monitors, n) for n in range(monitors)]
    heapq.heapify(due)
    until = began + seconds
    while True:
        now = time.monotonic()
        while due and due[0][0] <= now and now < until:
            moment, _ = heapq.heapreplace(due, (due[0][0] + interval, due[0][1]))
            late.append(now - moment)
            multi.add_handle(_handle(url))
            active += 1
        multi.perform()
        _, succeeded, failed = multi.info_read()
        for curl in [*succeeded, *(f[0] for f in failed)]:
            multi.remove_handle(curl)
            curl.close()
            active -= 1
            done += 1
        if now >= until and not active:
            break
        wait = max(0.0, min(1.0, (due[0][0] if now < until else now) - now))
        if active:
            multi.select(min(wait, 0.05))
        else:
            time.sleep(wait)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    late.sort()
    return {
        "checks": done,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "lateness_p95_ms": late[int(len(late) * 0.95)] * 1000,
    }


def _handle(url: str) -> "pycurl.Curl":
    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, url)
    curl.setopt(pycurl.WRITEFUNCTION, lambda data: None)
    curl.setopt(pycurl.TIMEOUT_MS, 10_000)
    curl.setopt(pycurl.NOSIGNAL, 1)
    curl.setopt(pycurl.FRESH_CONNECT, 1)
    curl.setopt(pycurl.FORBID_REUSE, 1)
    return curl


if __name__ == "__main__":
    _, url, monitors, interval, seconds = sys.argv
    print(json.dumps(loop(url, int(monitors), float(interval), float(seconds))))
