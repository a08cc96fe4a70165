"""Lists, filters and searches of thousands of incidents: what a page costs."""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from config import web

from .stage import stage
from .statements import counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--incidents", type=int, default=10_000)
    parser.add_argument("--monitors", type=int, default=50, help="that they affect")
    parser.add_argument("--times", type=int, default=9, help="of which the median")
    parser.add_argument("--servers", action="store_true", help="on PostgreSQL")


def run(options: argparse.Namespace) -> dict[str, Any]:
    with stage(servers=options.servers):
        from . import listing

        listing.fill(options.incidents, options.monitors)
        pages = listing.pages()
        web.post_worker_init(None)
        return {
            name: _whole(
                {page: _measure(ask, options.times) for page, ask in asked.items()}
            )
            for name, asked in pages.items()
        }


def _whole(pages: dict[str, dict[str, float]]) -> dict[str, Any]:
    """The dearest page, and each by what was asked."""
    found: dict[str, Any] = {}
    for field in ("queries", "cpu_ms"):
        of = {page: costs[field] for page, costs in pages.items()}
        found |= {field: max(of.values()), f"{field}_of": of}
    return found


def _measure(ask: Callable[[], None], times: int) -> dict[str, float]:
    ask()  # what is read once in the life of a process counts nowhere
    with counted() as statements:
        ask()
    cpu = statistics.median(_cpu_ms(ask) for _ in range(times))
    return {"queries": len(statements), "cpu_ms": round(cpu, 1)}


def _cpu_ms(ask: Callable[[], None]) -> float:
    """CPU in milliseconds, that of the database included."""
    before = time.process_time() + _server_seconds()
    ask()
    return (time.process_time() + _server_seconds() - before) * 1000


def _server_seconds() -> float:
    """What the server's process for this connection has used; SQLite has none."""
    from django.db import connection

    if connection.vendor == "sqlite":
        return 0.0
    connection.ensure_connection()
    pid = connection.connection.info.backend_pid
    nanoseconds = Path(f"/proc/{pid}/schedstat").read_text().split()[0]
    return int(nanoseconds) / 1e9
