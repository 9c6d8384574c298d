"""The numbered host files that hold what a guest has written.

A directory of files named by numbers of ours. Few of them are open at a time, whatever the guest
has open: the least recently used is closed.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

MAX_OPEN = 128  # host files open at once; a guest may use any number at the same time
BLOCK = 512  # what stat(2) counts in


class Contents:
    """Host files by number. `used_bytes` is the room that they take on the host."""

    def __init__(self, directory: Path, is_read_only: bool = False) -> None:
        self.directory = directory
        # A file that was lost (the host lost power before it was synced) is an empty one.
        self._flags = os.O_CLOEXEC | (os.O_RDONLY if is_read_only else os.O_RDWR | os.O_CREAT)
        self._open: dict[int, int] = {}  # least recently used first
        self._sizes: dict[int, int] = {}
        self._next = 1
        self.used_bytes = 0

    def scan(self, known: Collection[int], last: int) -> None:
        """Count what is there and remove what is not `known`. `last` and below was once given."""
        for path in self.directory.iterdir():
            number = int(path.name) if path.name.isdecimal() else 0
            if number in known:
                self._measure(number, path.stat())
            else:
                path.unlink()
        self._next = last + 1

    def create(self) -> int:
        """A new, empty file."""
        number = self._next
        self._next += 1
        self._admit(number, os.open(self._path(number), self._flags | os.O_EXCL, 0o600))
        return number

    def file(self, number: int) -> int:
        """The descriptor of a file, good until MAX_OPEN others are asked for."""
        fd = self._open.pop(number, -1)
        if fd < 0:
            return self._admit(number, os.open(self._path(number), self._flags, 0o600))
        self._open[number] = fd
        return fd

    def size(self, number: int) -> int:
        """The length of a file, 0 if it was lost."""
        try:
            return self._path(number).stat().st_size
        except FileNotFoundError:
            return 0

    def blocks(self, number: int, _size: int) -> int:
        """How many blocks a file takes, holes left out."""
        if number not in self._sizes:
            self.measure(number)
        return self._sizes[number] // BLOCK

    def measure(self, number: int) -> None:
        """Count the room a file takes again, after it was written."""
        self._measure(number, os.fstat(self.file(number)))

    def remove(self, number: int) -> None:
        """Delete a file."""
        fd = self._open.pop(number, -1)
        if fd >= 0:
            os.close(fd)
        self._path(number).unlink(missing_ok=True)
        self.used_bytes -= self._sizes.pop(number, 0)

    def close(self) -> None:
        """Close the host files."""
        while self._open:
            os.close(self._open.popitem()[1])

    def _path(self, number: int) -> Path:
        return self.directory / str(number)

    def _measure(self, number: int, status: os.stat_result) -> None:
        room = status.st_blocks * BLOCK
        self.used_bytes += room - self._sizes.get(number, 0)
        self._sizes[number] = room

    def _admit(self, number: int, fd: int) -> int:
        if len(self._open) >= MAX_OPEN:
            oldest = next(iter(self._open))
            os.close(self._open.pop(oldest))
        self._open[number] = fd
        return fd
