"""What time it is in a machine."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A monotonic clock for timers and a wall clock for calendars, both in nanoseconds."""

    def monotonic_ns(self) -> int: ...

    def wall_ns(self) -> int: ...


class HostClock:
    """The host's clocks; the monotonic one starts at zero when the machine does."""

    def __init__(self) -> None:
        self._origin = time.monotonic_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns() - self._origin

    def wall_ns(self) -> int:
        return time.time_ns()
