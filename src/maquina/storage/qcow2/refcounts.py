"""Which host clusters are in use (the manual, "Host cluster management").

A refcount block is kept as an array of counts, whatever their width on disk (1 to 64 bits).
Changes stay in memory until `write_back`.
"""

from __future__ import annotations

import errno
import struct
from array import array
from collections.abc import Iterable

from maquina.storage.hostfile import HostFile
from maquina.storage.qcow2.header import (
    FIELD_REFCOUNT_TABLE,
    MAX_REFCOUNT_TABLE_BYTES,
    Header,
    bad,
)
from maquina.storage.qcow2.tables import (
    WORDS,
    Table,
    TableCache,
    from_big_endian,
    to_big_endian,
)

MAX_HOST_OFFSET = 1 << 56  # L1 and L2 entries cannot name more


def unpack_counts(data: bytes, order: int) -> array[int]:
    """A refcount block of 2^order-bit counts (at most 8 bits: least significant first)."""
    if order >= 3:
        return from_big_endian(data, 1 << order - 3)
    bits, per_byte = 1 << order, 8 >> order
    counts = array("B", bytes(len(data) * per_byte))
    for place in range(per_byte):
        part = bytes(byte >> place * bits & (1 << bits) - 1 for byte in range(256))
        counts[place::per_byte] = array("B", data.translate(part))
    return counts


