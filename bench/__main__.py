import argparse
import json

from . import checks

BENCHMARKS = {
    "checks": checks,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure.")
    names = parser.add_subparsers(dest="name", required=True)
    for name, module in BENCHMARKS.items():
        module.add_arguments(names.add_parser(name, help=module.__doc__))
    options = parser.parse_args()
    print(json.dumps(BENCHMARKS[options.name].run(options), indent=2))


if __name__ == "__main__":
    main()
