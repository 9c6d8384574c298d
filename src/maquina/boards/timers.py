"""Waking devices whose time has come: the clock's alarm.

Timers that harts compare by themselves (stimecmp, mtimecmp) are not here. A device that may want
to be woken at another time after a write is put on the bus as `Watched`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from maquina.boards.addresses import TIMEBASE_HZ
from maquina.machine.device import Device

NANOSECONDS_PER_TICK = 1_000_000_000 // TIMEBASE_HZ


class MachineTicks:
    """The time that `mtime` and the harts' `time` show: ticks since `origin_ns` (monotonic)."""

    def __init__(self, origin_ns: int) -> None:
        self._origin_ns = origin_ns

    def now(self) -> int:
        return (time.monotonic_ns() - self._origin_ns) // NANOSECONDS_PER_TICK

    def set(self, ticks: int) -> None:
        """mtime is the host's clock, which a guest cannot set; no known software writes it."""


class Watched:
    """A device, and a function that is called after each write to it."""

    def __init__(self, device: Device, on_write: Callable[[], None]) -> None:
        self._device, self._on_write = device, on_write
        self.read = device.read

    def write(self, offset: int, size: int, value: int) -> None:
        self._device.write(offset, size, value)
        self._on_write()


class Timers:
    """A thread that calls each of `polls` when it is due.

    A poll brings its device up to date and answers in how many seconds it must be called again,
    None for not before a write. It is called with `lock` held.
    """

    def __init__(
        self,
        lock: AbstractContextManager[bool],
        polls: Sequence[Callable[[], float | None]],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._lock, self._polls, self._on_error = lock, polls, on_error
        self._changed = threading.Event()
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="timers")

    def start(self) -> None:
        self._thread.start()

    def look(self) -> None:
        """Something has changed: poll soon. Takes no lock."""
        self._changed.set()

    def end(self) -> None:
        """Make the thread finish, and wait for it."""
        self._is_over = True
        self._changed.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            while not self._is_over:
                with self._lock:
                    due = [seconds for poll in self._polls if (seconds := poll()) is not None]
                self._changed.wait(min(due, default=None))
                self._changed.clear()
        except Exception as error:
            self._on_error(error)
