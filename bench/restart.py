"""After a power cut: how soon everything is checked again, and how gently."""

import argparse
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from . import figures, players
from .stage import stage

SECOND: Final = timedelta(seconds=1)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--monitors", type=int, default=1000)
    parser.add_argument("--interval", type=int, default=60, help="seconds")
    parser.add_argument("--seconds", type=int, default=75, help="before the cut")
    parser.add_argument("--away", type=int, default=30, help="seconds")
    parser.add_argument("--after", type=int, default=120, help="seconds to wait")


def run(options: argparse.Namespace) -> dict[str, Any]:
    together = options.seconds + options.away + options.after
    port = players.free_port()
    with stage(), players.target(players.longest(together)) as url:
        from . import observing

        observing.fill([url] * options.monitors, options.interval)
        with players.up(port) as up:
            observing.warm_up([up], options.seconds)
            up.kill()
        killed = datetime.now(UTC)
        time.sleep(options.away)
        started = datetime.now(UTC)
        with players.up(port):
            ready = datetime.now(UTC)
            time.sleep(options.after)
        usual = killed - timedelta(seconds=options.interval)
        return {
            "seconds_until_ready": round((ready - started).total_seconds(), 1),
            **_again(started, options.monitors),
            "usually_most_in_a_second": most_within(_moments(usual, killed), SECOND),
        }


def _again(started: datetime, monitors: int) -> dict[str, Any]:
    """What came after the start, in seconds since then."""
    from . import rows

    now = datetime.now(UTC)
    first: dict[int, float] = {}
    for pk, at, _ in rows.results(started, now):
        first.setdefault(pk, (at - started).total_seconds())
    unchecked = monitors - len(first)
    waits = list(first.values())
    return {
        "unchecked": unchecked,
        "seconds_until_half_checked": round(figures.percentile(waits, 0.5), 1),
        "seconds_until_all_checked": None if unchecked else round(max(waits), 1),
        "most_in_a_second": most_within(_moments(started, now), SECOND),
    }


def _moments(begin: datetime, end: datetime) -> list[datetime]:
    from . import rows

    return [at for _, at, _ in rows.results(begin, end)]


def most_within(moments: Sequence[datetime], length: timedelta) -> int:
    """The most of these sorted moments that lie within any such length."""
    most = begin = 0
    for n, moment in enumerate(moments):
        while moment - moments[begin] >= length:
            begin += 1
        most = max(most, n - begin + 1)
    return most
