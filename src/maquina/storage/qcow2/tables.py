"""A bounded cache of metadata tables: L2 tables and refcount blocks, each one cluster.

Tables are arrays of numbers in the host's byte order. Changed ones stay in the cache until
`write_back`; others leave it, least recently used first, when it is full.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable

from maquina.storage.hostfile import HostFile
from maquina.storage.qcow2.header import bad

WORDS = {1: "B", 2: "H", 4: "I", 8: "Q"}
# What one image's cached tables may take. 64 KiB clusters: 256 tables, the map of a 128 GB disk.
CACHE_BYTES = 16 << 20


def from_big_endian(data: bytes, word_bytes: int = 8) -> array[int]:
    """Big-endian words as an array of numbers."""
    words: array[int] = array(WORDS[word_bytes])
    words.frombytes(data)
    if sys.byteorder == "little":
        words.byteswap()
    return words


def to_big_endian(words: array[int]) -> bytes:
    """An array of numbers as big-endian words."""
    if sys.byteorder == "little":
        words = words[:]
        words.byteswap()
    return words.tobytes()


class Table:
    """One table: its words, and which of them (`low` to `high`) the disk has not seen."""

    __slots__ = ("high", "low", "words")

    def __init__(self, words: array[int]) -> None:
        self.words = words
        self.low = len(words)
        self.high = 0

    def touch(self, first: int, end: int) -> None:
        """Note that words `first` to `end` changed."""
        self.low = min(self.low, first)
        self.high = max(self.high, end)


class TableCache:
    """Tables by the offset of their cluster in the file."""

    def __init__(
        self,
        file: HostFile,
        cluster_size: int,
        decode: Callable[[bytes], array[int]] = from_big_endian,
        encode: Callable[[array[int]], bytes] = to_big_endian,
    ) -> None:
        self._file = file
        self._cluster_size = cluster_size
        self._decode = decode
        self._encode = encode
        self._tables: dict[int, Table] = {}
        self._dirty: dict[int, Table] = {}
        self._limit = max(CACHE_BYTES // cluster_size, 4)

    @property
    def is_dirty(self) -> bool:
        return bool(self._dirty)

    @property
    def is_crowded(self) -> bool:
        """So much is dirty that it should be written back."""
        return 2 * len(self._dirty) >= self._limit

    def get(self, offset: int) -> Table:
        """The table at a file offset. FormatError if it is not a cluster inside the file."""
        table = self._tables.pop(offset, None)
        if table is None:
            table = self._load(offset)
        self._tables[offset] = table  # now the most recently used
        return table

    def _load(self, offset: int) -> Table:
        if offset % self._cluster_size or not offset:
            raise bad(f"a table at {offset:#x} cannot be")
        data = self._file.read(offset, self._cluster_size)
        if len(data) < self._cluster_size:
            raise bad(f"the table at {offset:#x} is outside the file")
        self._make_room()
        return Table(self._decode(data))

    def add(self, offset: int, words: array[int]) -> Table:
        """Take in a new table, all of it dirty."""
        self._make_room()
        table = self._tables[offset] = self._dirty[offset] = Table(words)
        table.touch(0, len(words))
        return table

    def touch(self, offset: int, first: int, end: int) -> None:
        """Note that words of a table that is in the cache changed."""
        table = self._tables[offset]
        table.touch(first, end)
        self._dirty[offset] = table

    def forget(self, offset: int) -> None:
        """Drop a table whose cluster is free now."""
        self._tables.pop(offset, None)
        self._dirty.pop(offset, None)

    def _make_room(self) -> None:
        while len(self._tables) >= self._limit:
            victim = next((at for at in self._tables if at not in self._dirty), None)
            if victim is None:
                return
            del self._tables[victim]

    def write_back(self) -> None:
        """Write what is dirty; after an OSError the rest is still dirty."""
        for offset, table in sorted(self._dirty.items()):
            data = self._encode(table.words)
            self._write(offset, table, data)
            table.low, table.high = len(table.words), 0
            del self._dirty[offset]

    def _write(self, offset: int, table: Table, data: bytes) -> None:
        bits = 8 * len(data)
        first = table.low * bits // len(table.words) // 8
        end = -(-table.high * bits // len(table.words) // 8)
        self._file.write(offset + first, data[first:end])
