"""A guest made of test code: it sends exactly the frames a test wants and shows what came back.

Written from the RFCs with its own checksum, not with the product's, so that both check each other.
"""

from __future__ import annotations

import queue
import struct
import time
from collections.abc import Callable
from typing import NamedTuple

from maquina.net.user import UserNetwork

GUEST_MAC = bytes.fromhex("525400123456")
GUEST, GATEWAY, RESOLVER = bytes([10, 0, 2, 15]), bytes([10, 0, 2, 2]), bytes([10, 0, 2, 3])
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
PATIENCE_S = 10.0


def internet_checksum(data: bytes) -> int:
    """RFC 1071 as it is written there: add 16-bit words, fold the carries."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ethernet(kind: int, body: bytes, target: bytes = b"\xff" * 6) -> bytes:
    return target + GUEST_MAC + kind.to_bytes(2, "big") + body


def ipv4(
    protocol: int,
    destination: bytes,
    payload: bytes,
    *,
    source: bytes = GUEST,
    ttl: int = 64,
    fragment: int = 0,
    ident: int = 1,
) -> bytes:
    """A frame with a packet. `fragment` is flags and offset."""
    head = struct.pack(
        ">BBHHHBBH4s4s",
        0x45,
        0,
        20 + len(payload),
        ident,
        fragment,
        ttl,
        protocol,
        0,
        source,
        destination,
    )
    check = internet_checksum(head).to_bytes(2, "big")
    return ethernet(0x0800, head[:10] + check + head[12:] + payload)


def udp_payload(
    source_port: int, destination: bytes, port: int, data: bytes, source: bytes = GUEST
) -> bytes:
    length = 8 + len(data)
    head = struct.pack(">HHHH", source_port, port, length, 0)
    pseudo = source + destination + struct.pack(">HH", 17, length)
    check = internet_checksum(pseudo + head + data) or 0xFFFF
    return head[:6] + check.to_bytes(2, "big") + data


def wait_until(condition: Callable[[], bool]) -> None:
    """Return when `condition` holds; AssertionError if it does not come to that."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Tcp(NamedTuple):
    """A TCP segment as a test looks at it."""

    source_port: int
    port: int
    seq: int
    ack: int
    flags: int
    window: int
    options: bytes
    data: bytes


class Ip(NamedTuple):
    """An IPv4 packet as a test looks at it."""

    protocol: int
    source: bytes
    destination: bytes
    fragment: int
    payload: bytes

    @property
    def tcp(self) -> Tcp:
        pseudo = self.source + self.destination + struct.pack(">HH", 6, len(self.payload))
        assert internet_checksum(pseudo + self.payload) == 0
        fields = struct.unpack_from(">HHIIBBHHH", self.payload)
        size = (fields[4] >> 4) * 4
        source, port, seq, ack, _, flags, window, _, _ = fields
        options, data = self.payload[20:size], self.payload[size:]
        return Tcp(source, port, seq, ack, flags, window, options, data)

    @property
    def udp(self) -> tuple[int, int, bytes]:
        """Source port, destination port, data."""
        pseudo = self.source + self.destination + struct.pack(">HH", 17, len(self.payload))
        assert internet_checksum(pseudo + self.payload) == 0
        source, port, length, _ = struct.unpack_from(">HHHH", self.payload)
        assert length == len(self.payload)
        return source, port, self.payload[8:]


