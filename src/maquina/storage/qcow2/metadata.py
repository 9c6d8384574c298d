"""L1 table, L2 tables and refcounts together, and the order in which they reach the disk."""

from __future__ import annotations

import errno
import struct
from array import array

from maquina.storage.hostfile import HostFile
from maquina.storage.qcow2.header import Header, bad
from maquina.storage.qcow2.refcounts import Refcounts
from maquina.storage.qcow2.tables import TableCache, from_big_endian

OFFSET_MASK = 0x00FF_FFFF_FFFF_FE00  # of an L1 entry, and of a standard L2 entry
COPIED = 1 << 63  # what the entry names has a refcount of exactly one: it may be written in place
# Released clusters are reusable only after a commit: a guest that writes and discards in turn
# would make this list, and the file, grow.
MAX_RELEASED = 1 << 16


class Metadata:
    """Everything in an image that is not the guest's data."""

    def __init__(self, file: HostFile, header: Header, data: HostFile) -> None:
        self.file = file
        self.header = header
        self.data = data
        self.cluster_bits = header.cluster_bits
        self.cluster_size = header.cluster_size
        l1_bytes = 8 * header.l1_needed
        raw = file.read(header.l1_offset, l1_bytes)
        if len(raw) < l1_bytes or (l1_bytes and not header.l1_offset):
            raise bad("the L1 table is outside the file")
        self.l1 = from_big_endian(raw)
        self.l2 = TableCache(file, header.cluster_size)
        self._dirty_l1: set[int] = set()
        self._released: list[int] = []
        self._refcounts: Refcounts | None = None

    @property
    def refcounts(self) -> Refcounts:
        """Loaded when first needed: reading an image does not."""
        if self._refcounts is None:
            self._refcounts = Refcounts(self.file, self.header)
        return self._refcounts

    @property
    def is_crowded(self) -> bool:
        """So much waits in memory that it should be committed."""
        return (
            self.l2.is_crowded
            or len(self._released) > MAX_RELEASED
            or (self._refcounts is not None and self._refcounts.blocks.is_crowded)
        )

    def l2_words(self, l1_index: int) -> array[int] | None:
        """The L2 table for reading; None if there is none."""
        offset = self.l1[l1_index] & OFFSET_MASK
        return self.l2.get(offset).words if offset else None

    def own_l2(self, l1_index: int) -> tuple[int, array[int]]:
        """The L2 table for writing, and its offset: made, or copied if a snapshot shares it."""
        entry = self.l1[l1_index]
        offset = entry & OFFSET_MASK
        if offset and entry & COPIED:
            return offset, self.l2.get(offset).words
        words = self.l2.get(offset).words[:] if offset else array("Q", bytes(self.cluster_size))
        cluster, _ = self.refcounts.allocate(1)
        host = cluster << self.cluster_bits
        try:
            self.guard(host, self.cluster_size)
        except OSError:
            self.refcounts.lower([cluster])
            raise
        self.l2.add(host, words)
        self.l1[l1_index] = host | COPIED
        self._dirty_l1.add(l1_index)
        if offset:
            self.release(offset)
        return host, words

    def allocate(self, wanted: int) -> tuple[int, int]:
        """Host offset of up to `wanted` clusters in a row, and how many they are."""
        cluster, got = self.refcounts.allocate(wanted)
        return cluster << self.cluster_bits, got

    def abandon(self, host: int, count: int) -> None:
        """Free clusters that were allocated and that nothing refers to yet."""
        first = host >> self.cluster_bits
        self.refcounts.lower(range(first, first + count))

    def release(self, host: int, length: int = 1) -> None:
        """Drop a reference to the clusters of a range once nothing durable holds it."""
        last = host + length - 1 >> self.cluster_bits
        self._released.extend(range(host >> self.cluster_bits, last + 1))

    def guard(self, host: int, length: int) -> None:
        """Refuse to write guest data over the header and the top-level tables.

        A forged L2 entry or refcount could direct it there, and a guest that writes the header
        could name any file of the host as backing file for the next time.
        """
        header = self.header
        for start, size in (
            (0, self.cluster_size),
            (header.l1_offset, 8 * header.l1_size),
            (self.refcounts.table_offset, self.refcounts.table_bytes),
            (header.snapshots_offset, self.cluster_size if header.snapshot_count else 0),
        ):
            if host < start + size and start < host + length:
                raise OSError(
                    errno.EIO, f"{self.file.path} is damaged: guest data in its tables; check it"
                )

    def commit(self) -> None:
        """Make everything durable, each step before the next refers to it. OSError if one fails:

        what was not written yet is kept, and a later commit begins again.
        """
        if self.data is not self.file:
            self.data.barrier()
        if self._refcounts is not None and self._refcounts.is_dirty:
            self._refcounts.write_back()
        if self.l2.is_dirty or self._dirty_l1:
            self.file.barrier()
            self.l2.write_back()
        if self._dirty_l1:
            self.file.barrier()
            self._write_l1()
        self.file.barrier()
        if self._refcounts is not None:
            self._free_released(self._refcounts)

    def _write_l1(self) -> None:
        for index in sorted(self._dirty_l1):
            entry = struct.pack(">Q", self.l1[index])
            self.file.write(self.header.l1_offset + 8 * index, entry)
            self._dirty_l1.discard(index)

    def _free_released(self, refcounts: Refcounts) -> None:
        """Lower counts. No barrier follows: a crash before they are durable leaks clusters."""
        released = self._released + refcounts.take_old_tables()
        self._released = []
        if not released:
            return
        freed = sorted(refcounts.lower(released))
        for cluster in freed:
            self.l2.forget(cluster << self.cluster_bits)
        self._punch(freed)
        refcounts.write_back()

    def _punch(self, clusters: list[int]) -> None:
        start = 0
        for at in range(1, len(clusters) + 1):
            if at == len(clusters) or clusters[at] != clusters[at - 1] + 1:
                first, count = clusters[start], at - start
                self.file.punch(first << self.cluster_bits, count << self.cluster_bits)
                start = at