def pack_counts(counts: array[int], order: int) -> bytes:
    """The opposite of `unpack_counts`."""
    if order >= 3:
        return to_big_endian(counts)
    bits, per_byte = 1 << order, 8 >> order
    total = 0
    for place in range(per_byte):
        part = bytes((count << place * bits) & 0xFF for count in range(256))
        plane = counts[place::per_byte].tobytes().translate(part)
        total |= int.from_bytes(plane, "little")
    return total.to_bytes(len(counts) // per_byte, "little")


class Refcounts:
    """The two-level table of counts, and finding free clusters in it."""

    def __init__(self, file: HostFile, header: Header) -> None:
        self._file = file
        self._cluster_bits = header.cluster_bits
        self._word = WORDS[max(1 << header.refcount_order >> 3, 1)]
        order = header.refcount_order
        self.max_count = (1 << (1 << order)) - 1
        self.per_block = header.cluster_size * 8 >> order
        self.table_offset = header.refcount_table_offset
        table_bytes = header.refcount_table_clusters << header.cluster_bits
        data = file.read(self.table_offset, table_bytes)
        if len(data) < table_bytes or not self.table_offset:
            raise bad("the refcount table is outside the file")
        self.table = from_big_endian(data)
        self.blocks = TableCache(
            file,
            header.cluster_size,
            lambda data: unpack_counts(data, order),
            lambda counts: pack_counts(counts, order),
        )
        self._next = 0  # no cluster before this one is free
        self._new_blocks: set[int] = set()  # table entries that the disk has not seen
        self._old_tables: list[tuple[int, int]] = []  # replaced, still named by the header

    @property
    def is_dirty(self) -> bool:
        return self.blocks.is_dirty or bool(self._new_blocks)

    @property
    def table_bytes(self) -> int:
        return 8 * len(self.table)

    def get(self, cluster: int) -> int:
        """The count of a host cluster."""
        block, at = divmod(cluster, self.per_block)
        if block >= len(self.table) or not self.table[block]:
            return 0
        return self._block(block).words[at]

    def set(self, cluster: int, count: int) -> None:
        """Overwrite the count of a host cluster (to mend an image)."""
        block, at = divmod(cluster, self.per_block)
        while block >= len(self.table):
            self._grow()
        if not self.table[block]:
            self._add_block(block)
        self._block(block).words[at] = count
        self.blocks.touch(self.table[block], at, at + 1)

    def allocate(self, wanted: int) -> tuple[int, int]:
        """Take up to `wanted` free clusters in a row: the first one's number, and how many.

        OSError (ENOSPC) when the image format can name no more clusters.
        """
        cluster = self._find_free()
        block, at = divmod(cluster, self.per_block)
        words = self._block(block).words
        got, limit = 1, min(wanted, self.per_block - at)
        while got < limit and not words[at + got]:
            got += 1
        if cluster + got << self._cluster_bits > MAX_HOST_OFFSET:
            raise OSError(errno.ENOSPC, "the qcow2 image can name no more clusters")
        words[at : at + got] = array(self._word, [1]) * got
        self.blocks.touch(self.table[block], at, at + got)
        self._next = cluster + got
        return cluster, got

    def lower(self, clusters: Iterable[int]) -> list[int]:
        """Take one reference from each cluster; the ones that are free now."""
        freed = []
        for cluster in clusters:
            count = self.get(cluster)
            if count:  # in a damaged image it may be 0 already; `check` tells
                self.set(cluster, count - 1)
            if count == 1:
                freed.append(cluster)
                self._next = min(self._next, cluster)
        return freed

    def write_back(self) -> None:
        """Write counts, then (after a barrier) the table entries that name new blocks."""
        self.blocks.write_back()
        if not self._new_blocks:
            return
        self._file.barrier()
        if self._old_tables:
            self._file.write(self.table_offset, to_big_endian(self.table))
            self._file.barrier()
            clusters = self.table_bytes >> self._cluster_bits
            pointer = struct.pack(">QI", self.table_offset, clusters)
            self._file.write(FIELD_REFCOUNT_TABLE, pointer)
        else:
            for block in sorted(self._new_blocks):
                entry = struct.pack(">Q", self.table[block])
                self._file.write(self.table_offset + 8 * block, entry)
        self._new_blocks.clear()

    def take_old_tables(self) -> list[int]:
        """Clusters of tables that the header no longer names, durably."""
        old = [at for first, count in self._old_tables for at in range(first, first + count)]
        self._old_tables.clear()
        return old

    def _block(self, block: int) -> Table:
        return self.blocks.get(self.table[block])

    def _find_free(self) -> int:
        cluster = self._next
        while True:
            block, at = divmod(cluster, self.per_block)
            while block >= len(self.table):
                self._grow()
            if not self.table[block]:
                self._add_block(block)
            try:
                return block * self.per_block + self._block(block).words.index(0, at)
            except ValueError:
                cluster = (block + 1) * self.per_block

    def _add_block(self, block: int) -> None:
        """Make a block for clusters that none covers; it takes the first of them itself."""
        first = block * self.per_block
        if not first:
            raise bad("the header's own cluster is counted as free")
        self.put_block(block, first, 1)

    def put_block(self, block: int, cluster: int, used: int = 0) -> None:
        """A new block at `cluster`, whose first `used` counts are 1."""
        words = array(self._word, [1]) * used + array(self._word, [0]) * (self.per_block - used)
        offset = cluster << self._cluster_bits
        self.blocks.add(offset, words)
        self.table[block] = offset
        self._new_blocks.add(block)

    def _grow(self) -> None:
        """Move to a table twice as large, behind everything that the present one covers.

        Laid out there: the table, then the blocks that count the table and themselves.
        """
        old_clusters = self.table_bytes >> self._cluster_bits
        clusters = 2 * old_clusters
        if clusters << self._cluster_bits > MAX_REFCOUNT_TABLE_BYTES:
            raise OSError(errno.ENOSPC, "the qcow2 image's refcount table can grow no more")
        first_block = len(self.table)
        first = first_block * self.per_block
        blocks = 1
        while blocks * self.per_block < clusters + blocks:
            blocks += 1
        self._old_tables.append((self.table_offset >> self._cluster_bits, old_clusters))
        self.table_offset = first << self._cluster_bits
        self.table.frombytes(bytes((clusters << self._cluster_bits) - 8 * first_block))
        left = clusters + blocks
        for number in range(blocks):
            used = min(left, self.per_block)
            self.put_block(first_block + number, first + clusters + number, used)
            left -= used
