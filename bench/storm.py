"""Hundreds of monitors fail within a second, and recover: the webhooks that tell."""

import argparse
import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Final

from . import figures, meters, players
from .stage import stage

if TYPE_CHECKING:
    from monitors.models import Monitor

    from .notices import Key

# How long a wave may take at most, and what it leaves behind; in seconds.
WAVE, AFTERMATH = 60, 60
WAVES: Final = {"triggered": 500, "resolved": 200}
ALL: Final = "all"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--monitors", type=int, default=500)
    parser.add_argument("--interval", type=int, default=300, help="seconds")
    parser.add_argument(
        "--rest", type=int, default=20, help="seconds measured before a wave"
    )
    parser.add_argument("--warm-up", type=int, default=10, help="seconds before that")
    parser.add_argument(
        "--incidents", action="store_true", help="each alert opens an incident"
    )
    parser.add_argument(
        "--page", action="store_true", help="the public page shows all monitors"
    )
    parser.add_argument(
        "--servers", action="store_true", help="workers on PostgreSQL and Redis"
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    lasting = WAVE + 2 * (options.warm_up + options.rest + WAVE + AFTERMATH)
    longest = players.longest(lasting)
    with (
        stage(servers=options.servers),
        players.target(longest) as target,
        players.receiver(longest) as receiver,
    ):
        return _run(target, receiver, options)


def _run(
    target: str, receiver: players.Receiver, options: argparse.Namespace
) -> dict[str, Any]:
    from . import notices, rows

    monitors = rows.make_monitors([target] * options.monitors, options.interval)
    hook = notices.webhook("Receiver", receiver.url)
    notices.tell(monitors, [hook], incidents=options.incidents)
    notices.gather_no_storms()
    if not options.page:
        notices.show_nothing()
    with players.product(servers=options.servers) as ours:
        rows.make_due(monitors)
        notices.until(rows.all_have_begun, WAVE)
        pids = [one.pid for one in ours]
        pids += meters.servers() if options.servers else []
        storm, found = _Storm(monitors, target, receiver, pids), {}
        for name, status in WAVES.items():
            time.sleep(options.warm_up)
            found[name] = storm.wave(name, status, options.rest)
        return found


class _Storm:
    def __init__(
        self,
        monitors: "Sequence[Monitor]",
        target: str,
        receiver: players.Receiver,
        pids: Collection[int],
    ) -> None:
        self._monitors, self._target, self._receiver = monitors, target, receiver
        self._roots = {ALL: pids}

    def wave(self, name: str, status: int, rest: float) -> dict[str, Any]:
        """Have all change at once; return what came of it, and what that took."""
        from . import notices, rows

        # What is just being checked would miss the moment.
        notices.until(lambda: rows.rest(self._monitors), WAVE)
        at_rest = meters.measure(self._roots, rest).cpu[ALL] / rest
        keys = [notices.Key(m.tag, notices.STATES[name]) for m in self._monitors]
        before, began = self._cpu(), time.monotonic()
        players.answer(self._target, status)
        rows.make_due(self._monitors)
        notices.have_come(self._receiver, keys, WAVE)
        spent = self._cpu() - before - at_rest * (time.monotonic() - began)
        before, began = self._cpu(), time.monotonic()
        notices.until(rows.all_is_told, AFTERMATH)
        after = self._cpu() - before - at_rest * (time.monotonic() - began)
        return {**self._times(name), **_cost(spent, after, len(keys))}

    def _cpu(self) -> float:
        return meters.cpu_seconds(self._roots)[ALL]

    def _times(self, name: str) -> dict[str, Any]:
        from . import notices

        ends = notices.of_state(notices.decided(self._monitors), name)
        arrivals = self._receiver.arrivals()
        came = notices.of_state(notices.arrived(arrivals), name)
        state = notices.STATES[name]
        lags = notices.lags(ends, came)
        return {
            "notices": len(lags),
            "missing": len(self._monitors) - len(lags),
            "with_incident": sum(a.state == state and a.incident > 0 for a in arrivals),
            **_spans(ends, came),
            **figures.spread("lag", lags),
        }


def _spans(ends: "dict[Key, float]", came: "dict[Key, float]") -> dict[str, Any]:
    """From the checks that found it to the webhooks, in seconds."""
    if not ends or not came:
        return {}
    first, last = min(ends.values()), max(ends.values())
    return figures.rounded(
        {
            "checked_within_seconds": last - first,
            "first_arrival_seconds": min(came.values()) - first,
            "last_arrival_seconds": max(came.values()) - last,
            "arrived_within_seconds": max(came.values()) - min(came.values()),
        },
        3,
    )


def _cost(spent: float, after: float, notices: int) -> dict[str, float]:
    return {
        "cpu_seconds": round(spent, 2),
        "cpu_seconds_per_1000_notices": round(1000 * spent / notices, 2),
        "cpu_seconds_afterwards": round(after, 2),
    }
