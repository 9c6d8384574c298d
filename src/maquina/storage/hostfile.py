"""A file or block device of the host that holds a disk image.

Everything that images write goes through `HostFile.write_from`, `punch` and `barrier`, so that the
order of writes can be told, recorded and tested.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from maquina.errors import HostError, ImageError
from maquina.storage.locks import lock
from maquina.storage.scatter import Scatter, fill_zeros, total_bytes, zero_buffers

MAX_BUFFERS = 1024  # preadv and pwritev take no more (IOV_MAX of Linux)
KEEP_SIZE, PUNCH_HOLE = 0x01, 0x02  # fallocate(2)


class HostFile:
    """An open image file, locked (unless told not to): exclusively if writable, shared if not.

    `size_bytes` is the size when it was opened; `end` is where bytes that were never written begin
    (they read as zeros), kept as the file grows.
    """

    def __init__(self, path: Path, *, is_read_only: bool, is_locked: bool = True) -> None:
        self.path = path
        self.is_read_only = is_read_only
        self.fd = _open(path, is_read_only=is_read_only)
        try:
            mode = os.fstat(self.fd).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
                raise ImageError(
                    f"{path} is neither a file nor a block device", "name a disk image file"
                )
            if is_locked:
                lock(self.fd, path, is_exclusive=not is_read_only)
            self.size_bytes = os.lseek(self.fd, 0, os.SEEK_END)
        except BaseException:
            os.close(self.fd)
            raise
        self.end = self.size_bytes
        self._is_lost = False

    @property
    def identity(self) -> tuple[int, int]:
        """Equal for two paths of one file."""
        status = os.fstat(self.fd)
        return status.st_dev, status.st_ino

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes; fewer only at the end of the file.

        A forged table may ask for 2^60 bytes at 2^63: no memory is taken for what is not there.
        """
        length = min(length, self.end - offset)
        return os.pread(self.fd, length, offset) if length > 0 else b""

    def read_into(self, offset: int, buffers: Sequence[memoryview]) -> None:
        """Fill the buffers; what lies past the end of the file reads as zeros."""
        total = total_bytes(buffers)
        done = os.preadv(self.fd, buffers, offset) if len(buffers) <= MAX_BUFFERS else 0
        if done < total:
            self._read_rest(offset, buffers, done)

    def _read_rest(self, offset: int, buffers: Sequence[memoryview], done: int) -> None:
        scatter = Scatter(buffers)
        scatter.take(done)
        rest = scatter.take(total_bytes(buffers) - done)
        while rest:
            count = os.preadv(self.fd, rest[:MAX_BUFFERS], offset + done)
            if not count:
                return fill_zeros(rest)
            done += count
            rest = _after(rest, count)
        return None

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Store bytes at `offset`."""
        self.write_from(offset, [memoryview(data)])

    def write_from(self, offset: int, buffers: Sequence[memoryview]) -> None:
        """Store the buffers, one after another, from `offset` on. OSError if the host cannot."""
        total = total_bytes(buffers)
        self.end = max(self.end, offset + total)
        done = os.pwritev(self.fd, buffers, offset) if len(buffers) <= MAX_BUFFERS else 0
        if done < total:
            rest = _after(buffers, done)
            while rest:
                count = os.pwritev(self.fd, rest[:MAX_BUFFERS], offset + done)
                done += count
                rest = _after(rest, count)

    def punch(self, offset: int, length: int) -> bool:
        """Give the host its space back: the range reads as zeros. False if the host cannot."""
        return _fallocate()(self.fd, PUNCH_HOLE | KEEP_SIZE, offset, length) == 0

    def zero(self, offset: int, length: int) -> None:
        """Make a range read as zeros, sparsely where the host can."""
        if length and not self.punch(offset, length):
            self.write_from(offset, zero_buffers(length))

    def barrier(self) -> None:
        """Return when all writes so far are on stable storage.

        Linux forgets pages that it failed to write, so that a second fdatasync would succeed
        without them: after one failure every later barrier fails too.
        """
        if self._is_lost:
            raise OSError(errno.EIO, f"an earlier flush of {self.path} failed: writes were lost")
        try:
            os.fdatasync(self.fd)
        except OSError:
            self._is_lost = True
            raise

    def close(self) -> None:
        """Close the file, which unlocks it. Closing again does nothing."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


@cache
def _fallocate() -> Callable[[int, int, int, int], int]:
    """fallocate(2), which the os module lacks."""
    import ctypes  # start-up stays short

    function = ctypes.CDLL(None).fallocate
    function.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    call: Callable[[int, int, int, int], int] = function
    return call


def _after(buffers: Sequence[memoryview], done: int) -> list[memoryview]:
    scatter = Scatter(buffers)
    scatter.take(done)
    return scatter.take(total_bytes(buffers) - done)


def _open(path: Path, *, is_read_only: bool) -> int:
    # O_NONBLOCK: a FIFO put where an image is expected must not hang the opener.
    flags = (os.O_RDONLY if is_read_only else os.O_RDWR) | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        return os.open(path, flags)
    except FileNotFoundError as error:
        raise ImageError(f"there is no disk image {path}", "check the path") from error
    except IsADirectoryError as error:
        raise ImageError(f"{path} is a directory", "name a disk image file") from error
    except OSError as error:
        remedy = "open it read-only, or change its permissions" if not is_read_only else ""
        raise HostError(f"{path} cannot be opened ({error.strerror})", remedy) from error
