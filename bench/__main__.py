import argparse
import json
import os
import signal
import sys
from typing import Any

from . import (
    alerts,
    bars,
    checks,
    hanging,
    incidents,
    latency,
    many,
    readers,
    restart,
    simulate,
    slow,
    statements,
    steady,
    storage,
    storm,
)

BENCHMARKS = {
    "alerts": alerts,
    "checks": checks,
    "steady": steady,
    "many": many,
    "hanging": hanging,
    "latency": latency,
    "storm": storm,
    "slow": slow,
    "readers": readers,
    "restart": restart,
    "storage": storage,
    "bars": bars,
    "simulate": simulate,
    "statements": statements,
    "incidents": incidents,
}


def main() -> None:
    options = parser().parse_args()
    # Whoever is asked to end leaves neither processes nor databases behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    before = machine()
    found = BENCHMARKS[options.name].run(options)
    print(json.dumps({"options": vars(options), "machine": before, **found}, indent=2))


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure.")
    names = parser.add_subparsers(dest="name", required=True)
    for name, module in BENCHMARKS.items():
        module.add_arguments(names.add_parser(name, help=module.__doc__))
    return parser


def machine() -> dict[str, Any]:
    """What a figure depends on; `load` is that of the minute before."""
    return {"cpus": os.cpu_count(), "load": round(os.getloadavg()[0], 2)}


if __name__ == "__main__":
    main()
