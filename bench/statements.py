"""How many statements a flush of results takes, recorded and evaluated."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from .stage import stage

# What begins or ends a transaction is no statement of ours.
CONTROL: Final = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE", "ROLLBACK")
# Three flushes: the first ever, one that changes nothing, one in which all fail.
FLUSHES: Final = {"first": False, "unchanged": False, "all_failing": True}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 500])
    parser.add_argument("--rules", type=int, default=1, help="that watch each monitor")


def run(options: argparse.Namespace) -> dict[str, Any]:
    with stage():
        found = {size: _of_size(size, options.rules) for size in options.sizes}
        return {"statements": found}


def _of_size(size: int, rules: int) -> dict[str, int]:
    """Count on monitors of their own, watched by rules of their own."""
    from . import rows, writing

    monitors = rows.make_monitors(["http://127.0.0.1/"] * size, 60)
    for _ in range(rules):
        rows.watch(monitors)
    answers = writing.Answers(monitors[0])
    at, found = datetime.now(UTC), {}
    for name, failing in FLUSHES.items():
        at += timedelta(seconds=1)
        outcomes = [answers.outcome(failing=failing) for _ in monitors]
        observations, by = writing.claimed(monitors, at, outcomes), writing.prober()
        with counted() as statements:
            writing.record(observations, by=by)
        found[name] = len(statements)
    return found


@contextmanager
def counted() -> Iterator[list[str]]:
    """The statements that the database is given meanwhile."""
    from django.db import connection

    said: list[str] = []

    def note(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        if not sql.startswith(CONTROL):
            said.append(sql)
        return execute(sql, *rest)

    with connection.execute_wrapper(note):
        yield said
