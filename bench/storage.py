"""Bytes of a raw result with its indexes, and of a year of one monitor in all."""

import argparse
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from .stage import stage

MINUTE: Final = timedelta(minutes=1)
# After so many days of filling, what is old is rolled up and pruned.
AT_ONCE: Final = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--monitors", type=int, default=100)
    parser.add_argument("--results", type=int, default=1000, help="of each of these")
    parser.add_argument("--days", type=int, default=365, help="of one monitor more")
    parser.add_argument(
        "--servers", action="store_true", help="on PostgreSQL instead of SQLite"
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    with stage(servers=options.servers):
        # Alone in the database: what tidies up would tidy up the others, too.
        year = _year(options.days)
        return {"raw": _raw(options.monitors, options.results), "year": year}


def _raw(monitors: int, results: int) -> dict[str, Any]:
    """Record flush after flush, as the product does."""
    from . import rows, sizes, writing

    made = rows.make_monitors(["http://127.0.0.1/"] * monitors, 60)
    answers, before = writing.Answers(made[0]), sizes.of_tables()
    begin = datetime.now(UTC) - results * MINUTE
    for n in range(results):
        outcomes = [answers.outcome(failing=writing.fails(n)) for _ in made]
        writing.flush(made, begin + n * MINUTE, outcomes)
    grown = sizes.growth(before)
    return {
        "results": monitors * results,
        "bytes_per_result": round(sizes.results_of(grown) / (monitors * results), 1),
        "bytes_of": grown,
    }


def _year(days: int) -> dict[str, Any]:
    """Fill history day by day, and let the product's own clockwork tidy it up."""
    from . import past, rows, sizes

    [monitor] = rows.make_monitors(["http://127.0.0.1/"], 60)
    history, before = past.History(monitor), sizes.of_tables()
    counts = Counter(sizes.rows_of_tables())
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for day in range(days, 0, -1):
        history.write_day(midnight - timedelta(days=day))
        if day % AT_ONCE == 1:
            past.tidy_up()
            sizes.vacuum()
    grown = sizes.growth(before)
    return {
        "days": days,
        "bytes": sum(grown.values()),
        "bytes_of": grown,
        "rows_of": dict(Counter(sizes.rows_of_tables()) - counts),
    }
