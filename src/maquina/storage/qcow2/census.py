"""Counting anew what refers to each host cluster of an image, without believing its refcounts."""

from __future__ import annotations

import mmap
import struct
from array import array
from collections import Counter
from collections.abc import Iterator

from maquina.errors import FormatError, ImageError
from maquina.storage.hostfile import HostFile
from maquina.storage.qcow2.header import MAX_L1_BYTES, Header
from maquina.storage.qcow2.mapping import COMPRESSED, compressed_range
from maquina.storage.qcow2.metadata import OFFSET_MASK
from maquina.storage.qcow2.refcounts import Refcounts
from maquina.storage.qcow2.snapshots import read_snapshots
from maquina.storage.qcow2.tables import from_big_endian

# Four bytes are kept per cluster of the file, whose size a sparse file forges for free: 1 GiB.
MAX_CLUSTERS = 1 << 28
MAX_MESSAGES = 100  # a damaged image has millions of errors; the first ones tell
METADATA = 1 << 31  # this cluster holds tables: a second reference is an overlap
COUNT_MASK = METADATA - 1
BITMAP_ENTRY = struct.Struct(">QIIBBHI")


class Census:
    """References per host cluster (`count`), and what was found wrong on the way."""

    def __init__(self, file: HostFile, header: Header, refcounts: Refcounts) -> None:
        self.file = file
        self.header = header
        self.refcounts = refcounts
        self.cluster_bits = header.cluster_bits
        self.clusters = -(-file.size_bytes >> header.cluster_bits)
        if self.clusters > MAX_CLUSTERS:
            raise ImageError(f"{file.path} is too large to be checked here", "use qemu-img check")
        # An anonymous mapping: memory is taken for the parts that are counted only. Room is left
        # for refcount blocks to be added.
        memory = mmap.mmap(-1, 4 * (self.clusters + self.clusters // refcounts.per_block + 8))
        self.counts = memoryview(memory).cast("I")
        self.errors = 0
        self.messages: list[str] = []
        self.data_clusters = 0
        self.active_l2: list[int] = []

    def fail(self, message: str) -> None:
        """Note something wrong that counting right does not mend."""
        self.errors += 1
        if len(self.messages) < MAX_MESSAGES:
            self.messages.append(message)

    def count(self, cluster: int) -> int:
        """References to a host cluster."""
        return self.counts[cluster] & COUNT_MASK if cluster < self.clusters else 0

    def append_table(self) -> int:
        """A new cluster at the end of the file, for a table."""
        self.counts[self.clusters] = METADATA | 1
        self.clusters += 1
        return self.clusters - 1

    def take(self) -> Census:
        """Walk everything that the header leads to."""
        header = self.header
        self._mark_table(0, 1, "the header")
        self._mark_table(self.refcounts.table_offset, self.refcounts.table_bytes, "refcount table")
        for entry in self.refcounts.table:
            if entry:
                self._mark_table(entry, header.cluster_size, "a refcount block")
        tables = Counter({(header.l1_offset, header.l1_size): 1})
        try:
            snapshots, table_bytes = read_snapshots(self.file, header)
            if table_bytes:
                self._mark_table(header.snapshots_offset, table_bytes, "snapshot table")
            tables.update((snapshot.l1_offset, snapshot.l1_size) for snapshot in snapshots)
        except FormatError as error:
            self.fail(error.message)
        self._count_l1_tables(tables)
        self._count_bitmaps()
        return self

    def _count_l1_tables(self, tables: Counter[tuple[int, int]]) -> None:
        l2_tables: Counter[int] = Counter()
        for (offset, size), times in tables.items():
            if not size:
                continue
            self._mark_table(offset, 8 * size, "an L1 table", times)
            entries = [entry & OFFSET_MASK for entry in self._words(offset, 8 * size)]
            named = [entry for entry in entries if entry]
            if offset == self.header.l1_offset:
                self.active_l2 = named
            for entry in named:
                l2_tables[entry] += times
        for offset, times in l2_tables.items():
            self._count_l2_table(offset, times)

    def _count_l2_table(self, offset: int, times: int) -> None:
        if not self._mark_table(offset, self.header.cluster_size, "an L2 table", times):
            return
        for entry in l2_entries(self._words(offset, self.header.cluster_size), self.header):
            if entry & COMPRESSED:
                self._mark_data(*compressed_range(entry, self.cluster_bits), times)
            elif entry & OFFSET_MASK and not self.header.has_data_file:
                self._mark_data(entry & OFFSET_MASK, self.header.cluster_size, times)

    def _count_bitmaps(self) -> None:
        if self.header.bitmaps is None:
            return None
        count, size, offset = self.header.bitmaps
        if not self._mark_table(offset, min(size, self.file.size_bytes), "bitmap directory"):
            return None
        at = 0
        directory = self.file.read(offset, min(size, self.file.size_bytes))
        for _ in range(count):
            if at + BITMAP_ENTRY.size > len(directory):
                return self.fail("the bitmap directory is cut off")
            table, entries, _, _, _, name, extra = BITMAP_ENTRY.unpack_from(directory, at)
            at += -(-(BITMAP_ENTRY.size + name + extra) // 8) * 8
            if 8 * entries > MAX_L1_BYTES:
                return self.fail("a bitmap table is too large")
            if self._mark_table(table, 8 * entries, "a bitmap table"):
                for entry in self._words(table, 8 * entries):
                    if entry & OFFSET_MASK:
                        self._mark_table(entry & OFFSET_MASK, self.header.cluster_size, "a bitmap")
        return None

    def _words(self, offset: int, length: int) -> array[int]:
        data = self.file.read(offset, min(length, self.file.size_bytes))
        return from_big_endian(data[: len(data) & -8])

    def _mark_table(self, offset: int, length: int, what: str, times: int = 1) -> bool:
        """Count the clusters of a table; False if it is none."""
        is_aligned = not offset & (1 << self.cluster_bits) - 1
        if not is_aligned or offset + length > self.clusters << self.cluster_bits:
            self.fail(f"{what} at {offset:#x} is outside the file or not aligned")
            return False
        for cluster in range(offset >> self.cluster_bits, self._end(offset, length)):
            if self.counts[cluster]:
                self.fail(f"{what} at {offset:#x} overlaps with something else")
            self._add(cluster, times)
            self.counts[cluster] |= METADATA
        return True

    def _mark_data(self, offset: int, length: int, times: int) -> None:
        first, end = offset >> self.cluster_bits, self._end(offset, length)
        if first >= self.clusters:
            return self.fail(f"data at {offset:#x} is outside the file")
        self.data_clusters += 1
        for cluster in range(first, min(end, self.clusters)):
            if self.counts[cluster] & METADATA:
                self.fail(f"data at {offset:#x} overlaps with the image's tables")
            self._add(cluster, times)
        return None

    def _add(self, cluster: int, times: int) -> None:
        held = self.counts[cluster]
        self.counts[cluster] = held & METADATA | min((held & COUNT_MASK) + times, COUNT_MASK)

    def _end(self, offset: int, length: int) -> int:
        return (offset + length - 1 >> self.cluster_bits) + 1


def l2_entries(words: array[int], header: Header) -> Iterator[int]:
    """The entries of an L2 table that name something (bitmaps of subclusters left out)."""
    for entry in words[::2] if header.has_subclusters else words:
        if entry:
            yield entry
