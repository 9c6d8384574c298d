"""The internal snapshots that an image holds: listed, and kept intact by copy-on-write.

(The manual, "Snapshots".) Making, deleting and reading them is left to qemu-img.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from maquina.storage.hostfile import HostFile
from maquina.storage.qcow2.header import MAX_L1_BYTES, Header, bad

ENTRY = struct.Struct(">QIHHIIQII")
EXTRA = struct.Struct(">QQ")
# A forged table may claim names and extra data of gigabytes. QEMU's limits.
MAX_EXTRA_BYTES = 1024
MAX_TABLE_BYTES = 64 << 20


@dataclass(frozen=True)
class Snapshot:
    """One entry of the snapshot table. Times in nanoseconds, `created_ns` since the Epoch."""

    id: str
    name: str
    created_ns: int
    vm_clock_ns: int
    vm_state_bytes: int
    size_bytes: int
    l1_offset: int
    l1_size: int


def read_snapshots(file: HostFile, header: Header) -> tuple[list[Snapshot], int]:
    """The snapshots of an image, and how many bytes their table takes."""
    found = []
    at = header.snapshots_offset
    for _ in range(header.snapshot_count):
        snapshot, size = _read_entry(file, header, at)
        found.append(snapshot)
        at += size
        if at - header.snapshots_offset > MAX_TABLE_BYTES:
            raise bad("the snapshot table is too large")
    return found, at - header.snapshots_offset


def _read_entry(file: HostFile, header: Header, at: int) -> tuple[Snapshot, int]:
    start = file.read(at, ENTRY.size)
    if len(start) < ENTRY.size:
        raise bad("the snapshot table is outside the file")
    (l1_offset, l1_size, id_bytes, name_bytes, seconds, nanoseconds, clock, state_bytes,
     extra_bytes) = ENTRY.unpack(start)  # fmt: skip
    if extra_bytes > MAX_EXTRA_BYTES:
        raise bad(f"a snapshot with {extra_bytes} bytes of extra data cannot be")
    if l1_offset % header.cluster_size or 8 * l1_size > MAX_L1_BYTES:
        raise bad("a snapshot's L1 table cannot be")
    rest = file.read(at + ENTRY.size, extra_bytes + id_bytes + name_bytes)
    if len(rest) < extra_bytes + id_bytes + name_bytes:
        raise bad("the snapshot table is outside the file")
    size_bytes = header.size_bytes
    if extra_bytes >= EXTRA.size:
        state_bytes, size_bytes = EXTRA.unpack_from(rest)
    names = rest[extra_bytes:]
    snapshot = Snapshot(
        names[:id_bytes].decode("utf-8", "replace"),
        names[id_bytes:].decode("utf-8", "replace"),
        seconds * 10**9 + nanoseconds, clock, state_bytes, size_bytes, l1_offset, l1_size,
    )  # fmt: skip
    return snapshot, -(-(ENTRY.size + len(rest)) // 8) * 8
