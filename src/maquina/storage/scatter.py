"""Scatter lists: the buffers of one request, taken piece by piece.

A request carries one or more flat byte buffers (`memoryview` of format "B") that together cover a
contiguous range of the disk. Where the range is not contiguous on the host, the list is cut.
"""

from __future__ import annotations

from collections.abc import Sequence

ZEROS = memoryview(bytes(1 << 20))


def total_bytes(buffers: Sequence[memoryview]) -> int:
    """The length of a scatter list."""
    return sum(map(len, buffers))


def fill_zeros(buffers: Sequence[memoryview]) -> None:
    """Clear every buffer."""
    for buffer in buffers:
        for start in range(0, len(buffer), len(ZEROS)):
            piece = buffer[start : start + len(ZEROS)]
            piece[:] = ZEROS[: len(piece)]


def zero_buffers(length: int) -> list[memoryview]:
    """A scatter list of `length` zero bytes that takes no memory of its own."""
    whole, rest = divmod(length, len(ZEROS))
    return [ZEROS] * whole + ([ZEROS[:rest]] if rest else [])


class Scatter:
    """A scatter list that is consumed from its front."""

    __slots__ = ("_at", "_buffers", "_used")

    def __init__(self, buffers: Sequence[memoryview]) -> None:
        self._buffers = buffers
        self._at = 0
        self._used = 0

    def take(self, length: int) -> list[memoryview]:
        """The next `length` bytes, which must be there."""
        taken = []
        while length:
            buffer = self._buffers[self._at]
            piece = buffer[self._used : self._used + length]
            if self._used + len(piece) == len(buffer):
                self._at += 1
                self._used = 0
            else:
                self._used += len(piece)
            length -= len(piece)
            if len(piece):
                taken.append(piece)
        return taken
