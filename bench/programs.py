"""A program and its console, seen from outside: when it says something, and what it has used."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.ratios import Missing, Sample

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PATIENCE_S = 120.0
LAST_WORDS = 2000  # bytes shown of a program that does not say what is awaited
DONE = re.compile(rb"DONE (\d+)\r?\n")


class Program:
    """A process whose standard input and output we hold. Time counts from before it is made."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self.began = time.perf_counter()
        try:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=None if environment is None else {**os.environ, **environment},
                bufsize=0,
            )
        except FileNotFoundError as error:
            raise Missing(f"{argv[0]} is not installed") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        self._seen = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def close(self) -> None:
        """End it, if it has not ended."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
        self._input.close()
        self._output.close()

    def expect(self, pattern: bytes | re.Pattern[bytes], patience_s: float = PATIENCE_S) -> Sample:
        """Read until a pattern comes; seconds since the start, and CPU time used until then."""
        self.match(pattern, patience_s)
        return Sample(time.perf_counter() - self.began, self.user_s())

    def match(
        self, pattern: bytes | re.Pattern[bytes], patience_s: float = PATIENCE_S
    ) -> re.Match[bytes]:
        """Read until a pattern comes, and past it."""
        deadline = time.perf_counter() + patience_s
        while not (found := re.search(pattern, self._seen)):
            left = deadline - time.perf_counter()
            ready = select.select([self._output], [], [], max(left, 0))[0]
            data = os.read(self._output.fileno(), 1 << 16) if ready else b""
            if not data:
                words = self._seen[-LAST_WORDS:].decode(errors="replace")
                raise RuntimeError(f"{pattern!r} never came; the last words were:\n{words}")
            self._seen += data
        self._seen = self._seen[found.end() :]
        return found

    def command(self, line: str) -> None:
        """Have the shell that is our guest's /init run a line; RuntimeError if that fails."""
        self.send(line)
        done = self.match(DONE)
        if done[1] != b"0":
            raise RuntimeError(f"the guest said {done[1].decode()} to {line!r}")

    def send(self, line: str) -> None:
        self._input.write(line.encode() + b"\n")

    def user_s(self) -> float:
        """User CPU time so far, of all its threads, also of those that have ended."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) / TICKS_PER_SECOND

    def cpu_s(self) -> float:
        """User and system CPU time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def run(argv: Sequence[str], environment: Mapping[str, str] | None = None) -> Sample:
    """Run a program to its end, without input or output: seconds and user CPU time."""
    began = time.perf_counter()
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=None if environment is None else {**os.environ, **environment},
        )
    except FileNotFoundError as error:
        raise Missing(f"{argv[0]} is not installed") from error
    _, status, usage = os.wait4(process.pid, 0)
    taken = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(argv)} ended with {process.returncode}")
    return Sample(taken, usage.ru_utime)
