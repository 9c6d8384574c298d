"""Guest clusters to host clusters with 32 subclusters each (the manual, "Extended L2 Entries").

An entry is two words: the first as in standard tables, the second a bitmap: bit n says that
subcluster n is in the host cluster, bit 32+n that it reads as zeros.
"""

from __future__ import annotations

from array import array

from maquina.storage.qcow2.extent import Extent, Kind, Plan
from maquina.storage.qcow2.header import bad
from maquina.storage.qcow2.mapping import COMPRESSED, ZERO, compressed_range
from maquina.storage.qcow2.metadata import COPIED, OFFSET_MASK, Metadata

ALL = 0xFFFF_FFFF
UNIFORM = (0, ALL, ALL << 32)  # bitmaps that say the same of all subclusters


class SubclusterMapping:
    """The map of images with extended L2 entries."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata
        self._cluster_bits = metadata.cluster_bits
        self._cluster_size = metadata.cluster_size
        self._l2_bits = metadata.header.l2_bits
        self._has_data_file = metadata.header.has_data_file
        self._unit_bits = metadata.cluster_bits - 5
        self.unit = 1 << self._unit_bits

    def find(self, offset: int, length: int) -> Extent:
        """The first stretch of a range. FormatError if the tables are damaged."""
        cluster = offset >> self._cluster_bits
        index = cluster & (1 << self._l2_bits) - 1
        words = self._metadata.l2_words(cluster >> self._l2_bits)
        within = offset & self._cluster_size - 1
        if words is None:
            left = ((1 << self._l2_bits) - index << self._cluster_bits) - within
            return Extent(Kind.BACKING, 0, min(length, left))
        entry, bitmap = words[2 * index], words[2 * index + 1]
        if entry & COMPRESSED:
            return Extent(Kind.COMPRESSED, entry, min(self._cluster_size - within, length))
        first = within >> self._unit_bits
        kind, host, step = self._classify(entry, bitmap, first)
        run = (first + _alike(bitmap, first) << self._unit_bits) - within
        if bitmap in UNIFORM and (step or not entry):
            expected = entry + step
            for at in range(2 * index + 2, len(words), 2):
                if run >= length or words[at] != expected or words[at + 1] != bitmap:
                    break
                run += self._cluster_size
                expected += step
        return Extent(kind, host + within if host or step else 0, min(run, length))

    def _classify(self, entry: int, bitmap: int, unit: int) -> tuple[Kind, int, int]:
        """Kind, host offset of the cluster, and how much larger the next entry may be."""
        host = entry & OFFSET_MASK
        if host & self._cluster_size - 1 or entry & ZERO:
            raise bad(f"an extended L2 entry {entry:#x} cannot be")
        if bitmap & bitmap >> 32 & ALL:
            raise bad("a subcluster is both data and zeros")
        if not bitmap >> unit & 1:
            return Kind.ZERO if bitmap >> unit + 32 & 1 else Kind.BACKING, 0, 0
        if not host and not (self._has_data_file and entry & COPIED):
            raise bad("a subcluster without a cluster")
        return Kind.DATA if entry & COPIED else Kind.SHARED, host, self._cluster_size

    def plan(self, offset: int, length: int) -> Plan:
        """How to write a stretch that `find` found not to be DATA.

        A cluster of ours takes just the subclusters; a new cluster too, unless others' data must
        move with them.
        """
        cluster = offset >> self._cluster_bits
        words = self._metadata.l2_words(cluster >> self._l2_bits)
        index = cluster & (1 << self._l2_bits) - 1
        entry = words[2 * index] if words is not None else 0
        unit = self.unit if entry & COPIED or not entry else self._cluster_size
        start, stop = offset & -unit, offset + length + unit - 1 & -unit
        if not entry & COPIED:
            return Plan(None, start, stop)
        return Plan((entry & OFFSET_MASK) + (start & self._cluster_size - 1), start, stop)

    def link(self, start: int, stop: int, host: int) -> None:
        """Let subclusters be read from `host` on (where `start` is); release what was there."""
        host -= start & self._cluster_size - 1
        for at, bits in self._clusters(start, stop):
            table, words, index = self._own(at)
            old = words[index]
            words[index] = host | COPIED
            words[index + 1] = (words[index + 1] | bits) & ~(bits << 32)
            if old != host | COPIED:
                self._release(old)
            self._metadata.l2.touch(table, index, index + 2)
            host += self._cluster_size

    def zero(self, start: int, stop: int, *, hide_backing: bool) -> None:
        """Let whole subclusters read as zeros; a cluster without any data is released.

        Part of a compressed cluster cannot become zeros this way: ask for all of it.
        """
        for at, bits in self._clusters(start, stop):
            table, words, index = self._own(at)
            bitmap = 0 if words[index] & COMPRESSED else words[index + 1] & ~bits
            words[index + 1] = bitmap | bits << 32 if hide_backing else bitmap & ~(bits << 32)
            if not words[index + 1] & ALL:
                self._release(words[index])
                words[index] = 0
            self._metadata.l2.touch(table, index, index + 2)

    def _clusters(self, start: int, stop: int) -> list[tuple[int, int]]:
        """The clusters of a range of subclusters, with a bit for each subcluster in the range."""
        found = []
        while start < stop:
            first = (start & self._cluster_size - 1) >> self._unit_bits
            end = min(stop, (start | self._cluster_size - 1) + 1)
            count = -(-(end - start) >> self._unit_bits)
            found.append((start, ((1 << count) - 1) << first))
            start = end
        return found

    def _own(self, offset: int) -> tuple[int, array[int], int]:
        cluster = offset >> self._cluster_bits
        table, words = self._metadata.own_l2(cluster >> self._l2_bits)
        return table, words, 2 * (cluster & (1 << self._l2_bits) - 1)

    def _release(self, entry: int) -> None:
        if entry & COMPRESSED:
            self._metadata.release(*compressed_range(entry, self._cluster_bits))
        elif entry & OFFSET_MASK and not self._has_data_file:
            self._metadata.release(entry & OFFSET_MASK)


def _alike(bitmap: int, first: int) -> int:
    """How many subclusters from `first` on have the same two bits as it."""
    bits = bitmap >> first
    data, zeros = bits & ALL >> first, bits >> 32 & ALL >> first
    differ = (data ^ -(data & 1)) | (zeros ^ -(zeros & 1))
    differ |= 1 << 32 - first
    return (differ & -differ).bit_length() - 1
