"""Tables for people, files for programs."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from bench.contenders import QEMU
from bench.ratios import Result
from maquina import __version__

DIRECTORY = Path(__file__).parent / "results"
HEAD = "| what | ratio to | ratio | user CPU | ours | theirs | promise | kept |"


def table(results: Sequence[Result]) -> str:
    """Markdown; medians, ratios are ours by theirs."""
    return "\n".join([HEAD, "|---|---|---|---|---|---|---|---|", *map(_line, results)])


def _line(result: Result) -> str:
    cpu = "" if result.cpu_ratio is None else f"{result.cpu_ratio:.2f}"
    kept = {True: "yes", False: "**no**", None: ""}[result.is_kept]
    ours, theirs = (f"{value:.3g} {result.unit}" for value in (result.ours, result.theirs))
    cells = (result.name, result.peer, f"**{result.ratio:.2f}**", cpu, ours, theirs)
    return f"| {' | '.join((*cells, result.promise, kept))} |"


def new_file() -> Path:
    """Where a run's results go: results/TIME.json."""
    return DIRECTORY / time.strftime("%Y-%m-%dT%H%M%S.json")


def write(path: Path, results: Sequence[Result]) -> None:
    """Everything into the file, and the table into table.md beside it."""
    path.parent.mkdir(exist_ok=True)
    document = {
        "maquina": __version__,
        "python": platform.python_version(),
        "peer": _first_line([QEMU, "--version"]),
        "processor": _processor(),
        "load": os.getloadavg()[0],
        "results": [result.as_dict() for result in results],
    }
    path.write_text(json.dumps(document, indent=1) + "\n")
    (path.parent / "table.md").write_text(table(results) + "\n")


def _first_line(argv: list[str]) -> str:
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split("\n")[
            0
        ]
    except OSError:
        return ""


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
