"""Checking an image: leaks, wrong refcounts, overlaps; mending what counting anew can mend.

A *leak* is a cluster counted more often than it is used: space is lost, nothing else. An *error*
is one counted too rarely (it may be given away twice), a flag that would let a shared cluster be
overwritten, tables that overlap or lie outside the file.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from maquina.errors import ImageError
from maquina.storage.hostfile import HostFile
from maquina.storage.qcow2.census import MAX_MESSAGES, Census
from maquina.storage.qcow2.header import CORRUPT, DIRTY, FIELD_INCOMPATIBLE, Header
from maquina.storage.qcow2.image import read_header
from maquina.storage.qcow2.mapping import COMPRESSED, ZERO
from maquina.storage.qcow2.metadata import COPIED, OFFSET_MASK
from maquina.storage.qcow2.refcounts import Refcounts
from maquina.storage.qcow2.tables import TableCache, from_big_endian


class Repair(Enum):
    """What `check` may change."""

    NOTHING = "nothing"
    LEAKS = "lower refcounts of clusters that are used less than they say"
    ALL = "set every refcount and flag to what the tables say"


@dataclass
class Report:
    """What a check found, and mended. `errors` and `leaks` are what is left."""

    leaks: int = 0
    errors: int = 0
    repaired: int = 0
    allocated_clusters: int = 0
    messages: list[str] = field(default_factory=list)
    """The first hundred findings."""

    @property
    def is_clean(self) -> bool:
        return not self.leaks and not self.errors

    def note(self, message: str) -> None:
        """Add a finding, unless there are many already."""
        if len(self.messages) < MAX_MESSAGES:
            self.messages.append(message)


def check(path: Path, *, repair: Repair = Repair.NOTHING) -> Report:
    """Check the qcow2 image at `path` (not its backing file).

    It reads all tables: seconds per terabyte in use, and memory of 4 bytes per cluster of the
    file. FormatError if the header or the refcount table cannot be; ImageError if it is in use.
    """
    file = HostFile(path, is_read_only=repair is Repair.NOTHING)
    try:
        return _Check(file).run(repair)
    finally:
        file.close()


def rebuild(file: HostFile) -> None:
    """Make an image that was not closed properly fit for writing. ImageError if it cannot be."""
    report = _Check(file).run(Repair.ALL)
    if report.errors:
        raise ImageError(
            f"{file.path} was not closed properly, and is damaged: {report.messages[0]}",
            "repair it with qemu-img check -r all, or restore it from a good copy",
        )


class _Check:
    def __init__(self, file: HostFile) -> None:
        self.file = file
        self.header: Header = read_header(file)
        self.refcounts = Refcounts(file, self.header)
        self.report = Report()
        self.census = Census(file, self.header, self.refcounts)

    def run(self, repair: Repair) -> Report:
        report = self.report
        self.census.take()
        report.errors += self.census.errors
        report.messages += self.census.messages
        report.allocated_clusters = self.census.data_clusters
        # Tables that overlap or lie outside say nothing to be trusted.
        can_repair = repair is not Repair.NOTHING and not self.census.errors
        if can_repair and repair is Repair.ALL:
            self._add_missing_blocks()
        self._compare_counts(repair if can_repair else Repair.NOTHING)
        if can_repair:
            self.refcounts.write_back()
            self.file.barrier()
        self._compare_flags(can_repair and not report.errors)
        if can_repair:
            self.file.barrier()
            if not report.errors:
                self._clear_marks()
        return report

    def _compare_counts(self, repair: Repair) -> None:
        per_block = self.refcounts.per_block
        blocks = max(len(self.refcounts.table), -(-self.census.clusters // per_block))
        for block in range(blocks):
            first = block * per_block
            part = self.census.counts[first : first + per_block]
            is_there = block < len(self.refcounts.table) and self.refcounts.table[block]
            if not is_there and not any(part):
                continue
            actual = self._counts_of(block) if is_there else [0] * per_block
            wanted = [self.census.count(cluster) for cluster in range(first, first + per_block)]
            if actual != wanted:
                self._differ(first, actual, wanted, repair)

    def _counts_of(self, block: int) -> list[int]:
        try:
            return self.refcounts.blocks.get(self.refcounts.table[block]).words.tolist()
        except ImageError as error:
            self.report.errors += 1
            self.report.note(error.message)
            return [0] * self.refcounts.per_block

    def _differ(self, first: int, actual: list[int], wanted: list[int], repair: Repair) -> None:
        for at, (is_count, should) in enumerate(zip(actual, wanted, strict=True)):
            if is_count == should:
                continue
            cluster = first + at
            self.report.note(f"cluster {cluster} is counted {is_count} times, used {should} times")
            is_leak = is_count > should
            if repair is Repair.ALL or (repair is Repair.LEAKS and is_leak):
                self.refcounts.set(cluster, min(should, self.refcounts.max_count))
                self.report.repaired += 1
            elif is_leak:
                self.report.leaks += 1
            else:
                self.report.errors += 1

    def _add_missing_blocks(self) -> None:
        """Blocks for clusters that are in use and that none counts, placed behind everything."""
        per_block, table = self.refcounts.per_block, self.refcounts.table
        block = 0
        while block * per_block < self.census.clusters:
            if block >= len(table):
                raise ImageError(
                    f"the refcount table of {self.file.path} is too small for it",
                    "repair it with qemu-img check -r all",
                )
            part = self.census.counts[block * per_block : (block + 1) * per_block]
            if not table[block] and any(part):
                self.refcounts.put_block(block, self.census.append_table())
            block += 1

    def _compare_flags(self, may_write: bool) -> None:
        """In the active tables, COPIED must be set just where the refcount is one."""
        header = self.header
        data = self.file.read(header.l1_offset, 8 * header.l1_size)
        l1 = from_big_endian(data[: len(data) & -8])
        tables = TableCache(self.file, header.cluster_size)
        for index, entry in enumerate(l1):
            if not entry & OFFSET_MASK:
                continue
            if self._is_wrong(entry):
                self._flag_found(f"L1 entry {index}", may_write)
                if may_write:
                    word = struct.pack(">Q", entry ^ COPIED)
                    self.file.write(header.l1_offset + 8 * index, word)
            try:
                self._compare_l2_flags(tables, entry & OFFSET_MASK, may_write)
            except ImageError:
                continue  # the census has told
        tables.write_back()

    def _compare_l2_flags(self, tables: TableCache, offset: int, may_write: bool) -> None:
        words = tables.get(offset).words
        for at in range(0, len(words), 2 if self.header.has_subclusters else 1):
            if words[at] and self._is_wrong(words[at]):
                self._flag_found(f"L2 entry {at} of the table at {offset:#x}", may_write)
                if may_write:
                    words[at] ^= COPIED
                    tables.touch(offset, at, at + 1)

    def _is_wrong(self, entry: int) -> bool:
        if entry & COMPRESSED:
            return bool(entry & COPIED)
        if not entry & OFFSET_MASK or self.header.has_data_file:
            return False
        count = self.refcounts.get((entry & OFFSET_MASK & ~ZERO) >> self.header.cluster_bits)
        return (count == 1) != bool(entry & COPIED)

    def _flag_found(self, where: str, may_write: bool) -> None:
        self.report.note(f"{where} is wrongly marked as shared or not")
        if may_write:
            self.report.repaired += 1
        else:
            self.report.errors += 1

    def _clear_marks(self) -> None:
        kept = self.header.incompatible & ~(DIRTY | CORRUPT)
        if kept != self.header.incompatible:
            self.file.write(FIELD_INCOMPATIBLE, struct.pack(">Q", kept))
            self.file.barrier()
