"""`maquina run debian` on a terminal, driven as a person would."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator

import pytest
from tests.boot.commands import ENVIRONMENT, MAQUINA, image

pytestmark = pytest.mark.boot
PROMPT = b"# "
PROMPT_S = 60
TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Person:
    """Somebody at a terminal of 100 columns and 40 rows in which a command runs."""

    def __init__(self, *words: str) -> None:
        self.terminal, theirs = pty.openpty()
        self.resize(100, 40)
        self.before = termios.tcgetattr(self.terminal)
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, *MAQUINA, *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env=ENVIRONMENT,
        )
        os.close(theirs)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: bytes) -> None:
        os.write(self.terminal, text)

    def read_until(self, wanted: bytes, timeout_s: float = 30) -> bytes:
        seen = b""
        deadline = time.monotonic() + timeout_s
        while wanted not in seen:
            ready, _, _ = select.select([self.terminal], [], [], deadline - time.monotonic())
            assert ready, f"no {wanted!r} in {seen[-500:]!r}"
            seen += os.read(self.terminal, 1 << 16)
        return seen

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self.terminal)


@pytest.fixture
def person() -> Iterator[Person]:
    image()
    person = Person("run", "debian")
    yield person
    person.process.kill()
    person.process.wait()
    person.close()


def test_a_shell_with_job_control_and_sizes(person: Person) -> None:
    person.read_until(PROMPT, PROMPT_S)
    person.type(b"stty size\r")
    person.read_until(b"40 100\r\n")
    person.resize(90, 30)
    person.read_until(PROMPT)
    time.sleep(0.5)
    person.type(b"stty size\r")
    person.read_until(b"30 90\r\n")
    person.type(b"sleep 99\r")
    time.sleep(0.5)
    person.type(b"\x03")
    person.type(b"echo status=$?\r")
    person.read_until(b"status=130\r\n")
    person.type(b"exit 7\r")
    assert person.process.wait(20) == 7
    assert termios.tcgetattr(person.terminal) == person.before


def test_ctrl_a_x_leaves(person: Person) -> None:
    person.read_until(PROMPT, PROMPT_S)
    assert termios.tcgetattr(person.terminal) != person.before
    person.type(b"\x01x")
    assert person.process.wait(10) == 0
    assert termios.tcgetattr(person.terminal) == person.before


def test_termination_restores_the_terminal(person: Person) -> None:
    person.read_until(PROMPT, PROMPT_S)
    person.process.send_signal(signal.SIGTERM)
    assert person.process.wait(10) == 143
    assert termios.tcgetattr(person.terminal) == person.before


def test_a_terminal_that_is_closed_ends_the_machine(person: Person) -> None:
    person.read_until(PROMPT, PROMPT_S)
    person.close()
    assert person.process.wait(10) == 129
