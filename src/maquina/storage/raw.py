"""Raw images: byte n of the disk is byte n of the file or block device.

A raw file says nothing about itself, so whether it is raw is guessed where the user does not say.
A guest that owns sector 0 could write another format's header there and have its disk taken for
that format the next time, with a backing file of its choice. `is_guessed` images therefore refuse
such a write (as QEMU does); images declared raw take any.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

from maquina.errors import ImageError
from maquina.storage.disk import check_range, check_writable
from maquina.storage.hostfile import HostFile
from maquina.storage.magic import MAGIC_BYTES, known_format
from maquina.storage.scatter import total_bytes


class RawImage:
    """A disk in a raw file. Calls come one at a time (under the machine's lock)."""

    def __init__(self, file: HostFile, *, is_guessed: bool = False) -> None:
        self._file = file
        self._is_guessed = is_guessed

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False) -> RawImage:
        """Open a file or block device that is known to be raw. ImageError if it is in use."""
        return cls(HostFile(path, is_read_only=read_only))

    @property
    def format(self) -> str:
        return "raw"

    @property
    def size_bytes(self) -> int:
        return self._file.size_bytes

    @property
    def is_read_only(self) -> bool:
        return self._file.is_read_only

    @property
    def path(self) -> Path:
        return self._file.path

    def read_into(self, offset: int, buffers: Sequence[memoryview]) -> None:
        """Fill the buffers, one after another, from `offset` on. OSError on failure."""
        check_range(self, offset, total_bytes(buffers))
        self._file.read_into(offset, buffers)

    def write_from(self, offset: int, buffers: Sequence[memoryview]) -> None:
        """Store the buffers, one after another, from `offset` on. OSError on failure."""
        check_writable(self, offset, total_bytes(buffers))
        if self._is_guessed and offset < MAGIC_BYTES:
            self._refuse_magic(offset, buffers)
        self._file.write_from(offset, buffers)

    def discard(self, offset: int, length: int) -> None:
        """Punch a hole where the host can; then the range reads as zeros."""
        check_writable(self, offset, length)
        if length:
            self._file.punch(offset, length)

    def write_zeros(self, offset: int, length: int) -> None:
        """Make a range read as zeros, sparsely where the host can."""
        check_writable(self, offset, length)
        self._file.zero(offset, length)

    def flush(self) -> None:
        """Return when everything written is on stable storage."""
        if not self.is_read_only:
            self._file.barrier()

    def close(self) -> None:
        """Close the file and unlock it. What was not flushed is left to the host's cache."""
        self._file.close()

    def _refuse_magic(self, offset: int, buffers: Sequence[memoryview]) -> None:
        start = bytearray(self._file.read(0, MAGIC_BYTES))
        written = b"".join(bytes(buffer[:MAGIC_BYTES]) for buffer in buffers[:MAGIC_BYTES])
        written = written[: len(start) - offset]
        start[offset : offset + len(written)] = written
        found = known_format(bytes(start))
        if found is not None:
            raise OSError(
                errno.EPERM,
                f"refused to turn {self._file.path}, taken for raw, into {found}: "
                "declare the format raw to let the guest write anything",
            )


def create_raw(path: Path, size_bytes: int) -> None:
    """Make a sparse raw image. ImageError if the file is already there."""
    try:
        with path.open("xb") as file:
            file.truncate(size_bytes)
    except FileExistsError as error:
        raise ImageError(f"{path} is already there", "remove it or name another file") from error
