"""Putting a guest's fragmented packets together again (RFC 791, 3.2; RFC 5722 on overlaps)."""

from __future__ import annotations

from dataclasses import dataclass, field

from maquina.net import ipv4

# A guest that sends first fragments only, each of another packet, would fill memory: beyond this
# many unfinished packets the oldest is forgotten. Each is at most 64 KiB, so 1 MiB in all.
MAX_UNFINISHED = 16
# 64 KiB in fragments of eight bytes are 8,192 objects: packets in more pieces than a 576-byte MTU
# makes of 64 KiB are refused.
MAX_PIECES = 128
MAX_PAYLOAD = 65535 - ipv4.HEADER_SIZE
LIFETIME_S = 15.0


@dataclass(slots=True)
class Unfinished:
    """The pieces so far, by offset; `size` is known when the last one has come."""

    deadline: float
    pieces: dict[int, bytes] = field(default_factory=dict)
    received: int = 0
    size: int | None = None


class Reassembler:
    """Fragments in, whole packets out. A packet whose pieces overlap is dropped whole."""

    def __init__(self) -> None:
        self._unfinished: dict[tuple[bytes, bytes, int, int], Unfinished] = {}

    def add(self, packet: ipv4.Packet, now: float) -> ipv4.Packet | None:
        """Take a fragment; the whole packet if it was the last missing piece."""
        key = (packet.source, packet.destination, packet.protocol, packet.ident)
        entry = self._unfinished.get(key)
        if entry is None or entry.deadline < now:
            self._unfinished.pop(key, None)
            entry = self._open(key, now)
        if not self._store(entry, packet):
            del self._unfinished[key]
            return None
        if entry.received != entry.size:
            return None
        del self._unfinished[key]
        payload = _join(entry)
        if payload is None:
            return None
        return packet._replace(flags_and_offset=0, payload=payload)

    def _open(self, key: tuple[bytes, bytes, int, int], now: float) -> Unfinished:
        while len(self._unfinished) >= MAX_UNFINISHED:
            del self._unfinished[next(iter(self._unfinished))]
        entry = self._unfinished[key] = Unfinished(now + LIFETIME_S)
        return entry

    @staticmethod
    def _store(entry: Unfinished, packet: ipv4.Packet) -> bool:
        offset = (packet.flags_and_offset & ipv4.OFFSET_MASK) * 8
        end = offset + len(packet.payload)
        is_last = not packet.flags_and_offset & ipv4.MORE_FRAGMENTS
        if offset in entry.pieces or len(entry.pieces) >= MAX_PIECES or end > MAX_PAYLOAD:
            return False
        if not packet.payload or (not is_last and end % 8):
            return False
        if is_last:
            if entry.size is not None:
                return False
            entry.size = end
        entry.pieces[offset] = bytes(packet.payload)
        entry.received += len(packet.payload)
        return entry.size is None or entry.received <= entry.size


def _join(entry: Unfinished) -> memoryview | None:
    position = 0
    ordered = sorted(entry.pieces.items())
    for offset, piece in ordered:
        if offset != position:
            return None
        position += len(piece)
    return memoryview(b"".join(piece for _, piece in ordered))
