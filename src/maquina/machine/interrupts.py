"""Interrupt wires: a level that a device drives and a controller or a CPU watches."""

from __future__ import annotations

from collections.abc import Callable


class Line:
    """A level-triggered wire. The listener hears changes only."""

    __slots__ = ("_listener", "level")

    def __init__(self, listener: Callable[[bool], None] | None = None) -> None:
        self.level = False
        self._listener = listener

    def connect(self, listener: Callable[[bool], None]) -> None:
        """Send level changes to `listener`, which is told the present level at once."""
        self._listener = listener
        listener(self.level)

    def set(self, level: bool) -> None:
        """Drive the wire."""
        if level != self.level:
            self.level = level
            if self._listener is not None:
                self._listener(level)
