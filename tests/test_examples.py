"""Every file in `examples/` runs, and prints what it should."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
TIMEOUT_S = 300

PRINTS = {
    "bare_hart.py": "fibonacci(90) = 2880067194370816120 after",
    "device.py": "20 rolls of a dice with 20 sides:",
    "disk_image.py": "overlay: FROM MINEbase",
    "file_layers.py": "hostname hosts",
}
BOOTS = {
    "one_command.py": "status 0: riscv64",
    "own_kernel.py": "up after",
}


def run(name: str) -> str:
    command = [sys.executable, "-W", "error", str(EXAMPLES / name)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, env=os.environ
    )
    if "maquina.errors.NetworkError" in done.stderr:
        pytest.skip(f"needs a Debian mirror: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", PRINTS)
def test_an_example_prints_what_it_should(name: str) -> None:
    assert PRINTS[name] in run(name)


@pytest.mark.boot
@pytest.mark.parametrize("name", BOOTS)
def test_an_example_that_boots_prints_what_it_should(name: str) -> None:
    assert BOOTS[name] in run(name)


def test_every_example_is_run() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {*PRINTS, *BOOTS}
