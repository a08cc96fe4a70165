"""What it costs to apply rules to results, and to turn alerts."""

import argparse
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from .stage import stage

if TYPE_CHECKING:
    pass

# What is asked of each monitor, one rule after the other.
RULES: Final[tuple[dict[str, Any], ...]] = (
    {"alert_for": "STATUS", "alert_value": "DOWN"},
    {"alert_for": "STATUS", "alert_value": "DEGRADED"},
    {"alert_for": "LATENCY", "alert_value": "1000"},
    {"alert_for": "LATENCY", "alert_value": "1000", "window_minutes": 10},
    {"alert_for": "UPTIME", "alert_value": "95", "failure_threshold": 60},
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--monitors", type=int, default=1000)
    parser.add_argument("--flush", type=int, default=100, help="results at once")
    parser.add_argument("--rounds", type=int, default=20, help="results of each")
    parser.add_argument("--servers", action="store_true", help="on PostgreSQL")


def run(options: argparse.Namespace) -> dict[str, Any]:
    with stage(servers=options.servers), _nobody_listening():
        return {
            "one_rule": _measured(options, RULES[:1]),
            "five_rules": _measured(options, RULES),
        }


@contextmanager
def _nobody_listening() -> Iterator[None]:
    """Record without evaluating: that is what is measured by itself."""
    from alerting import receivers
    from monitors.signals import results_recorded

    results_recorded.disconnect(receivers.evaluate)
    yield
    results_recorded.connect(receivers.evaluate)


def _measured(
    options: argparse.Namespace, asked: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """One monitor in a hundred is in an outage of ten results at any time."""
    from alerting import evaluation
    from alerting.models import Alert, AlertRule

    from . import rows, writing

    AlertRule.objects.update(is_active=False)
    monitors = rows.make_monitors(["http://127.0.0.1/"] * options.monitors, 60)
    for fields in asked:
        rows.watch(monitors, **fields)
    answers, at, spent, results = (
        writing.Answers(monitors[0]),
        datetime.now(UTC),
        0.0,
        0,
    )
    before = Alert.objects.count()
    for number in range(options.rounds):
        at += timedelta(seconds=60)
        for begin in range(0, len(monitors), options.flush):
            some = monitors[begin : begin + options.flush]
            outcomes = [
                answers.outcome(failing=_fails(begin + n, number))
                for n in range(len(some))
            ]
            found = writing.record(
                writing.claimed(some, at, outcomes), by=writing.prober()
            )
            started = time.process_time()
            evaluation.evaluate(found)
            spent += time.process_time() - started
            results += len(found)
    return {
        "results": results,
        "alerts": Alert.objects.count() - before,
        "cpu_seconds_per_1000": round(1000 * spent / results, 3),
    }


def _fails(monitor: int, number: int) -> bool:
    return (monitor + 1000 - 100 * (number // 10)) % 100 == 0
