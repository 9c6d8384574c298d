"""The changes to a tree, on disk: whole after a kill at any moment.

    magic
    frame*     FRAME: length and CRC-32 of what follows; then records, all of one operation
    record     RECORD: kind, inode, length of what follows; then by kind

        BELOW     the digest of what the changes are to (first of all records, inode 0)
        INODE     ATTRIBUTES
        TARGET    where a symlink points
        XATTRS    all extended attributes
        ENTRY     CHILD, then a name: a directory's entry; child 0 is one that is gone
        GONE      the inode is no more

An operation is one frame and one write: a rename is there with both its entries or not at all.
Reading stops at the first frame that is not whole, which is where a killed writer was. Room is
reserved before anything is changed, so a full host refuses an operation before it begins.
"""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from struct import Struct
from typing import NamedTuple

from maquina.errors import FormatError
from maquina.storage.layers.beside import sync_directory
from maquina.storage.layers.ranges import KEEP_SIZE, allocate

MAGIC = b"MAQJRNL1"
FRAME = Struct("<II")
RECORD = Struct("<BQI")
ATTRIBUTES = Struct("<6I3qQ")  # mode, uid, gid, links, rdev, 0, three times, content
CHILD = Struct("<QQ")  # ino, cookie

BELOW, INODE, TARGET, XATTRS, ENTRY, GONE = range(1, 7)

FROM_BELOW = (1 << 64) - 1  # as `content`: what it was before these changes

HEADROOM = 1 << 18  # bytes kept reserved: more than the largest frame, a full set of xattrs
RESERVE = 1 << 20  # bytes reserved at a time
COMPACT_FROM = 1 << 24  # bytes; below this a journal is never rewritten
CHUNK = 1 << 16  # bytes of records in a frame of a rewritten journal


class Change(NamedTuple):
    """One record."""

    kind: int
    ino: int
    body: bytes

    def pack(self) -> bytes:
        return RECORD.pack(self.kind, self.ino, len(self.body)) + self.body


class Journal:
    """A journal open for appending, by one process: the directory's lock is the caller's."""

    def __init__(self, path: Path) -> None:
        """Open it after its last whole frame. OSError if the host cannot."""
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._failed = False
        self._compacted = self._reserved = 0
        self._end = 0

    def replay(self) -> Iterator[Change]:
        """All records; what follows the last whole frame is cut off. FormatError if no journal."""
        data = self.path.read_bytes()
        if len(data) < len(MAGIC) and MAGIC.startswith(data):
            os.pwrite(self._fd, MAGIC, 0)
            data = MAGIC
        self._end = len(MAGIC)
        for end, change in read(data, self.path):
            self._end = end
            yield change
        self._compacted = self._reserved = self._end
        os.ftruncate(self._fd, self._end)

    @property
    def has_records(self) -> bool:
        """Whether it tells anything."""
        return self._end > len(MAGIC)

    @property
    def is_overgrown(self) -> bool:
        """Whether most of it is probably history: it should be rewritten."""
        return self._end > max(COMPACT_FROM, 4 * self._compacted)

    def reserve(self) -> None:
        """Make sure that the next frame fits. OSError ENOSPC if the host is full."""
        if self._failed:
            raise OSError(errno.EIO, "the journal could not be written")
        if self._end + HEADROOM > self._reserved:
            try:
                allocate(self._fd, KEEP_SIZE, self._end, RESERVE)
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP:
                    raise
            self._reserved = self._end + RESERVE

    def append(self, changes: Iterable[Change]) -> None:
        """Add one operation. After a failure nothing is appended any more."""
        frame = _framed(b"".join(change.pack() for change in changes))
        written = -1
        try:
            written = os.pwrite(self._fd, frame, self._end)
        finally:
            self._failed = written != len(frame)
        self._end += len(frame)

    def rewrite(self, changes: Iterable[Change]) -> None:
        """Replace the history by what has come of it; on a full host it stays, whole as it is."""
        fresh = self.path.with_suffix(".new")
        try:
            self._end = write(fresh, changes)
        except OSError:
            fresh.unlink(missing_ok=True)
            self._compacted = self._end
            return
        fresh.rename(self.path)
        sync_directory(self.path.parent)
        os.close(self._fd)
        self._fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        self._compacted = self._reserved = self._end

    def sync(self) -> None:
        """Return when all that was appended is on stable storage."""
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Close the file. Does nothing the second time."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def write(path: Path, changes: Iterable[Change]) -> int:
    """Write a whole journal, synced; returns its length."""
    pending = bytearray()
    with path.open("wb") as file:
        file.write(MAGIC)
        for change in changes:
            pending += change.pack()
            if len(pending) >= CHUNK:
                file.write(_framed(pending))
                pending.clear()
        file.write(_framed(pending))
        file.flush()
        os.fsync(file.fileno())
        return file.tell()


def read(data: bytes, path: Path) -> Iterator[tuple[int, Change]]:
    """The records of a journal's whole frames, each with where its frame ends."""
    if not data.startswith(MAGIC):
        raise FormatError(f"{path} is no journal of this version")
    at = len(MAGIC)
    while at + FRAME.size <= len(data):
        size, crc = FRAME.unpack_from(data, at)
        frame = data[at + FRAME.size : at + FRAME.size + size]
        if not size or len(frame) != size or zlib.crc32(frame) != crc:
            return
        at += FRAME.size + size
        yield from ((at, change) for change in _records(frame))


def _records(frame: bytes) -> Iterator[Change]:
    at = 0
    while at < len(frame):
        kind, ino, size = RECORD.unpack_from(frame, at)
        at += RECORD.size + size
        yield Change(kind, ino, frame[at - size : at])


def _framed(records: bytes | bytearray) -> bytes:
    return FRAME.pack(len(records), zlib.crc32(records)) + records if records else b""
