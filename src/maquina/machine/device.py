"""What a device is to the rest of a machine.

A device sees offsets from its own base, never addresses, and gets whatever it needs (interrupt
line, backend, memory) as constructor arguments. Whatever a guest writes, it answers as hardware
would: unknown registers read as zero and ignore writes.
"""

from __future__ import annotations

from typing import Protocol


class Device(Protocol):
    """Registers in a window of the physical address space."""

    def read(self, offset: int, size: int) -> int:
        """The `size` bytes (1, 2, 4 or 8) at `offset`, little-endian, as a non-negative number."""
        ...

    def write(self, offset: int, size: int, value: int) -> None:
        """Store `value`, which fits in `size` bytes (1, 2, 4 or 8), at `offset`."""
        ...
