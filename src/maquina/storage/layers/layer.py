"""A read-only layer: what `writer` made, mapped and decoded as far as somebody looks."""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
import zlib
from pathlib import Path
from types import TracebackType

from maquina.errors import FormatError, ImageError
from maquina.storage.layers.format import (
    DATA_NAME,
    HEADER,
    MAGIC,
    RECORD,
    TABLE_NAME,
    Record,
    unpack_xattrs,
)

BLOCK = 512  # what stat(2) counts in
REMEDY = "remove this directory and have it made again"


class Layer:
    """One layer, open. Records are numbered from 0, the root; `identity` is a digest of it all."""

    def __init__(self, path: Path, table: mmap.mmap, data_fd: int) -> None:
        self.path = path
        self._table = table
        self._data_fd = data_fd
        self._count: int
        _, self._count, self._heap_size, self.data_size, self._crc, self._digest = (
            HEADER.unpack_from(table)
        )
        self._heap = HEADER.size + self._count * RECORD.size
        self.identity = hashlib.sha256(table[: HEADER.size]).digest()

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Layer:
        """The layer in a directory. ImageError if there is none, FormatError if it is damaged."""
        path = Path(path)
        try:
            table = _map(path / TABLE_NAME)
            data_fd = os.open(path / DATA_NAME, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise ImageError(f"no layer in {path} ({error.strerror})", REMEDY) from error
        try:
            layer = cls(path, table, data_fd)
            layer._check(os.fstat(data_fd).st_size)
        except (FormatError, OSError):
            os.close(data_fd)
            raise
        return layer

    def _check(self, data_size: int) -> None:
        whole = len(self._table) == self._heap + self._heap_size and self._count > 0
        with memoryview(self._table) as table:
            whole = whole and zlib.crc32(table[HEADER.size :]) == self._crc
        if not whole:
            raise FormatError(f"the layer's table in {self.path} is damaged", REMEDY)
        if data_size != self.data_size:
            wanted = f"{data_size} bytes of data, not {self.data_size}"
            raise FormatError(f"the layer in {self.path} has {wanted}", REMEDY)

    def __len__(self) -> int:
        return self._count

    def __enter__(self) -> Layer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def record(self, number: int) -> Record:
        """The attributes of one inode."""
        return Record._make(RECORD.unpack_from(self._table, HEADER.size + number * RECORD.size))

    def mode(self, number: int) -> int:
        """The type and mode of one inode."""
        at = HEADER.size + number * RECORD.size
        return int.from_bytes(self._table[at : at + 4], "little")

    def entries(self, record: Record) -> dict[bytes, int]:
        """What a directory holds: names and record numbers, or WHITEOUT."""
        table, at = self._table, self._heap + record.offset
        size = int.from_bytes(table[at : at + 4], "little")
        names = table[at + 4 : at + 4 + size].split(b"/")
        numbers: tuple[int, ...] = struct.unpack_from(f"<{record.size}I", table, at + 4 + size)
        return dict(zip(names, numbers, strict=False))  # an empty directory has the one name b""

    def target(self, record: Record) -> bytes:
        """Where a symlink points."""
        at = self._heap + record.offset
        return self._table[at : at + record.size]

    def xattrs(self, record: Record) -> dict[bytes, bytes]:
        """The extended attributes of an inode."""
        if not record.xattrs:
            return {}
        with memoryview(self._table) as table:
            return unpack_xattrs(table, self._heap + record.xattrs - 1)

    def file(self, _content: int) -> int:
        """The host file that contents are in: the same one for all of them."""
        return self._data_fd

    def blocks(self, _content: int, size: int) -> int:
        """How many blocks contents take: layers have no holes."""
        return (size + BLOCK - 1) // BLOCK

    def verify(self) -> None:
        """Read all the contents. FormatError if they are not what was stored."""
        digest, at = hashlib.sha256(), 0
        while chunk := os.pread(self._data_fd, 1 << 20, at):
            digest.update(chunk)
            at += len(chunk)
        if digest.digest() != self._digest:
            raise FormatError(f"the layer's contents in {self.path} are damaged", REMEDY)

    def close(self) -> None:
        """Unmap it and close its files."""
        if not self._table.closed:
            self._table.close()
            os.close(self._data_fd)


def _map(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < HEADER.size:
            raise FormatError(f"{path} is too short for a layer's table", REMEDY)
        table = mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ)
    if table[: len(MAGIC)] != MAGIC:
        table.close()
        raise FormatError(f"{path} is not a layer's table of this version", REMEDY)
    return table
