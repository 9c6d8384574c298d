"""How many bytes all flows together may hold."""

from __future__ import annotations

# Each flow is bounded, but a guest can have hundreds whose peers do not read, on either side.
MAX_HELD_BYTES = 64 << 20


class Budget:
    """Bytes held for whoever has not read or acknowledged them yet."""

    def __init__(self, limit: int = MAX_HELD_BYTES) -> None:
        self.left = limit

    def take(self, size: int) -> bool:
        """Reserve `size` bytes if there are so many left."""
        if size > self.left:
            return False
        self.left -= size
        return True

    def give(self, size: int) -> None:
        """`size` bytes are no longer held."""
        self.left += size
