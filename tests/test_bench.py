import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bench import figures, meters, receiver
from bench.__main__ import BENCHMARKS, parser
from bench.restart import most_within
from bench.target import Target

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.own_database


def bench(*arguments):
    """Run a benchmark as its users do; return what it printed."""
    command = [sys.executable, "-m", "bench", *map(str, arguments)]
    said = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120
    )
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


def test_latency_follows_each_failure_to_its_notices():
    found = bench(
        *("latency", "--monitors=3", "--hanging=1", "--times=2"),
        *("--interval=1", "--seconds=1", "--warm-up=0"),
    )

    assert set(fields(found)) <= documented()
    assert (found["notices"], found["missing"]) == (4, 0)
    assert 0 < found["lag_p50_ms"] <= found["lag_max_ms"]
    assert found["resolved"]["lag_max_ms"] > 0


def test_storm_tells_of_every_failure_and_recovery():
    found = bench("storm", "--monitors=5", "--rest=1", "--warm-up=0", "--incidents")

    assert set(fields(found)) <= documented()
    for wave in found["triggered"], found["resolved"]:
        assert (wave["notices"], wave["missing"]) == (5, 0)
        assert wave["first_arrival_seconds"] > 0
        assert wave["cpu_seconds"] > 0


def test_slow_loses_nothing_and_the_others_do_not_wait():
    found = bench(
        *("slow", "--notices=20", "--seconds=1", "--delay=1"),
        *("--others=2", "--every=0.5"),
    )

    assert set(fields(found)) <= documented()
    slow, others = found["slow"], found["others"]
    assert slow["delivered"] > 0
    assert slow["waiting"] > 0
    assert (slow["notices"], slow["lost"]) == (20, 0)
    assert (others["notices"], others["missing"]) == (4, 0)
    assert found["deliveries_pss_mib"] > 0


def test_target_can_be_broken_in_one_place_alone():
    target = Target(None, hangs=False)

    def asked(path):
        return target.answered(f"GET {path} HTTP/1.1\r\n\r\n".encode()).split()[1]

    assert asked("/n/1/answer/500") == b"500"
    assert [asked("/n/1/"), asked("/n/11/"), asked("/")] == [b"500", b"200", b"200"]
    assert asked("/answer/500") == asked("/n/11/") == b"500"
    assert asked("/n/1/answer/200") == asked("/n/1/") == b"200"


def test_webhook_has_arrived_with_its_last_byte():
    head = b"POST / HTTP/1.1\r\nIdempotency-Key: k\r\nContent-Length: 3\r\n\r\n"

    assert receiver.whole(head[:-1]) is None
    assert receiver.whole(head + b"{}") is None
    assert receiver.whole(head + b"{}\n") == ("k", b"{}\n")


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


def test_lists_of_incidents_are_asked_in_every_way():
    found = bench("incidents", "--incidents=120", "--monitors=3", "--times=1")

    assert set(fields(found)) <= documented()
    lists = ("admin", "api", "public")
    assert min(found[name]["queries"] for name in lists) > 0
    assert found["admin"]["queries_of"].keys() >= {"all", "open=yes", "q=disk", "o=8"}
    assert found["api"]["cpu_ms_of"]["search=disk"] > 0


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
