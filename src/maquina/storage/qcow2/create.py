"""Making qcow2 images."""

from __future__ import annotations

import os
from array import array
from dataclasses import dataclass
from pathlib import Path

from maquina.errors import HostError, ImageError, UsageError
from maquina.storage.qcow2.compression import ZLIB, ZSTD
from maquina.storage.qcow2.header import (
    BACKING_FORMAT,
    COMPRESSION,
    MAX_CLUSTER_BITS,
    MAX_L1_BYTES,
    MAX_SIZE_BYTES,
    MIN_CLUSTER_BITS,
    MIN_SUBCLUSTER_CLUSTER_BITS,
    SUBCLUSTERS,
    Header,
    pack,
    parse,
)
from maquina.storage.qcow2.refcounts import pack_counts
from maquina.storage.qcow2.tables import WORDS, to_big_endian

COMPRESSIONS = {"zlib": ZLIB, "zstd": ZSTD}


@dataclass(frozen=True)
class Options:
    """How an image is laid out. The defaults are QEMU's."""

    cluster_size: int = 65536
    """A power of two, 512 to 2 MiB (16 KiB or more with subclusters)."""
    version: int = 3
    refcount_bits: int = 16
    """1, 2, 4, ... 64; version 2 has 16 only."""
    extended_l2: bool = False
    """32 subclusters per cluster: small writes on a backing file copy less."""
    compression: str = "zlib"
    """What compresses clusters, "zlib" or "zstd" (nothing here writes compressed clusters)."""


@dataclass(frozen=True)
class Backing:
    """What an overlay lies on: the name put into the header, and the format of that file."""

    name: str
    format: str


def create(
    path: Path, size_bytes: int, *, backing: Backing | None = None, options: Options | None = None
) -> None:
    """Make an empty image of `size_bytes`, rounded up to whole sectors of 512 bytes.

    ImageError if `path` is there already; nothing is left of a failed attempt.
    """
    header = _header(size_bytes, options or Options(), backing)
    header, blocks = _lay_out(header)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError as error:
        raise ImageError(f"{path} is already there", "remove it or name another file") from error
    except OSError as error:
        raise HostError(f"{path} cannot be made ({error.strerror})") from error
    try:
        _write(fd, header, blocks)
    except OSError as error:
        path.unlink()
        raise HostError(f"{path} cannot be written ({error.strerror})") from error
    finally:
        os.close(fd)


def _header(size_bytes: int, options: Options, backing: Backing | None) -> Header:
    """What the options ask for, still without tables. UsageError if they cannot be."""
    bits, width = options.cluster_size.bit_length() - 1, options.refcount_bits
    least = MIN_SUBCLUSTER_CLUSTER_BITS if options.extended_l2 else MIN_CLUSTER_BITS
    if options.cluster_size != 1 << bits or not least <= bits <= MAX_CLUSTER_BITS:
        raise UsageError(
            f"clusters of {options.cluster_size} bytes cannot be",
            f"ask for a power of two from {1 << least} to {1 << MAX_CLUSTER_BITS}",
        )
    if width not in (1, 2, 4, 8, 16, 32, 64):
        raise UsageError(f"refcounts of {width} bits cannot be", "ask for 1, 2, 4, ... or 64")
    if options.version not in (2, 3):
        raise UsageError(f"there is no version {options.version}", "ask for version 2 or 3")
    if options.compression not in COMPRESSIONS:
        raise UsageError(f"there is no {options.compression} compression", "ask for zlib or zstd")
    method = COMPRESSIONS[options.compression]
    if options.version == 2 and (width != 16 or options.extended_l2 or method):
        raise UsageError("version 2 has no such features", "ask for version 3")
    header = Header(
        version=options.version,
        cluster_bits=bits,
        size_bytes=-(-size_bytes // 512) * 512,
        l1_size=0,
        l1_offset=0,
        refcount_table_offset=0,
        refcount_table_clusters=0,
        incompatible=(SUBCLUSTERS if options.extended_l2 else 0) | (COMPRESSION if method else 0),
        refcount_order=width.bit_length() - 1,
        compression_type=method,
        backing_name=backing.name if backing else None,
        extensions={BACKING_FORMAT: backing.format.encode()} if backing else {},
    )
    if not 0 <= size_bytes <= MAX_SIZE_BYTES or 8 * header.l1_needed > MAX_L1_BYTES:
        raise UsageError(
            f"a disk of {size_bytes} bytes cannot be with clusters of {options.cluster_size}",
            "ask for larger clusters",
        )
    return header


def _lay_out(header: Header) -> tuple[Header, int]:
    """Place the refcount table, blocks and the L1 table, in this order; how many blocks."""
    from dataclasses import replace

    size = header.cluster_size
    per_block = size * 8 >> header.refcount_order
    l1_size = max(header.l1_needed, 1)
    l1_clusters = -(-8 * l1_size // size)
    table, blocks = 1, 1
    while True:
        needed = -(-(1 + table + blocks + l1_clusters) // per_block)
        if needed <= blocks and 8 * blocks <= table * size:
            break
        blocks = max(needed, blocks)
        table = -(-8 * blocks // size)
    header = replace(
        header,
        l1_size=l1_size,
        l1_offset=(1 + table + blocks) * size,
        refcount_table_offset=size,
        refcount_table_clusters=table,
    )
    parse(pack(header))  # refuses what no reader would open
    return header, blocks


def _write(fd: int, header: Header, blocks: int) -> None:
    size = header.cluster_size
    per_block = size * 8 >> header.refcount_order
    first_block = 1 + header.refcount_table_clusters
    used = first_block + blocks + -(-8 * header.l1_size // size)
    os.ftruncate(fd, used * size)
    offsets = array("Q", range(first_block * size, (first_block + blocks) * size, size))
    _put(fd, size, to_big_endian(offsets))
    word = WORDS[max(1 << header.refcount_order >> 3, 1)]
    for block in range(blocks):
        ones = min(used - block * per_block, per_block)
        counts = array(word, [1]) * ones + array(word, [0]) * (per_block - ones)
        _put(fd, (first_block + block) * size, pack_counts(counts, header.refcount_order))
    _put(fd, 0, pack(header))
    os.fsync(fd)


def _put(fd: int, offset: int, data: bytes) -> None:
    while data:
        done = os.pwrite(fd, data, offset)
        data, offset = data[done:], offset + done
