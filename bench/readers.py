"""Ten readers of the public page without a pause: what they do to the checks."""

import argparse
import http.client
import re
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from . import players
from .stage import stage

RATE: Final = re.compile(r"Requests/sec: +([\d.]+)")
FAILED: Final = re.compile(r"Non-2xx or 3xx responses: (\d+)")
SOCKETS: Final = re.compile(r"connect (\d+), read (\d+), write (\d+), timeout (\d+)")
# Every browser asks for this.
HEADERS: Final = {"Accept-Encoding": "gzip"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--monitors", type=int, default=100)
    parser.add_argument("--interval", type=int, default=5, help="seconds")
    parser.add_argument("--readers", type=int, default=10, help="connections")
    parser.add_argument("--seconds", type=int, default=120, help="what is measured")
    parser.add_argument("--warm-up", type=int, default=15, help="seconds before that")


def run(options: argparse.Namespace) -> dict[str, Any]:
    longest = players.longest(options.seconds + options.warm_up)
    port = players.free_port()
    with stage(), players.target(longest) as url:
        from . import observing

        monitors = observing.fill([url] * options.monitors, options.interval)
        with players.up(port) as up, ThreadPoolExecutor(1) as pool:
            observing.warm_up([up], options.warm_up)
            reading = pool.submit(read, port, options.readers, options.seconds)
            found = observing.observe_up(monitors, up, options.seconds)
            return {**found, **reading.result()}


def read(port: int, readers: int, seconds: float) -> dict[str, Any]:
    """Read the page at the root, each reader again and again."""
    by = _wrk if shutil.which("wrk") else _threads
    return by(port, readers, seconds)


def _wrk(port: int, readers: int, seconds: float) -> dict[str, Any]:
    said = subprocess.run(
        [
            *("wrk", f"-c{readers}", f"-t{min(2, readers)}", f"-d{seconds:.0f}s"),
            *(f"-H{name}: {value}" for name, value in HEADERS.items()),
            f"http://127.0.0.1:{port}/",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    rate, failed, sockets = RATE.search(said), FAILED.search(said), SOCKETS.search(said)
    errors = [
        *(failed.groups() if failed else ()),
        *(sockets.groups() if sockets else ()),
    ]
    return {
        "reader": "wrk",
        "requests_per_second": float(rate[1]) if rate else 0.0,
        "failed_requests": sum(map(int, errors)),
    }


def _threads(port: int, readers: int, seconds: float) -> dict[str, Any]:
    with ThreadPoolExecutor(readers) as pool:
        counts = list(pool.map(_one, [port] * readers, [seconds] * readers))
    return {
        "reader": "threads",
        "requests_per_second": round(sum(good for good, _ in counts) / seconds, 1),
        "failed_requests": sum(bad for _, bad in counts),
    }


def _one(port: int, seconds: float) -> tuple[int, int]:
    """Read on one connection; return how often it went well and how often not."""
    until = time.monotonic() + seconds
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    good = bad = 0
    while time.monotonic() < until:
        try:
            connection.request("GET", "/", headers=HEADERS)
            answer = connection.getresponse()
            answer.read()
            good, bad = good + (answer.status == 200), bad + (answer.status != 200)
        except (OSError, http.client.HTTPException):
            bad += 1
            connection.close()
            time.sleep(0.01)  # whoever refuses at once is not to be hammered
    return good, bad