class FakeGuest:
    """The guest's end of a UserNetwork. `is_full` makes it refuse frames."""

    def __init__(self, network: UserNetwork) -> None:
        self.network = network
        self.frames: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.is_full = False
        network.attach(self._receive)

    def _receive(self, frame: bytes) -> bool:
        if self.is_full:
            return False
        self.frames.put(frame)
        return True

    def announce(self) -> None:
        """Say where the guest is, so that it can be sent to."""
        body = struct.pack(
            ">HHBBH6s4s6s4s", 1, 0x800, 6, 4, 1, GUEST_MAC, GUEST, bytes(6), GATEWAY
        )
        self.network.send(ethernet(0x0806, body))
        self.frame()

    def frame(self, timeout: float = PATIENCE_S) -> bytes:
        """The next frame; queue.Empty if none comes."""
        return self.frames.get(timeout=timeout)

    def packet(self, timeout: float = PATIENCE_S) -> Ip:
        """The next IPv4 packet, its header checked."""
        while True:
            frame = self.frame(timeout)
            if frame[12:14] == b"\x08\x00":
                break
        assert frame[:6] in (GUEST_MAC, b"\xff" * 6)
        head = frame[14:34]
        assert internet_checksum(head) == 0
        _, _, length, _, fragment, _, protocol, _, source, target = struct.unpack(
            ">BBHHHBBH4s4s", head
        )
        assert length == len(frame) - 14
        return Ip(protocol, source, target, fragment, frame[34:])

    def is_silent(self, seconds: float = 0.2) -> bool:
        """Whether nothing comes for a while."""
        time.sleep(seconds)
        return self.frames.empty()

    def send_udp(self, port: int, destination: bytes, destination_port: int, data: bytes) -> None:
        payload = udp_payload(port, destination, destination_port, data)
        self.network.send(ipv4(17, destination, payload))

    def sync(self) -> None:
        """Return when everything sent so far was looked at: a ping to the router came back."""
        body = b"\x08\0\0\0\x77\x77\0\0"
        check = internet_checksum(body).to_bytes(2, "big")
        self.network.send(ipv4(1, GATEWAY, body[:2] + check + body[4:]))
        while self.packet().payload[4:6] != b"\x77\x77":
            pass


class TcpClient:
    """One TCP connection of the guest, driven step by step."""

    def __init__(
        self, guest: FakeGuest, destination: bytes, port: int, source_port: int = 40000
    ) -> None:
        self.guest = guest
        self.destination = destination
        self.port = port
        self.source_port = source_port
        self.seq = 0xFFFFFF00  # so that it wraps soon
        self.ack = 0
        self.window = 65535
        self.scale = 0

    def send(
        self, flags: int, data: bytes = b"", *, seq: int | None = None, options: bytes = b""
    ) -> None:
        """Send a segment; without `seq`, the next one, and count it."""
        at = self.seq if seq is None else seq
        size = 20 + len(options)
        head = struct.pack(
            ">HHIIBBHHH",
            self.source_port,
            self.port,
            at & 0xFFFFFFFF,
            self.ack if flags & ACK else 0,
            size << 2,
            flags,
            self.window,
            0,
            0,
        )
        head += options
        pseudo = GUEST + self.destination + struct.pack(">HH", 6, size + len(data))
        check = internet_checksum(pseudo + head + data).to_bytes(2, "big")
        segment = head[:16] + check + head[18:] + data
        self.guest.network.send(ipv4(6, self.destination, segment))
        if seq is None:
            self.seq = self.seq + len(data) + bool(flags & (SYN | FIN)) & 0xFFFFFFFF

    def receive(self, timeout: float = PATIENCE_S) -> Tcp:
        """The next segment of this connection; in-order data is counted but not acknowledged."""
        while True:
            packet = self.guest.packet(timeout)
            if packet.protocol != 6:
                continue
            tcp = packet.tcp
            if (tcp.source_port, tcp.port) == (self.port, self.source_port):
                break
        if tcp.flags & SYN:
            self.ack = tcp.seq + 1 & 0xFFFFFFFF
        elif tcp.seq == self.ack:
            self.ack = self.ack + len(tcp.data) + bool(tcp.flags & FIN) & 0xFFFFFFFF
        return tcp

    def connect(self, options: bytes = b"\x02\x04\x05\xb4") -> Tcp:
        """Three-way handshake; the SYN|ACK."""
        self.send(SYN, options=options)
        answer = self.receive()
        assert answer.flags == SYN | ACK
        assert answer.ack == self.seq
        self.send(ACK)
        return answer

    def read(self, size: int) -> bytes:
        """Receive and acknowledge so many bytes."""
        data = b""
        while len(data) < size:
            before = self.ack
            tcp = self.receive()
            if tcp.seq == before and tcp.data:
                data += tcp.data
                self.send(ACK)
        return data
