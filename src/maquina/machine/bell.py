"""A bell that one thread waits for and any thread may ring."""

from __future__ import annotations

import threading


class Bell:
    """Rings that nobody waits for are kept: the next wait returns at once."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def ring(self) -> None:
        """Wake the waiter, or whoever waits next."""
        self._event.set()

    def wait(self, timeout_s: float | None) -> bool:
        """Return when the bell rings or the time is over; whether it rang."""
        rang = self._event.wait(timeout_s)
        self._event.clear()
        return rang
