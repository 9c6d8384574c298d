"""Locks on image files, so that two machines never write one disk.

They are the open-file-description locks that QEMU and its tools take (`docs/interop` of QEMU does
not tell; `man qemu-img`, "image locking" does): byte 100+n is held shared by whoever uses right n,
byte 200+n by whoever denies right n to others. A writer here holds all of these bytes exclusively;
a reader uses "consistent read" and denies "write" and "resize". So our machines exclude each
other, and QEMU's, in both directions.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from pathlib import Path

from maquina.errors import HostError, ImageError

USES, DENIES = 100, 200  # first lock byte of the rights used, of the rights denied
CONSISTENT_READ, WRITE, RESIZE = 0, 1, 3  # the rights that matter here
RIGHTS_SPAN = 200  # a writer holds bytes 100 to 299
FLOCK = struct.Struct("hhqqi0q")  # struct flock of 64-bit Linux


def lock(fd: int, path: Path, *, is_exclusive: bool) -> None:
    """Lock an open image until `fd` is closed. ImageError if someone else uses it."""
    try:
        if is_exclusive:
            _set(fd, fcntl.F_WRLCK, USES, RIGHTS_SPAN)
        else:
            for byte in (USES + CONSISTENT_READ, DENIES + WRITE, DENIES + RESIZE):
                _set(fd, fcntl.F_RDLCK, byte, 1)
            _refuse_writers(fd)
    except BlockingIOError as error:
        raise ImageError(
            f"{path} is in use by another machine or program",
            "stop it, or give each machine an overlay of its own",
        ) from error
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise HostError(f"{path} cannot be locked ({error.strerror})") from error
        _lock_whole(fd, path, is_exclusive=is_exclusive)


def _set(fd: int, kind: int, start: int, length: int) -> None:
    request = FLOCK.pack(kind, os.SEEK_SET, start, length, 0)
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, request)
    except PermissionError as error:  # POSIX lets a busy lock be told by EACCES too
        raise BlockingIOError(errno.EAGAIN, "locked") from error


def _refuse_writers(fd: int) -> None:
    """QEMU's writers hold "uses write" shared; ask whether someone does."""
    request = FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, USES + WRITE, 1, 0)
    answer = FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, request))
    if answer[0] != fcntl.F_UNLCK:
        raise BlockingIOError(errno.EAGAIN, "a writer has it")


def _lock_whole(fd: int, path: Path, *, is_exclusive: bool) -> None:
    """For hosts without open-file-description locks (gVisor)."""
    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if is_exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ImageError(f"{path} is in use", "stop the other user of it") from error
