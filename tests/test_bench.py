import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bench import figures, meters
from bench.__main__ import BENCHMARKS, parser
from bench.restart import most_within

ROOT = Path(__file__).parent.parent


def bench(*arguments):
    """Run a benchmark as its users do; return what it printed."""
    command = [sys.executable, "-m", "bench", *map(str, arguments)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert said.returncode == 0, said.stderr
    return json.loads(said.stdout)


def fields(found):
    """Every name that is a field, not one of a process, table, size or option."""
    parts = {"options", "statements"}
    for name, value in found.items():
        yield name
        if isinstance(value, dict) and name not in parts and not name.endswith("_of"):
            yield from fields(value)


def documented():
    text = (ROOT / "docs" / "benchmarks.md").read_text()
    return set(re.findall(r"`([a-z0-9_]+)`", text))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_option_has_a_default(name):
    options = parser().parse_args([name])

    assert None not in vars(options).values()


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_is_documented(name):
    assert name in documented()


def test_checks_cost_something_and_none_is_missed():
    found = bench("checks", "--rate=10", "--interval=1", "--seconds=1", "--warm-up=0")

    assert set(fields(found)) <= documented()
    assert found["product"]["checks"] > 0
    assert found["product"]["not_up"] == found["bare"]["not_up"] == 0
    assert found["bare"]["cpu_seconds_per_1000"] > 0


def test_storage_weighs_results_and_history():
    found = bench("storage", "--monitors=2", "--results=200", "--days=1")

    assert set(fields(found)) <= documented()
    assert found["raw"]["results"] == 400
    assert 10 < found["raw"]["bytes_per_result"] < 1000
    assert found["year"]["rows_of"]["CheckResult"] == 1440
    assert found["year"]["bytes"] == sum(found["year"]["bytes_of"].values())


def test_bars_are_read_of_stable_and_of_flapping_monitors():
    found = bench("bars", "--monitors=2", "--days=2", "--times=1")

    assert set(fields(found)) <= documented()
    assert found["stable"]["periods"] == 2
    assert found["flapping"]["periods"] == 2 * (1 + 2 * 48)
    assert found["stable"]["queries"] > 0


def test_statements_do_not_grow_with_the_flush():
    counts = bench("statements", "--sizes", 2, 20)["statements"]

    assert counts["2"] == counts["20"]
    assert set(counts["2"]) <= documented()


def test_cpu_of_what_has_ended_counts_with_its_parent():
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    parent = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn!r}])"
    command = [sys.executable, "-c", f"{parent}\nprint(flush=True)\ninput()"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}

    with subprocess.Popen(command, **pipes) as process:
        process.stdout.readline()
        used = meters.cpu_seconds({"it": [process.pid], "nobody": []})
        process.communicate(b"\n")

    assert used["it"] > 0.25
    assert used["nobody"] == 0


def test_percentile_is_of_sorted_values():
    assert figures.percentile([3, 1, 2, 4], 0.5) == 3
    assert figures.percentile([3, 1, 2], 1.0) == 3


def test_most_within_a_second_may_straddle_two():
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    moments = [begin + timedelta(seconds=s) for s in (0, 0.9, 1.5, 1.8, 1.9, 3)]

    assert most_within(moments, timedelta(seconds=1)) == 3
