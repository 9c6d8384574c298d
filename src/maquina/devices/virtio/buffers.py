"""Scatter-gather lists: the views of guest memory that a descriptor chain names, as one stream."""

from __future__ import annotations

from collections.abc import Sequence


def size_of(buffers: Sequence[memoryview]) -> int:
    """How many bytes the buffers hold together."""
    return sum(map(len, buffers))


def gather(buffers: Sequence[memoryview], limit: int) -> bytes:
    """A copy of the first `limit` bytes, fewer if there are fewer."""
    if len(buffers) == 1:
        return bytes(buffers[0][:limit])
    parts = []
    for buffer in buffers:
        if limit <= 0:
            break
        parts.append(buffer[:limit])
        limit -= len(buffer)
    return b"".join(parts)


def scatter(buffers: Sequence[memoryview], data: bytes | bytearray | memoryview) -> int:
    """Fill the buffers from `data`; answers how many bytes found room."""
    room = memoryview(data)
    for buffer in buffers:
        count = min(len(buffer), len(room))
        buffer[:count] = room[:count]
        room = room[count:]
        if not room:
            break
    return len(data) - len(room)


def split(buffers: Sequence[memoryview], at: int) -> tuple[list[memoryview], list[memoryview]]:
    """The first `at` bytes and the rest, sharing memory with `buffers`."""
    front: list[memoryview] = []
    for index, buffer in enumerate(buffers):
        if at < len(buffer):
            if at:
                front.append(buffer[:at])
            return front, [buffer[at:], *buffers[index + 1 :]]
        front.append(buffer)
        at -= len(buffer)
    return front, []
