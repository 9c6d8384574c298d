"""Guest clusters to host clusters: standard L2 entries (the manual, "Cluster mapping")."""

from __future__ import annotations

from maquina.storage.qcow2.extent import Extent, Kind, Plan
from maquina.storage.qcow2.header import bad
from maquina.storage.qcow2.metadata import COPIED, OFFSET_MASK, Metadata

COMPRESSED = 1 << 62
ZERO = 1


def compressed_range(entry: int, cluster_bits: int) -> tuple[int, int]:
    """File offset and bytes of a compressed cluster (its last sector may hold others' too)."""
    x = 62 - (cluster_bits - 8)
    host = entry & (1 << x) - 1
    sectors = (entry >> x & (1 << 62 - x) - 1) + 1
    return host, sectors * 512 - (host & 511)


class ClusterMapping:
    """The map of images with one 64-bit entry per cluster."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata
        self._cluster_bits = metadata.cluster_bits
        self._cluster_size = metadata.cluster_size
        self._l2_bits = metadata.header.l2_bits
        self._has_zero_flag = metadata.header.version >= 3
        self._has_data_file = metadata.header.has_data_file
        self.unit = self._cluster_size

    def find(self, offset: int, length: int) -> Extent:
        """The first stretch of a range. FormatError if the tables are damaged."""
        cluster = offset >> self._cluster_bits
        index = cluster & (1 << self._l2_bits) - 1
        words = self._metadata.l2_words(cluster >> self._l2_bits)
        within = offset & self._cluster_size - 1
        if words is None:
            left = ((1 << self._l2_bits) - index << self._cluster_bits) - within
            return Extent(Kind.BACKING, 0, min(length, left))
        entry = words[index]
        run = self._cluster_size - within
        kind, host, step = self._classify(entry)
        if kind is Kind.COMPRESSED:
            return Extent(kind, entry, min(run, length))
        expected = entry + step
        for word in words[index + 1 : index + 1 + (length - run + self.unit - 1) // self.unit]:
            if word != expected:
                break
            run += self._cluster_size
            expected += step
        return Extent(kind, host + within, min(run, length))

    def _classify(self, entry: int) -> tuple[Kind, int, int]:
        """Kind, host offset, and how much the next entry is larger if the stretch goes on."""
        if entry & COMPRESSED:
            return Kind.COMPRESSED, 0, 0
        host = entry & OFFSET_MASK
        if entry & ZERO:
            if not self._has_zero_flag:
                raise bad("a zero cluster, which version 2 does not have")
            return Kind.ZERO, 0, 0
        if not host and not (self._has_data_file and entry & COPIED):
            return Kind.BACKING, 0, 0
        if host & self._cluster_size - 1:
            raise bad(f"a cluster at {host:#x} cannot be")
        return Kind.DATA if entry & COPIED else Kind.SHARED, host, self._cluster_size

    def plan(self, offset: int, length: int) -> Plan:
        """How to write a stretch that `find` found not to be DATA: into whole new clusters."""
        size = self._cluster_size
        return Plan(None, offset & -size, offset + length + size - 1 & -size)

    def link(self, start: int, stop: int, host: int) -> None:
        """Let whole clusters be read from `host` on; release what was there."""
        self._replace(start, stop, host | COPIED, self._cluster_size)

    def zero(self, start: int, stop: int, *, hide_backing: bool) -> None:
        """Let whole clusters read as zeros, or, where nothing backs them, be unallocated."""
        self._replace(start, stop, ZERO if hide_backing else 0, 0)

    def _replace(self, start: int, stop: int, entry: int, step: int) -> None:
        first = start >> self._cluster_bits
        count = (stop - start + self._cluster_size - 1) >> self._cluster_bits
        table, words = self._metadata.own_l2(first >> self._l2_bits)
        index = first & (1 << self._l2_bits) - 1
        for at in range(index, index + count):
            old = words[at]
            words[at] = entry
            entry += step
            if old & ~ZERO:
                self._release(old)
        self._metadata.l2.touch(table, index, index + count)

    def _release(self, entry: int) -> None:
        if entry & COMPRESSED:
            self._metadata.release(*compressed_range(entry, self._cluster_bits))
        elif entry & OFFSET_MASK and not self._has_data_file:
            self._metadata.release(entry & OFFSET_MASK)
