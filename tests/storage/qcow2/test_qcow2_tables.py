"""The parts of qcow2 on their own: refcounts, the table cache, subcluster bitmaps, compression."""

from __future__ import annotations

import random
import zlib
from array import array
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from maquina.errors import FormatError
from maquina.storage.hostfile import HostFile
from maquina.storage.qcow2.compression import ZLIB, ZSTD, decompress
from maquina.storage.qcow2.create import Options, create
from maquina.storage.qcow2.image import read_header
from maquina.storage.qcow2.mapping import compressed_range
from maquina.storage.qcow2.refcounts import Refcounts, pack_counts, unpack_counts
from maquina.storage.qcow2.subclusters import _alike
from maquina.storage.qcow2.tables import TableCache
from maquina.storage.scatter import Scatter, fill_zeros, zero_buffers


@pytest.mark.parametrize("order", range(7))
def test_refcounts_of_every_width(order: int) -> None:
    """Checked against the definition: bit 0 of a byte belongs to the first count in it."""
    block = random.Random(order).randbytes(512)
    counts = unpack_counts(block, order)
    bits = 1 << order
    for index in (0, 1, 2, 5, 511 * 8 // bits):
        if bits >= 8:
            expected = int.from_bytes(block[index * bits // 8 : (index + 1) * bits // 8], "big")
        else:
            expected = block[index * bits // 8] >> index * bits % 8 & (1 << bits) - 1
        assert counts[index] == expected
    assert pack_counts(counts, order) == block


def test_allocation_prefers_the_lowest_free_clusters(tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    create(path, 1 << 20, options=Options(cluster_size=512))
    file = HostFile(path, is_read_only=False)
    counts = Refcounts(file, read_header(file))
    first, got = counts.allocate(10)
    assert (first, got) == (path.stat().st_size // 512, 10)
    assert counts.lower([first + 3, first + 4, first + 5, 10**15]) == [
        first + n for n in (3, 4, 5)
    ]
    assert counts.allocate(5) == (first + 3, 3)
    assert counts.allocate(2) == (first + 10, 2)
    taken: set[int] = set()
    for _ in range(3000):  # past several refcount blocks
        cluster, got = counts.allocate(7)
        new = set(range(cluster, cluster + got))
        assert not new & taken
        assert all(counts.get(one) == 1 for one in new)
        taken |= new
    file.close()


def test_the_cache_of_tables_is_bounded_and_keeps_what_is_dirty(tmp_path: Path) -> None:
    path = tmp_path / "tables"
    path.write_bytes(bytes(2 << 20) * 40)
    file = HostFile(path, is_read_only=False)
    cache = TableCache(file, 2 << 20)
    for number in range(1, 40):
        cache.get(number << 21).words[0] = number
        if number < 5:
            cache.touch(number << 21, 0, 1)
    assert cache.is_crowded
    assert len(cache._tables) <= 8
    cache.write_back()
    assert not cache.is_dirty
    assert [cache.get(number << 21).words[0] for number in (1, 4, 5, 20)] == [1, 4, 0, 0]
    for offset in (0, 512, 40 << 21, 1 << 62, (1 << 64) - (1 << 21)):
        with pytest.raises(FormatError):
            cache.get(offset)
    file.close()


@settings(derandomize=True)
@given(st.integers(0, 2**64 - 1), st.integers(0, 31))
def test_runs_of_like_subclusters(bitmap: int, first: int) -> None:
    states = [(bitmap >> n & 1, bitmap >> n + 32 & 1) for n in range(32)]
    expected = 1
    while first + expected < 32 and states[first + expected] == states[first]:
        expected += 1
    assert _alike(bitmap, first) == expected


def test_compressed_descriptors() -> None:
    """The manual's example widths: 64 KiB clusters have 8 bits of sectors above 54 of offset."""
    assert compressed_range(1 << 62 | 3 << 54 | 0x12345, 16) == (0x12345, 4 * 512 - 0x145)
    assert compressed_range(1 << 62 | 1 << 61 | 0x200, 9) == (0x200, 1024)


@pytest.mark.parametrize("method", [ZLIB, ZSTD])
def test_decompression_is_bounded(method: int) -> None:
    """Invariant: no data makes more than a cluster, or anything but a cluster or a FormatError."""
    bomb = bytes(64 << 20)
    if method == ZLIB:
        packer = zlib.compressobj(9, zlib.DEFLATED, -12)
        data = packer.compress(bomb) + packer.flush()
    else:
        data = zstandard.ZstdCompressor().compress(bomb)
    assert decompress(method, data, 65536) == bytes(65536)
    assert decompress(method, data + b"the next cluster's", 512) == bytes(512)
    with pytest.raises(FormatError, match="compressed cluster"):
        decompress(method, data[: len(data) // 2], 64 << 20)
    with pytest.raises(FormatError, match="compressed cluster"):
        decompress(method, b"", 512)
    rng = random.Random(method)
    for _ in range(300):
        damaged = bytearray(data[:600])
        damaged[rng.randrange(30)] = rng.randrange(256)
        try:
            assert len(decompress(method, bytes(damaged), 65536)) == 65536
        except FormatError:
            continue


def test_a_zstandard_frame_that_wants_much_memory_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27, compression_level=1)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = packer.compress(bytes(65536)) + packer.flush()
    with pytest.raises(FormatError, match="compressed cluster"):
        decompress(ZSTD, data, 65536)


def test_scatter_lists() -> None:
    data = bytearray(b"abcdefgh")
    view = memoryview(data)
    scatter = Scatter([view[:0], view[:3], view[3:3], view[3:8]])
    assert [bytes(piece) for piece in scatter.take(2)] == [b"ab"]
    assert [bytes(piece) for piece in scatter.take(4)] == [b"c", b"def"]
    fill_zeros(scatter.take(2))
    assert data == b"abcdef\0\0"
    assert sum(map(len, zero_buffers(5 << 19))) == 5 << 19
    assert array("B", b"".join(zero_buffers(3))) == array("B", bytes(3))
