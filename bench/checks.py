"""CPU-seconds per 1,000 HTTP checks, from claim to evaluated rule, and lateness."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
TICK = os.sysconf("SC_CLK_TCK")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rate", type=int, default=60, help="checks a second")
    parser.add_argument("--interval", type=int, default=5, help="seconds")
    parser.add_argument("--seconds", type=int, default=60, help="length of a run")
    parser.add_argument("--warm-up", type=int, default=10, help="seconds")


def run(options: argparse.Namespace) -> dict[str, Any]:
    monitors = options.rate * options.interval
    total = options.seconds * 2 + options.warm_up + 120
    with ExitStack() as stack:
        port = stack.enter_context(target(total))
        url = f"http://127.0.0.1:{port}/"
        bare = bare_loop(url, monitors, options.interval, options.seconds)
        product = product_loop(url, monitors, options)
    return {
        "benchmark": "checks",
        "monitors": monitors,
        "interval_seconds": options.interval,
        "bare": bare,
        "product": product,
        "product_minus_bare_cpu_seconds_per_1000": round(
            product["cpu_seconds_per_1000"] - bare["cpu_seconds_per_1000"], 3
        ),
    }


@contextmanager
def target(seconds: int) -> Iterator[int]:
    command = [sys.executable, "-m", "bench.target", str(seconds)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as it:
        assert it.stdout
        try:
            yield int(it.stdout.readline())
        finally:
            it.kill()


def bare_loop(url: str, monitors: int, interval: int, seconds: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.bare", url]
    command += [str(monitors), str(interval), str(seconds)]
    said = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    found = json.loads(said)
    per_1000 = found["cpu_seconds"] / found["checks"] * 1000
    return {**found, "cpu_seconds_per_1000": round(per_1000, 3)}


def product_loop(
    url: str, monitors: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Run both workers, the clock in one of them, on a new SQLite database."""
    with tempfile.TemporaryDirectory(prefix="tocsin-bench-") as home:
        # Before Django is set up: its settings read the environment.
        os.environ.update(TOCSIN_HOME=home, LOG_LEVEL="WARNING")
        fill(url, monitors, options.interval)
        with ExitStack() as stack:
            workers = [
                stack.enter_context(worker("checks", "--concurrency=2")),
                stack.enter_context(worker("deliveries", "--concurrency=4", "--clock")),
            ]
            time.sleep(options.warm_up)
            before, cpu_before = newest_result(), sum(map(cpu_seconds, workers))
            time.sleep(options.seconds)
            after, cpu_after = newest_result(), sum(map(cpu_seconds, workers))
            memory = sum(map(resident_bytes, workers)) / 2**20
    return summary(before, after, cpu_after - cpu_before, memory, options)


def fill(url: str, monitors: int, interval: int) -> None:
    """Make the monitors, and one rule that watches them all."""
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    from django.core.management import call_command

    from alerting.models import AlertRule
    from monitors.models import Monitor, MonitorState

    call_command("migrate", verbosity=0)
    made = Monitor.objects.bulk_create(
        Monitor(tag=f"m{n}", name=f"M{n}", interval=interval, config={"url": url})
        for n in range(monitors)
    )
    MonitorState.begin(made)
    for monitor in made:
        due = monitor.next_due(monitor.created_at)
        MonitorState.objects.filter(pk=monitor.pk).update(due_at=due)
    rule = AlertRule.objects.create(name="Down", create_incident=True)
    rule.watch(made)


@contextmanager
def worker(queue: str, *options: str) -> Iterator[int]:
    command = [sys.executable, "-m", "celery", "--app", "config", "--quiet", "worker"]
    command += ["--loglevel", "WARNING", "--pool", "threads", "--queues", queue]
    command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    command += ["--hostname", f"{queue}@%h", *options]
    with subprocess.Popen(command, cwd=ROOT) as process:
        try:
            yield process.pid
        finally:
            process.terminate()
            process.wait(20)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICK


def resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def newest_result() -> int:
    from monitors.models import CheckResult

    return CheckResult.objects.order_by("-pk").values_list("pk", flat=True).first() or 0


def summary(
    before: int, after: int, cpu: float, memory: float, options: argparse.Namespace
) -> dict[str, Any]:
    from django.db.models import F

    from monitors.models import CheckResult, MonitorState

    fresh = CheckResult.objects.filter(pk__gt=before, pk__lte=after)
    late = sorted(lateness(result) for result in fresh.select_related("monitor"))
    unevaluated = MonitorState.objects.filter(evaluated_through__lt=F("last_result"))
    return {
        "checks": len(late),
        "due": options.rate * options.seconds,
        "not_up": fresh.exclude(status="up").count(),
        "unevaluated": unevaluated.count(),
        "cpu_seconds": round(cpu, 2),
        "cpu_seconds_per_1000": round(cpu / max(1, len(late)) * 1000, 3),
        "lateness_p50_ms": round(late[len(late) // 2] * 1000, 1),
        "lateness_p95_ms": round(late[int(len(late) * 0.95)] * 1000, 1),
        "resident_mib": round(memory),
    }


def lateness(result: Any) -> float:
    """Start of the request minus its due time, in seconds."""
    from datetime import timedelta

    interval = timedelta(seconds=result.monitor.interval)
    slot = result.monitor.next_due(result.checked_at) - interval
    late: timedelta = result.checked_at - slot
    return late.total_seconds()
