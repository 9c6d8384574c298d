"""`python -m bench [NAME...] [--pairs N]`: measure, print a table, write bench/results."""

from __future__ import annotations

import argparse
import importlib
import tempfile
from pathlib import Path

from bench import report
from bench.ratios import Missing, Result

NAMES = ("startup", "boot", "command", "compute", "memory", "disk", "network", "inside")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--pairs", type=int, default=5, help="alternations (default: 5)")
    options = parser.parse_args()
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"there is no {' or '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    results: list[Result] = []
    path = report.new_file()
    for name in options.names or NAMES:
        print(f"{name} ...", flush=True)
        results += _measure(name, options.pairs)
        report.write(path, results)  # each time: who stops a long run keeps what it has found
    print(report.table(results))
    print(f"written to {path}")


def _measure(name: str, pairs: int) -> list[Result]:
    """What one benchmark finds; nothing, and why, if this host lacks something."""
    with tempfile.TemporaryDirectory(prefix="maquina-bench-") as directory:
        try:
            results: list[Result] = importlib.import_module(f"bench.{name}").measure(
                Path(directory), pairs
            )
        except Missing as missing:
            print(f"  left out: {missing}")
            return []
    return results


if __name__ == "__main__":
    main()
