"""No network: a cable with nothing at the other end. The smallest complete backend."""

from __future__ import annotations

from collections.abc import Callable


class NoNetwork:
    """Swallows what the guest sends and never has anything for it."""

    def attach(self, receive: Callable[[bytes], bool]) -> None:
        """Nothing will ever be delivered."""

    def send(self, frame: bytes) -> None:
        """The frame is lost, as on a cable that is not plugged in."""

    def ready(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is held."""
