"""Many monitors at a short interval under `manage.py up`, on SQLite."""

import argparse
from typing import Any

from . import figures, players
from .stage import stage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--monitors", type=int, default=1000)
    parser.add_argument("--interval", type=int, default=5, help="seconds")
    parser.add_argument("--seconds", type=int, default=180, help="what is measured")
    parser.add_argument("--warm-up", type=int, default=15, help="seconds before that")


def run(options: argparse.Namespace) -> dict[str, Any]:
    longest = players.longest(options.seconds + options.warm_up)
    with stage(), players.target(longest) as url:
        from . import observing

        monitors = observing.fill([url] * options.monitors, options.interval)
        with players.up(players.free_port()) as up:
            observing.warm_up([up], options.warm_up)
            found = observing.observe_up(monitors, up, options.seconds)
            return figures.with_cost(found)
