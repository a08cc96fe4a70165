"""CPU-seconds per 1,000 HTTP checks, from claim to evaluated rule, and lateness."""

import argparse
from pathlib import Path
from typing import Any

from . import authority, figures, players
from .stage import stage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rate", type=int, default=60, help="checks a second")
    parser.add_argument("--interval", type=int, default=5, help="seconds")
    parser.add_argument("--seconds", type=int, default=60, help="what is measured")
    parser.add_argument("--warm-up", type=int, default=15, help="seconds before that")
    parser.add_argument("--tls", action="store_true", help="check https addresses")
    parser.add_argument(
        "--servers", action="store_true", help="on PostgreSQL and Redis, counted too"
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    longest = players.longest(2 * (options.seconds + options.warm_up))
    with stage(servers=options.servers) as home:
        files = authority.issue(home) if options.tls else None
        certificate = files.server if files else None
        with players.target(longest, certificate=certificate) as url:
            return _compare(url, files.bundle if files else None, options)


def _compare(
    url: str, bundle: Path | None, options: argparse.Namespace
) -> dict[str, Any]:
    from . import observing, rows

    urls = [url] * (options.rate * options.interval)
    monitors = observing.fill(urls, options.interval)
    trusting = {"SSL_CERT_FILE": str(bundle)} if bundle else {}
    with players.workers(environment=trusting) as ours:
        observing.warm_up(ours.values(), options.warm_up)
        product = observing.observe_workers(
            monitors, ours, options.seconds, servers=options.servers
        )
    bare = _bare(url, rows.phases(monitors), bundle, options)
    return {"monitors": len(monitors), **_difference(bare, product)}


def _bare(
    url: str, phases: list[float], bundle: Path | None, options: argparse.Namespace
) -> dict[str, Any]:
    found = players.bare(
        url=url,
        phases=phases,
        interval=options.interval,
        warm_up=options.warm_up,
        seconds=options.seconds,
        bundle=str(bundle or ""),
    )
    late = found.pop("late")
    return {"checks": len(late), **found, **figures.lateness(late)}


def _difference(bare: dict[str, Any], product: dict[str, Any]) -> dict[str, Any]:
    bare, product = figures.with_cost(bare), figures.with_cost(product)
    least, cost = bare["cpu_seconds_per_1000"], product["cpu_seconds_per_1000"]
    return {
        "bare": bare,
        "product": product,
        "product_minus_bare_cpu_seconds_per_1000": round(cost - least, 3),
        "product_to_bare": round(cost / least, 2),
    }
