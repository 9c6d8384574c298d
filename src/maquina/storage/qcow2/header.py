"""The header of a qcow2 image and its extensions (the manual, "Header", "Header extensions")."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import cached_property

from maquina.errors import FormatError

MAGIC = b"QFI\xfb"
BASE = struct.Struct(">4sIQIIQIIQQIIQ")  # version 2, and the start of version 3
FEATURES = struct.Struct(">QQQII")  # version 3
EXTENSION = struct.Struct(">II")
BITMAPS = struct.Struct(">IIQQ")
V2_BYTES, V3_BYTES = 72, 104
FIELD_SNAPSHOTS, FIELD_REFCOUNT_TABLE, FIELD_INCOMPATIBLE, FIELD_AUTOCLEAR = 60, 48, 72, 88

DIRTY, CORRUPT, EXTERNAL_DATA, COMPRESSION, SUBCLUSTERS = 1, 2, 4, 8, 16
KNOWN_INCOMPATIBLE = DIRTY | CORRUPT | EXTERNAL_DATA | COMPRESSION | SUBCLUSTERS
LAZY_REFCOUNTS = 1
CLEAR_BITMAPS, CLEAR_RAW_DATA = 1, 2

END, BACKING_FORMAT, FEATURE_NAMES = 0, 0xE2792ACA, 0x6803F857
BITMAPS_EXTENSION, DATA_FILE_NAME = 0x23852875, 0x44415441

MIN_CLUSTER_BITS, MAX_CLUSTER_BITS = 9, 21  # 512 bytes to 2 MiB, as QEMU has it
MIN_SUBCLUSTER_CLUSTER_BITS = 14
MAX_NAME_BYTES = 1023
# A header may claim tables of any size; these are read into memory whole. QEMU's limits.
MAX_L1_BYTES = 32 << 20
MAX_REFCOUNT_TABLE_BYTES = 8 << 20
MAX_SNAPSHOTS = 65536
MAX_SIZE_BYTES = 1 << 61  # offsets stay within a signed 64-bit number with room for sums

REMEDY = "the image is damaged or hostile; restore it from a good copy"


def bad(message: str, remedy: str = REMEDY) -> FormatError:
    """A FormatError about a qcow2 image."""
    return FormatError(f"qcow2 image: {message}", remedy)


@dataclass(frozen=True)
class Header:
    """What an image says about itself, checked. Offsets and sizes in bytes of the image file."""

    version: int
    cluster_bits: int
    size_bytes: int
    l1_size: int
    l1_offset: int
    refcount_table_offset: int
    refcount_table_clusters: int
    snapshot_count: int = 0
    snapshots_offset: int = 0
    incompatible: int = 0
    compatible: int = 0
    autoclear: int = 0
    refcount_order: int = 4
    compression_type: int = 0
    backing_name: str | None = None
    extensions: dict[int, bytes] = field(default_factory=dict)

    @property
    def is_dirty(self) -> bool:
        """The refcounts may be stale: they are rebuilt before anything is written."""
        return bool(self.incompatible & DIRTY)

    @property
    def is_corrupt(self) -> bool:
        """Someone found the image damaged: it must not be written to."""
        return bool(self.incompatible & CORRUPT)

    @property
    def has_data_file(self) -> bool:
        return bool(self.incompatible & EXTERNAL_DATA)

    @property
    def has_subclusters(self) -> bool:
        return bool(self.incompatible & SUBCLUSTERS)

    @cached_property
    def cluster_size(self) -> int:
        return 1 << self.cluster_bits

    @cached_property
    def l2_bits(self) -> int:
        """An L2 table has 1 << l2_bits entries."""
        return self.cluster_bits - (4 if self.has_subclusters else 3)

    @property
    def l1_needed(self) -> int:
        """How many L1 entries the disk's size takes."""
        return -(-self.size_bytes >> (self.cluster_bits + self.l2_bits))

    @property
    def backing_format(self) -> str | None:
        return self._text(BACKING_FORMAT)

    @property
    def data_file_name(self) -> str | None:
        return self._text(DATA_FILE_NAME)

    @property
    def bitmaps(self) -> tuple[int, int, int] | None:
        """Count, directory bytes and directory offset of the dirty bitmaps, if they count."""
        data = self.extensions.get(BITMAPS_EXTENSION, b"")
        if not self.autoclear & CLEAR_BITMAPS or len(data) < BITMAPS.size:
            return None
        count, _, size, offset = BITMAPS.unpack_from(data)
        return count, size, offset

    def _text(self, extension: int) -> str | None:
        data = self.extensions.get(extension)
        return None if data is None else data.decode("utf-8", "surrogateescape")


def parse(start: bytes) -> Header:
    """The header at the start of an image; give a cluster of the largest size, or the file."""
    if len(start) < V2_BYTES or not start.startswith(MAGIC):
        raise bad("too short, or no qcow2 image at all", "check the path and the format")
    header, header_bytes, name_at, name_bytes = _fields(start)
    _check(header)
    return _with_names(header, start[: header.cluster_size], header_bytes, name_at, name_bytes)


