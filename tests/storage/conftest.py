"""QEMU's own tools, the peers that disk images are compared with."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., str]


def _tool(name: str) -> Run:
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is missing (Debian package qemu-utils)")

    def run(*arguments: object) -> str:
        command = [program, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr or done.stdout}"
        return done.stdout

    return run


@pytest.fixture
def qemu_img() -> Run:
    """Runs qemu-img and gives its output; the test fails if it does."""
    return _tool("qemu-img")


@pytest.fixture
def qemu_io() -> Callable[[Path, list[str]], str]:
    """Runs qemu-io commands on a qcow2 image."""
    run = _tool("qemu-io")

    def commands(path: Path, lines: list[str]) -> str:
        return run("-f", "qcow2", *[part for line in lines for part in ("-c", line)], path)

    return commands


@pytest.fixture
def qemu_check() -> Callable[[Path], dict[str, Any]]:
    """What qemu-img check says of an image: no assertion, errors and leaks are in the answer."""
    program = shutil.which("qemu-img")
    if program is None:
        pytest.skip("qemu-img is missing (Debian package qemu-utils)")

    def check(path: Path) -> dict[str, Any]:
        command = [program, "check", "--output=json", "-f", "qcow2", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.stdout, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    return check
