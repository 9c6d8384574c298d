"""Parts of host files: reserving, copying, finding holes."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from collections.abc import Callable, Iterator, Sequence

KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE
MAX_BUFFERS = 1024  # IOV_MAX: more than that the kernel refuses in one call
COPY_CHUNK = 1 << 20


@functools.cache
def _fallocate() -> Callable[[int, int, int, int], int]:
    function = ctypes.CDLL(None, use_errno=True).fallocate64
    function.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    return function


def allocate(fd: int, mode: int, offset: int, length: int) -> None:
    """fallocate(2), which Python has without its `mode` only."""
    while _fallocate()(fd, mode, offset, length):
        number = ctypes.get_errno()
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))


def read_into(fd: int, offset: int, buffers: Sequence[memoryview]) -> int:
    """Fill buffers from a file's `offset` on; returns how many bytes there were."""
    total = 0
    for at in range(0, len(buffers), MAX_BUFFERS):
        batch = buffers[at : at + MAX_BUFFERS]
        count = os.preadv(fd, batch, offset + total)
        total += count
        if count < sum(map(len, batch)):
            break
    return total


def write_from(fd: int, offset: int, buffers: Sequence[memoryview]) -> int:
    """Store buffers at a file's `offset`; returns how many bytes the host took.

    OSError only if it took none.
    """
    total = 0
    for at in range(0, len(buffers), MAX_BUFFERS):
        batch = buffers[at : at + MAX_BUFFERS]
        try:
            count = os.pwritev(fd, batch, offset + total)
        except OSError:
            if not total:
                raise
            break
        total += count
        if count < sum(map(len, batch)):
            break
    return total


def clip(buffers: Sequence[memoryview], length: int) -> Sequence[memoryview]:
    """The first `length` bytes of buffers."""
    kept: list[memoryview] = []
    for buffer in buffers:
        if length <= 0:
            break
        kept.append(buffer if len(buffer) <= length else buffer[:length])
        length -= len(buffer)
    return kept


def copy(source: tuple[int, int], target: tuple[int, int], length: int) -> int:
    """Copy between files, given as descriptor and offset; shares blocks where the host can."""
    (source_fd, start), (target_fd, at) = source, target
    done = 0
    while done < length:
        try:
            count = os.copy_file_range(
                source_fd, target_fd, length - done, start + done, at + done
            )
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            chunk = os.pread(source_fd, min(COPY_CHUNK, length - done), start + done)
            count = os.pwrite(target_fd, chunk, at + done)
        if not count:
            break
        done += count
    return done


def data_ranges(fd: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Where a file has data between two offsets, as pairs of begin and end."""
    while start < end:
        try:
            begin = os.lseek(fd, start, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        if begin >= end:
            return
        start = min(os.lseek(fd, begin, os.SEEK_HOLE), end)
        yield begin, start
