"""Internet checksums (RFC 1071) that one side of a network card left to the other.

The sum of a byte string as one long number, modulo 65,535, is its one's complement sum, and Python
divides long numbers fast.
"""

from __future__ import annotations

ETHERNET_HEADER = 14
TYPE_IPV4 = b"\x08\x00"
CHECKSUM_OFFSETS = {6: 16, 17: 6}  # in the headers of TCP and UDP


def checksum(data: bytes) -> int:
    """From 1 to 0xFFFF: 0 would mean "none" in UDP, and is the same sum."""
    padded = data + b"\0" if len(data) % 2 else data
    return 0xFFFF - int.from_bytes(padded, "big") % 0xFFFF


def complete(frame: bytes, start: int, offset: int) -> bytes:
    """Fill in at `start + offset` the checksum of everything from `start` on (virtio 5.1.6.2).

    The field holds the sum of the pseudo header before.
    """
    at = start + offset
    return frame[:at] + checksum(frame[start:]).to_bytes(2, "big") + frame[at + 2 :]


def fill_in(frame: bytes) -> bytes:
    """Fill in the checksum of TCP or UDP over IPv4; anything else, and fragments, stay as is."""
    if len(frame) < ETHERNET_HEADER + 20 or frame[12:14] != TYPE_IPV4:
        return frame
    start = ETHERNET_HEADER + 4 * (frame[14] & 0xF)
    end = ETHERNET_HEADER + int.from_bytes(frame[16:18], "big")
    offset = CHECKSUM_OFFSETS.get(frame[23])
    is_fragment = int.from_bytes(frame[20:22], "big") & 0x3FFF
    if offset is None or is_fragment or not start + offset + 2 <= end <= len(frame):
        return frame
    pseudo_header = frame[26:34] + bytes([0, frame[23]]) + (end - start).to_bytes(2, "big")
    at = start + offset
    covered = pseudo_header + frame[start:at] + bytes(2) + frame[at + 2 : end]
    return frame[:at] + checksum(covered).to_bytes(2, "big") + frame[at + 2 :]
