"""TCP segments on the wire (RFC 9293, 3.1) and the two options used (3.2, RFC 7323)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from maquina.net import ipv4
from maquina.net.checksum import Buffer, checksum, partial_sum, pseudo_header_sum

HEADER = struct.Struct(">HHIIBBHHH")
HEADER_SIZE = HEADER.size

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16

OPTION_END, OPTION_NOP, OPTION_MSS, OPTION_SCALE = 0, 1, 2, 3
DEFAULT_MSS = 536  # RFC 9293, 3.7.1: for a peer that names none
# A guest that names an MSS of one byte would have each byte cost a packet; Linux has this floor.
SMALLEST_MSS = 88
LARGEST_SCALE = 14  # RFC 7323, 2.3


class Segment(NamedTuple):
    """A segment; sequence numbers as on the wire."""

    source_port: int
    destination_port: int
    seq: int
    ack: int
    flags: int
    window: int
    options: Buffer
    payload: Buffer


def parse(packet: ipv4.Packet, has_checksum: bool = True) -> Segment | None:
    """The segment in `packet`, or None if its lengths, or a checksum it has, are wrong."""
    data = packet.payload
    if len(data) < HEADER_SIZE:
        return None
    source, destination, seq, ack, offset, flags, window, _, _ = HEADER.unpack_from(data)
    header_size = (offset >> 4) * 4
    if not HEADER_SIZE <= header_size <= len(data):
        return None
    if has_checksum:
        pseudo = pseudo_header_sum(ipv4.TCP, packet.source, packet.destination, len(data))
        if (pseudo + partial_sum(data)) % 0xFFFF:
            return None
    return Segment(
        source,
        destination,
        seq,
        ack,
        flags,
        window,
        data[HEADER_SIZE:header_size],
        data[header_size:],
    )


def parse_options(options: Buffer) -> tuple[int, int | None]:
    """The peer's MSS, and window scale unless it does not scale. What is malformed is left out."""
    mss, scale = DEFAULT_MSS, None
    at = 0
    while at < len(options) and options[at] != OPTION_END:
        if options[at] == OPTION_NOP:
            at += 1
            continue
        size = options[at + 1] if at + 1 < len(options) else 0
        if size < 2 or at + size > len(options):
            break
        if options[at] == OPTION_MSS and size == 4:
            mss = int.from_bytes(options[at + 2 : at + 4], "big")
        elif options[at] == OPTION_SCALE and size == 3:
            scale = min(options[at + 2], LARGEST_SCALE)
        at += size
    return max(mss, SMALLEST_MSS), scale


def build_options(mss: int, scale: int | None) -> bytes:
    """The options of a SYN."""
    options = struct.pack(">BBH", OPTION_MSS, 4, mss)
    if scale is not None:
        options += struct.pack(">BBBB", OPTION_NOP, OPTION_SCALE, 3, scale)
    return options


def build_header(
    segment: Segment, source: bytes, destination: bytes, has_checksum: bool = True
) -> bytes:
    """Header and options; the payload, which is to follow, counts in the checksum."""
    options, payload = segment.options, segment.payload
    size = HEADER_SIZE + len(options)
    bare = HEADER.pack(
        segment.source_port,
        segment.destination_port,
        segment.seq & 0xFFFFFFFF,
        segment.ack & 0xFFFFFFFF,
        size << 2,
        segment.flags,
        segment.window,
        0,
        0,
    )
    if not has_checksum:
        return b"".join((bare, options))
    total = pseudo_header_sum(ipv4.TCP, source, destination, size + len(payload))
    total += partial_sum(bare) + partial_sum(options) + partial_sum(payload)
    return b"".join((bare[:16], checksum(total).to_bytes(2, "little"), bytes(2), options))


def unwrap(wire: int, near: int) -> int:
    """The sequence number closest to `near` that looks like `wire` in 32 bits.

    Inside a connection sequence numbers are plain integers that never wrap, so comparing and
    subtracting them needs no thought.
    """
    return near + ((wire - near + 0x80000000 & 0xFFFFFFFF) - 0x80000000)
