"""The product at work: filled with monitors, warmed up, measured, and read out.

To be imported within a stage only.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from monitors.models import Monitor

from . import figures, meters, players, rows

# In which what has been started is recorded and evaluated; in seconds.
DRAIN: Final = 3.0
ALL: Final = "all"


def fill(urls: Sequence[str], interval: int) -> list[Monitor]:
    """Make a monitor for each address, and one rule that watches them all."""
    monitors = rows.make_monitors(urls, interval)
    rows.watch(monitors)
    return monitors


def warm_up(ours: Iterable[players.Running], seconds: float) -> None:
    """Let so many seconds pass after the first result."""
    players.wait_until(rows.has_begun, *ours)
    time.sleep(seconds)


def observe_up(
    monitors: Sequence[Monitor], up: players.Running, seconds: float
) -> dict[str, Any]:
    """Measure `manage.py up`: all of it, and each part."""
    parts = players.by_role(up.pid)
    # Whoever is above the others would count them all again.
    below = {name: pids for name, pids in parts.items() if up.pid not in pids}
    return _observe(monitors, {ALL: [up.pid], **below}, parts, seconds)


def observe_workers(
    monitors: Sequence[Monitor],
    workers: Mapping[str, players.Running],
    seconds: float,
    *,
    servers: bool,
) -> dict[str, Any]:
    """Measure workers and, with `servers`, the CPU of PostgreSQL and Redis as well."""
    parts = {name: [one.pid] for name, one in workers.items()}
    counted = {**parts, "servers": meters.servers()} if servers else parts
    everyone = [pid for pids in counted.values() for pid in pids]
    return _observe(monitors, {ALL: everyone, **counted}, parts, seconds)


def _observe(
    monitors: Sequence[Monitor],
    counted: Mapping[str, list[int]],
    weighed: Mapping[str, list[int]],
    seconds: float,
) -> dict[str, Any]:
    """Measure the CPU of some processes and all below them, the memory of others."""
    measured = meters.measure(counted, seconds)
    mib = {name: sum(map(meters.pss_mib, pids)) for name, pids in weighed.items()}
    time.sleep(DRAIN)
    readings = rows.read(measured.begin, measured.end, monitors)
    cpu = measured.cpu.pop(ALL)
    return {
        **rows.summary(readings),
        "unevaluated": rows.unevaluated(measured.end),
        "cpu_seconds": round(cpu, 3),
        "cpu_seconds_of": figures.rounded(measured.cpu, 2),
        "pss_mib": round(sum(mib.values())),
        "pss_mib_of": figures.rounded(mib),
    }
