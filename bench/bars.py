"""Ninety days of bars and uptime: what reading them costs."""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from .stage import stage
from .statements import counted

if TYPE_CHECKING:
    from monitors.models import Monitor

# Days of it have 23 and 25 hours, too.
ZONE: Final = ZoneInfo("Europe/Berlin")
DOWN: Final = timedelta(minutes=5)
HOUR: Final = timedelta(hours=1)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--monitors", type=int, default=100, help="of each kind")
    parser.add_argument("--days", type=int, default=90, help="that they flap")
    parser.add_argument("--times", type=int, default=5, help="of which the median")


def run(options: argparse.Namespace) -> dict[str, Any]:
    with stage():
        from . import rows, writing

        at = datetime.now(UTC)
        urls = ["http://127.0.0.1/"] * options.monitors
        found = {}
        for name, hours in (("stable", 0), ("flapping", 24 * options.days)):
            monitors = rows.make_monitors(urls, interval=60)
            for monitor in monitors:
                writing.turn(monitor, _turns(at, options.days, hours))
            found[name] = _read(monitors, at, options.times)
        return found


def _turns(at: datetime, days: int, hours: int) -> Iterator[tuple[datetime, str]]:
    """Up all the time, but down for five minutes in each of the last hours."""
    yield at - timedelta(days=days + 10), "up"
    for hour in range(hours, 0, -1):
        begin = at - hour * HOUR
        yield begin, "down"
        yield begin + DOWN, "up"


def _read(monitors: "Sequence[Monitor]", at: datetime, times: int) -> dict[str, Any]:
    from monitors import history

    from . import writing

    def read() -> None:
        history.of_monitors([m.pk for m in monitors], at=at, zone=ZONE)

    with counted() as statements:
        read()
    return {
        "periods": writing.periods(monitors),
        "queries": len(statements),
        "cpu_ms": round(statistics.median(_cpu_ms(read) for _ in range(times)), 1),
    }


def _cpu_ms(read: Callable[[], None]) -> float:
    """CPU in milliseconds; on SQLite that of the database is in it."""
    before = time.process_time()
    read()
    return (time.process_time() - before) * 1000
