"""IPv4 headers (RFC 791): taking packets apart and making them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from maquina.net.checksum import Buffer, checksum, partial_sum

ICMP = 1
TCP = 6
UDP = 17

HEADER = struct.Struct(">BBHHHBBH4s4s")
HEADER_SIZE = HEADER.size
DONT_FRAGMENT = 0x4000
MORE_FRAGMENTS = 0x2000
OFFSET_MASK = 0x1FFF
TTL = 64


class Packet(NamedTuple):
    """A received packet, cut to the length its header claims."""

    protocol: int
    source: bytes
    destination: bytes
    ttl: int
    ident: int
    flags_and_offset: int
    payload: memoryview
    header: memoryview

    @property
    def is_fragment(self) -> bool:
        return bool(self.flags_and_offset & (MORE_FRAGMENTS | OFFSET_MASK))


def parse(data: memoryview) -> Packet | None:
    """The packet in `data` (padding may follow it), or None if it is malformed.

    Options are checked for length and otherwise ignored: a router may, and source routes would
    only lead around the policy.
    """
    if len(data) < HEADER_SIZE:
        return None
    first, _, length, ident, fragment, ttl, protocol, _, source, destination = HEADER.unpack_from(
        data
    )
    header_size = (first & 15) * 4
    if first >> 4 != 4 or header_size < HEADER_SIZE or not header_size <= length <= len(data):
        return None
    if partial_sum(data[:header_size]):
        return None
    return Packet(
        protocol,
        source,
        destination,
        ttl,
        ident,
        fragment,
        data[header_size:length],
        data[:header_size],
    )


def header(
    protocol: int, source: bytes, destination: bytes, payload_size: int, fragment: int = 0
) -> bytes:
    """A header without options. `fragment` is ident << 16 | flags and offset.

    An atomic packet needs no identification (RFC 6864), so it is zero with DF set.
    """
    ident, flags_and_offset = (
        (fragment >> 16, fragment & 0xFFFF) if fragment else (0, DONT_FRAGMENT)
    )
    fields = (0x45, 0, HEADER_SIZE + payload_size, ident, flags_and_offset, TTL, protocol)
    bare = HEADER.pack(*fields, 0, source, destination)
    field = checksum(partial_sum(bare))
    return b"%b%b%b" % (bare[:10], field.to_bytes(2, "little"), bare[12:])


def fragments(payload: Buffer, mtu: int, ident: int) -> Iterator[tuple[int, memoryview]]:
    """Cut a payload too big for `mtu`; each piece with what `header` wants as `fragment`."""
    view = memoryview(payload)
    step = (mtu - HEADER_SIZE) // 8 * 8
    for offset in range(0, len(view), step):
        piece = view[offset : offset + step]
        more = MORE_FRAGMENTS if offset + step < len(view) else 0
        yield ident << 16 | more | offset // 8, piece
