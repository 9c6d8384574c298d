"""The terminal of the person at the keyboard: raw while a guest has it, and restored always.

In raw mode every key goes to the guest, Ctrl-C included, but for one: after Ctrl-A, x leaves and
another Ctrl-A sends one; any other key is sent with its Ctrl-A before it.
"""

from __future__ import annotations

import contextlib
import os
import termios
import tty
from collections.abc import Callable, Iterator

ESCAPE = 0x01  # Ctrl-A
LEAVE = ord("x")


def size_of(fd: int) -> tuple[int, int]:
    """Columns and rows; 80 by 24 if the terminal does not know."""
    try:
        columns, rows = os.get_terminal_size(fd)
    except OSError:
        return 80, 24
    return columns or 80, rows or 24


@contextlib.contextmanager
def raw(fd: int) -> Iterator[None]:
    """Raw mode inside the block. A terminal that was closed meanwhile is left alone."""
    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd, termios.TCSANOW)
        yield
    finally:
        with contextlib.suppress(termios.error):
            termios.tcsetattr(fd, termios.TCSANOW, before)


class Escapes:
    """A filter of what is typed."""

    def __init__(self, on_leave: Callable[[], None]) -> None:
        self._on_leave = on_leave
        self._is_escaped = False

    def __call__(self, data: bytes) -> bytes:
        """What of `data` is for the guest."""
        out = bytearray()
        for key in data:
            if not self._is_escaped:
                if key == ESCAPE:
                    self._is_escaped = True
                else:
                    out.append(key)
                continue
            self._is_escaped = False
            if key == LEAVE:
                self._on_leave()
                break
            out += bytes([ESCAPE]) if key == ESCAPE else bytes([ESCAPE, key])
        return bytes(out)
