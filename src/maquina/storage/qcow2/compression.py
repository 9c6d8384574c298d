"""Compressed clusters: raw deflate or Zstandard (the manual, "Compressed Clusters Descriptor")."""

from __future__ import annotations

import zlib

from maquina.storage.hostfile import HostFile
from maquina.storage.qcow2.header import bad
from maquina.storage.qcow2.mapping import compressed_range

ZLIB, ZSTD = 0, 1
# A Zstandard frame says how much memory its decoder needs. RFC 8878 asks for 8 MiB; more is
# refused.
MAX_ZSTD_WINDOW_BYTES = 8 << 20
CACHE_BYTES = 4 << 20  # decompressed clusters kept for the small reads that follow a first one


def decompress(method: int, data: bytes, cluster_size: int) -> bytes:
    """A cluster from its compressed form; never more, whatever the data would grow to."""
    try:
        if method == ZSTD:
            plain = _decompress_zstd(data, cluster_size)
        else:
            plain = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, cluster_size)
    except zlib.error as error:
        raise bad(f"a compressed cluster is damaged ({error})") from error
    if len(plain) < cluster_size:
        raise bad("a compressed cluster is cut off")
    return plain


def _decompress_zstd(data: bytes, cluster_size: int) -> bytes:
    import zstandard  # start-up stays short

    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW_BYTES)
    try:
        with decompressor.stream_reader(data) as reader:
            return reader.read(cluster_size)
    except zstandard.ZstdError as error:
        raise bad(f"a compressed cluster is damaged ({error})") from error


class CompressedClusters:
    """Reads compressed clusters and keeps the last few."""

    def __init__(self, file: HostFile, method: int, cluster_bits: int) -> None:
        self._file = file
        self._method = method
        self._cluster_bits = cluster_bits
        self._kept: dict[int, bytes] = {}
        self._limit = max(CACHE_BYTES >> cluster_bits, 1)

    def get(self, entry: int) -> bytes:
        """The contents of the cluster that an L2 entry describes."""
        plain = self._kept.get(entry)
        if plain is None:
            host, length = compressed_range(entry, self._cluster_bits)
            data = self._file.read(host, length)
            plain = decompress(self._method, data, 1 << self._cluster_bits)
            while len(self._kept) >= self._limit:
                del self._kept[next(iter(self._kept))]
            self._kept[entry] = plain
        return plain
