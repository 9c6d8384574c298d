"""What every disk image here is, whatever its format."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class Disk(Protocol):
    """An open disk image: what a block device needs (`machine.backends.BlockBackend`), and names.

    Offsets and lengths are bytes, inside `size_bytes`. OSError on failure. Calls come one at a
    time: a machine makes them under its lock. Nothing here starts threads or keeps locks.
    """

    @property
    def format(self) -> str: ...

    @property
    def path(self) -> Path: ...

    @property
    def size_bytes(self) -> int: ...

    @property
    def is_read_only(self) -> bool: ...

    def read_into(self, offset: int, buffers: Sequence[memoryview]) -> None: ...

    def write_from(self, offset: int, buffers: Sequence[memoryview]) -> None: ...

    def discard(self, offset: int, length: int) -> None: ...

    def write_zeros(self, offset: int, length: int) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


def check_range(disk: Disk, offset: int, length: int) -> None:
    """OSError unless a range lies inside the disk."""
    if offset < 0 or length < 0 or offset + length > disk.size_bytes:
        raise OSError(errno.EINVAL, f"{length} bytes at {offset} are outside the disk")


def check_writable(disk: Disk, offset: int, length: int) -> None:
    """OSError unless a range lies inside the disk and may be written."""
    check_range(disk, offset, length)
    if disk.is_read_only:
        raise OSError(errno.EROFS, f"{disk.path} is read-only")