def _fields(start: bytes) -> tuple[Header, int, int, int]:
    (_, version, name_at, name_bytes, cluster_bits, size, crypt, l1_size, l1_offset, table,
     table_clusters, snapshots, snapshots_offset) = BASE.unpack_from(start)  # fmt: skip
    if version not in (2, 3):
        raise bad(f"version {version} is unknown", "convert it to version 3 with qemu-img convert")
    if crypt:
        raise bad("it is encrypted", "decrypt it with qemu-img convert")
    incompatible, compatible, autoclear, order, header_bytes = 0, 0, 0, 4, V2_BYTES
    compression = 0
    if version == 3:
        if len(start) < V3_BYTES:
            raise bad("the header is cut off")
        incompatible, compatible, autoclear, order, header_bytes = FEATURES.unpack_from(
            start, V2_BYTES
        )
        if header_bytes < V3_BYTES or header_bytes % 8 or header_bytes > len(start):
            raise bad(f"a header of {header_bytes} bytes cannot be")
        compression = start[V3_BYTES] if header_bytes > V3_BYTES else 0
    header = Header(
        version, cluster_bits, size, l1_size, l1_offset, table, table_clusters, snapshots,
        snapshots_offset, incompatible, compatible, autoclear, order, compression,
    )  # fmt: skip
    return header, header_bytes, name_at, name_bytes


def _check(header: Header) -> None:
    unknown = header.incompatible & ~KNOWN_INCOMPATIBLE
    if unknown:
        raise bad(
            f"it uses unknown features ({unknown:#x})", "convert it with the program that made it"
        )
    least = MIN_SUBCLUSTER_CLUSTER_BITS if header.has_subclusters else MIN_CLUSTER_BITS
    if not least <= header.cluster_bits <= MAX_CLUSTER_BITS:
        raise bad(f"clusters of 2^{header.cluster_bits} bytes cannot be")
    if header.refcount_order > 6:
        raise bad(f"refcounts of 2^{header.refcount_order} bits cannot be")
    _check_compression(header)
    _check_tables(header)


def _check_tables(header: Header) -> None:
    if header.size_bytes > MAX_SIZE_BYTES:
        raise bad(f"a disk of {header.size_bytes} bytes cannot be")
    if max(header.l1_needed, header.l1_size) * 8 > MAX_L1_BYTES:
        raise bad(f"the L1 table of a disk of {header.size_bytes} bytes is too large")
    if header.l1_size < header.l1_needed:
        raise bad("the L1 table is too small for the disk")
    if not 0 < header.refcount_table_clusters << header.cluster_bits <= MAX_REFCOUNT_TABLE_BYTES:
        raise bad(f"a refcount table of {header.refcount_table_clusters} clusters cannot be")
    if header.snapshot_count > MAX_SNAPSHOTS:
        raise bad(f"{header.snapshot_count} snapshots cannot be")
    for name in ("l1_offset", "refcount_table_offset", "snapshots_offset"):
        offset = getattr(header, name)
        if offset % header.cluster_size or offset >= 1 << 63:
            raise bad(f"{name} {offset:#x} is not a cluster's")


def _check_compression(header: Header) -> None:
    if header.compression_type > 1:
        raise bad(f"compression {header.compression_type} is unknown", "convert it to zlib")
    if bool(header.compression_type) != bool(header.incompatible & COMPRESSION):
        raise bad("the compression feature contradicts the compression type")


def _with_names(
    header: Header, cluster: bytes, header_bytes: int, name_at: int, name_bytes: int
) -> Header:
    from dataclasses import replace

    if header_bytes > len(cluster):
        raise bad("the header is larger than a cluster")
    name = None
    if name_at:
        if name_bytes > MAX_NAME_BYTES or not header_bytes <= name_at <= len(cluster) - name_bytes:
            raise bad("the backing file's name is outside the header")
        name = cluster[name_at : name_at + name_bytes].decode("utf-8", "surrogateescape")
        if not name or "\0" in name:
            raise bad("the backing file's name is empty or has a NUL in it")
    end = name_at or len(cluster)
    return replace(header, backing_name=name, extensions=_extensions(cluster[:end], header_bytes))


def _extensions(area: bytes, at: int) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while at + EXTENSION.size <= len(area):
        kind, length = EXTENSION.unpack_from(area, at)
        at += EXTENSION.size
        if kind == END:
            break
        if length > len(area) - at:
            raise bad(f"header extension {kind:#x} is longer than the header")
        found[kind] = area[at : at + length]
        at += -(-length // 8) * 8
    return found


def pack(header: Header) -> bytes:
    """The bytes of a header with its extensions and backing file name, at most a cluster."""
    body = b""
    if header.version == 3:
        body += FEATURES.pack(
            header.incompatible, header.compatible, header.autoclear, header.refcount_order, 112
        ) + struct.pack(">B7x", header.compression_type)
    for kind, data in header.extensions.items():
        body += EXTENSION.pack(kind, len(data)) + data.ljust(-(-len(data) // 8) * 8, b"\0")
    body += EXTENSION.pack(END, 0)
    name = (header.backing_name or "").encode("utf-8", "surrogateescape")
    name_at = BASE.size + len(body) if name else 0
    base = BASE.pack(
        MAGIC, header.version, name_at, len(name), header.cluster_bits, header.size_bytes, 0,
        header.l1_size, header.l1_offset, header.refcount_table_offset,
        header.refcount_table_clusters, header.snapshot_count, header.snapshots_offset,
    )  # fmt: skip
    whole = base + body + name
    if len(whole) > header.cluster_size or len(name) > MAX_NAME_BYTES:
        raise bad("the backing file's name does not fit", "use larger clusters or a shorter path")
    return whole
