"""TCP segments on the wire (RFC 9293, 3.1) and the options used (3.2, RFC 7323, RFC 2018)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from maquina.net import ipv4
from maquina.net.checksum import Buffer, checksum, partial_sum, pseudo_header_sum

HEADER = struct.Struct(">HHIIBBHHH")
HEADER_SIZE = HEADER.size

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16

OPTION_END, OPTION_NOP, OPTION_MSS, OPTION_SCALE = 0, 1, 2, 3
OPTION_SACK_PERMITTED, OPTION_SACK = 4, 5
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


class Options(NamedTuple):
    """What a SYN says of its sender; a `scale` of None: windows are not scaled."""

    mss: int = DEFAULT_MSS
    scale: int | None = None
    has_sack: bool = False


def parse_options(data: Buffer) -> Options:
    """The options of a SYN. What is malformed, and all after it, is left out."""
    options = Options()
    at = 0
    while at < len(data) and data[at] != OPTION_END:
        if data[at] == OPTION_NOP:
            at += 1
            continue
        size = data[at + 1] if at + 1 < len(data) else 0
        if size < 2 or at + size > len(data):
            break
        value = int.from_bytes(data[at + 2 : at + size], "big")
        if (data[at], size) == (OPTION_MSS, 4):
            options = options._replace(mss=max(value, SMALLEST_MSS))
        elif (data[at], size) == (OPTION_SCALE, 3):
            options = options._replace(scale=min(value, LARGEST_SCALE))
        elif (data[at], size) == (OPTION_SACK_PERMITTED, 2):
            options = options._replace(has_sack=True)
        at += size
    return options


def build_options(options: Options) -> bytes:
    """The options of a SYN, on the wire."""
    data = struct.pack(">BBH", OPTION_MSS, 4, options.mss)
    if options.has_sack:
        data += bytes([OPTION_NOP, OPTION_NOP, OPTION_SACK_PERMITTED, 2])
    if options.scale is not None:
        data += bytes([OPTION_NOP, OPTION_SCALE, 3, options.scale])
    return data


def build_sack(blocks: list[tuple[int, int]]) -> bytes:
    """The option that tells which sequence numbers came after a gap (RFC 2018, 3)."""
    edges = [edge & 0xFFFFFFFF for block in blocks for edge in block]
    head = bytes([OPTION_NOP, OPTION_NOP, OPTION_SACK, 2 + 4 * len(edges)])
    return head + struct.pack(f">{len(edges)}I", *edges)


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
