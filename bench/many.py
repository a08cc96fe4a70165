"""Thousands of monitors a minute on PostgreSQL and Redis, by two check workers."""

import argparse
from typing import Any

from . import figures, players
from .stage import stage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--monitors", type=int, default=10_000)
    parser.add_argument("--interval", type=int, default=60, help="seconds")
    parser.add_argument("--workers", type=int, default=2, help="that check")
    parser.add_argument("--seconds", type=int, default=300, help="what is measured")
    parser.add_argument("--warm-up", type=int, default=75, help="seconds before that")


def run(options: argparse.Namespace) -> dict[str, Any]:
    longest = players.longest(options.seconds + options.warm_up)
    with stage(servers=True), players.target(longest) as url:
        from . import observing

        monitors = observing.fill([url] * options.monitors, options.interval)
        with players.workers(options.workers) as ours:
            observing.warm_up(ours.values(), options.warm_up)
            found = observing.observe_workers(
                monitors, ours, options.seconds, servers=True
            )
            return figures.with_cost(found)
