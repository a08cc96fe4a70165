"""Targets that never answer: what they do to the other checks and their alerts."""

import argparse
from datetime import UTC, datetime
from typing import Any, Final

from . import figures, players
from .stage import stage

# What a failing check and its alert may take after the slot; in seconds.
GRACE: Final = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--monitors", type=int, default=1000)
    parser.add_argument("--hanging", type=int, default=200, help="of them hang")
    parser.add_argument("--failing", type=int, default=100, help="go down at the end")
    parser.add_argument("--interval", type=int, default=20, help="seconds")
    parser.add_argument("--seconds", type=int, default=120, help="what is measured")
    parser.add_argument("--warm-up", type=int, default=45, help="seconds before that")


def run(options: argparse.Namespace) -> dict[str, Any]:
    longest = players.longest(options.seconds + options.warm_up + options.interval)
    with (
        stage(),
        players.target(longest, hangs=True) as hanging,
        players.target(longest) as failing,
        players.target(longest) as healthy,
    ):
        urls = [hanging] * options.hanging + [failing] * options.failing
        urls += [healthy] * (options.monitors - len(urls))
        return _run(urls, failing, options)


def _run(urls: list[str], failing: str, options: argparse.Namespace) -> dict[str, Any]:
    from . import observing, rows

    monitors = rows.make_monitors(urls, options.interval)
    rows.watch(monitors, failure_threshold=1)
    others = monitors[options.hanging :]
    with players.up(players.free_port()) as up:
        observing.warm_up([up], options.warm_up)
        found = observing.observe_up(others, up, options.seconds)
        broken_at = datetime.now(UTC)
        players.answer(failing, 500)
        down = [m.pk for m in others[: options.failing]]
        lags = rows.commit_lags(down, broken_at, options.interval + GRACE)
    return {
        **found,
        "failing": len(down),
        "alerts": len(lags),
        **figures.spread("alert_lag", lags),
    }
