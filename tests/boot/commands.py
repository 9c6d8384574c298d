"""The `maquina` command as a process, with the image that the boot tests share."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

MAQUINA = [sys.executable, "-c", "from maquina.cli import main; main()"]
TIMEOUT_S = 120
# Preparing an image takes longer than any of these tests: only those of it do it.
ENVIRONMENT = {**os.environ, "MAQUINA_PREPARE": "no"}


@functools.cache
def image(*options: str) -> None:
    """Have a Debian image in the user's cache, or skip the test."""
    command = [*MAQUINA, "run", "debian", *options, "--timeout", "100", "--", "true"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=600, env=ENVIRONMENT
    )
    if done.returncode == 125 and ("mirror" in done.stderr or "reach" in done.stderr):
        pytest.skip(f"needs a Debian mirror: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr


def maquina(*words: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run the command to its end, with `data` as its standard input."""
    command = [*MAQUINA, *words]
    return subprocess.run(
        command, input=data, capture_output=True, check=False, timeout=TIMEOUT_S, env=ENVIRONMENT
    )


def start(words: Sequence[str], **extra: Any) -> subprocess.Popen[bytes]:
    """Start the command."""
    extra = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "env": ENVIRONMENT, **extra}
    return subprocess.Popen([*MAQUINA, *words], stderr=subprocess.PIPE, **extra)
