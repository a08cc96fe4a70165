"""A rule tried on thirty days of one minutely monitor: what replaying them costs."""

import argparse
import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from .stage import stage

if TYPE_CHECKING:
    from alerting.models import AlertRule
    from monitors.models import CheckResult, Monitor

MINUTE: Final = timedelta(minutes=1)
# One outage of ten minutes in every so many minutes.
OUTAGE, EVERY = 10, 1000
# What each kind is asked, and over how many minutes or checks.
RULES: Final[dict[str, dict[str, Any]]] = {
    "status": {"alert_for": "STATUS", "alert_value": "DOWN"},
    "latency": {"alert_for": "LATENCY", "alert_value": "180"},
    "latency_p95": {
        "alert_for": "LATENCY",
        "alert_value": "150",
        "window_minutes": 720,
    },
    "uptime": {
        "alert_for": "UPTIME",
        "alert_value": "99",
        "failure_threshold": 1440,
        "success_threshold": 1440,
    },
    "cert_days": {"alert_for": "CERT_DAYS", "alert_value": "30"},
    "burn_rate": {"alert_for": "BURN_RATE", "alert_value": "99.9"},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--days", type=int, default=30, help="of one check a minute")
    parser.add_argument("--times", type=int, default=3, help="of which the median")


def run(options: argparse.Namespace) -> dict[str, Any]:
    with stage():
        from alerting.models import AlertRule

        from . import rows

        end = datetime.now(UTC).replace(second=0, microsecond=0)
        begin = end - timedelta(days=options.days)
        [monitor] = rows.make_monitors(["http://127.0.0.1/"], interval=60)
        _write(monitor, begin, end)
        return {
            name: _try(AlertRule(**asked), monitor, begin, end, options.times)
            for name, asked in RULES.items()
        }


def _write(monitor: "Monitor", begin: datetime, end: datetime) -> None:
    from monitors.models import CheckResult
    from monitors.models.result import Certificate

    CheckResult.objects.bulk_create(_results(monitor, begin, end), batch_size=5000)
    ends = end + timedelta(days=20)
    Certificate.objects.create(monitor=monitor, seen_at=begin, expires_at=ends)


def _results(
    monitor: "Monitor", begin: datetime, end: datetime
) -> "Iterator[CheckResult]":
    """Up all the time, but for outages; latencies of 35 to 190 ms, one in seven."""
    from monitors.models import CheckResult

    for n in range((end - begin) // MINUTE):
        is_down = n % EVERY < OUTAGE
        yield CheckResult(
            monitor=monitor,
            checked_at=begin + n * MINUTE,
            position=n + 1,
            status="down" if is_down else "up",
            latency_ms=None if is_down else 35 + n * 37 % 155,
        )


def _try(
    rule: "AlertRule", monitor: "Monitor", begin: datetime, end: datetime, times: int
) -> dict[str, Any]:
    from alerting.simulation import simulate

    taken = []
    for _ in range(times):
        before = time.process_time()
        found = simulate(rule, [monitor], begin, end, sketched=True)
        taken.append(time.process_time() - before)
    return {
        "results": found.results,
        "alerts": len(found.alerts),
        "cpu_ms": round(statistics.median(taken) * 1000, 1),
    }
