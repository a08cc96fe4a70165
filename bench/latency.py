"""From the last byte of the check that decides to the webhook that tells of it."""

import argparse
import random
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from . import figures, players
from .stage import stage

if TYPE_CHECKING:
    from monitors.models import Monitor

# What a check and its notice may take after the last recovery; in seconds.
GRACE: Final = 15
# Intervals that a target fails for: it is to be asked at least once meanwhile.
FAILS_FOR: Final = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--monitors", type=int, default=200)
    parser.add_argument("--hanging", type=int, default=20, help="more that hang")
    parser.add_argument("--interval", type=int, default=5, help="seconds")
    parser.add_argument("--times", type=int, default=40, help="monitors that fail")
    parser.add_argument("--seconds", type=int, default=60, help="in which they do")
    parser.add_argument("--warm-up", type=int, default=20, help="seconds before that")
    parser.add_argument(
        "--incidents", action="store_true", help="each alert opens an incident"
    )
    parser.add_argument(
        "--servers", action="store_true", help="workers on PostgreSQL and Redis"
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    lasting = options.seconds + options.warm_up + FAILS_FOR * options.interval
    longest = players.longest(lasting)
    with (
        stage(servers=options.servers),
        players.target(longest, hangs=True) as hanging,
        players.target(longest) as healthy,
        players.receiver(longest) as receiver,
    ):
        # Each has an address of its own, so that it can be broken alone.
        own = [f"{healthy}n/{n}/" for n in range(options.monitors)]
        return _run(own, hanging, receiver, options)


def _run(
    own: list[str],
    hanging: str,
    receiver: players.Receiver,
    options: argparse.Namespace,
) -> dict[str, Any]:
    from . import notices, observing, rows

    monitors = rows.make_monitors(
        [*own, *[hanging] * options.hanging], options.interval
    )
    hook = notices.webhook("Receiver", receiver.url)
    notices.tell(monitors, [hook], incidents=options.incidents)
    notices.gather_no_storms()
    chosen = random.sample(range(options.monitors), options.times)
    broken = [monitors[n] for n in chosen]
    with players.product(servers=options.servers) as ours:
        observing.warm_up(ours, options.warm_up)
        _break([own[n] for n in chosen], options)
        keys = [
            notices.Key(m.tag, state)
            for m in broken
            for state in notices.STATES.values()
        ]
        notices.have_come(receiver, keys, options.interval + GRACE)
        # Results that changed nothing are written a little later.
        time.sleep(observing.DRAIN)
    return _figures(broken, receiver)


def _break(urls: Sequence[str], options: argparse.Namespace) -> None:
    """Have each fail at a moment of its own, and recover."""
    begins = [random.uniform(0, options.seconds) for _ in urls]
    lasting = FAILS_FOR * options.interval
    turns = [(at, url, 500) for at, url in zip(begins, urls, strict=True)]
    turns += [(at + lasting, url, 200) for at, url, _ in turns]
    began = time.monotonic()
    for at, url, status in sorted(turns):
        time.sleep(max(0.0, began + at - time.monotonic()))
        players.answer(url, status)


def _figures(broken: "list[Monitor]", receiver: players.Receiver) -> dict[str, Any]:
    from . import notices

    arrivals, ends = receiver.arrivals(), notices.decided(broken)
    came = notices.arrived(arrivals)
    lags = notices.lags(ends, came)
    return {
        "notices": len(lags),
        "missing": len(broken) * len(notices.STATES) - len(lags),
        "with_incident": sum(one.incident > 0 for one in arrivals),
        **figures.spread("lag", lags),
        **{
            name: figures.spread(
                "lag", notices.lags(notices.of_state(ends, name), came)
            )
            for name in notices.STATES
        },
    }
