"""ICMP (RFC 792): echo, and telling the guest that something cannot be reached.

The router's own addresses answer echo themselves. Others are asked through the kernel's ping
sockets, which need no privilege where net.ipv4.ping_group_range allows them; elsewhere such
requests go unanswered and are counted.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from maquina.net import ipv4
from maquina.net.addresses import text
from maquina.net.checksum import Buffer, checksum, partial_sum
from maquina.net.fabric import Fabric, IdleTable
from maquina.net.loop import READABLE
from maquina.net.policy import Refusal

ECHO_REPLY = 0
UNREACHABLE = 3
ECHO_REQUEST = 8
TIME_EXCEEDED = 11

NET_UNREACHABLE = 0
HOST_UNREACHABLE = 1
PORT_UNREACHABLE = 3
PROHIBITED = 13

ECHO_HEADER = 8

# Each is a socket of the host; see tcp.nat for how the sum of them was chosen.
MAX_PINGS = 32
PING_IDLE_S = 30.0
DATAGRAMS_PER_EVENT = 16

PingKey = tuple[bytes, int, bytes]  # guest address, identifier, destination


def message(kind: int, code: int, rest: Buffer) -> bytes:
    """An ICMP message; `rest` begins after the checksum field."""
    total = kind + (code << 8) + partial_sum(rest)
    return b"%c%c%b%b" % (kind, code, checksum(total).to_bytes(2, "little"), bytes(rest))


def quote(packet: ipv4.Packet) -> bytes:
    """What an error says about the packet it is about: its header and eight bytes (RFC 792)."""
    return bytes(packet.header) + bytes(packet.payload[:8])


def send_error(fabric: Fabric, kind: int, code: int, quoted: bytes) -> None:
    """Tell the guest that the packet beginning with `quoted` got nowhere."""
    fabric.wire.send(
        ipv4.ICMP, fabric.lan.gateway, quoted[12:16], message(kind, code, bytes(4) + quoted)
    )


def refuse(fabric: Fabric, reason: Refusal, quoted: bytes) -> None:
    """Tell the guest that its packet may not pass."""
    code = HOST_UNREACHABLE if reason is Refusal.NO_SUCH_HOST else PROHIBITED
    send_error(fabric, UNREACHABLE, code, quoted)


class Ping:
    """One sender of echo requests to one destination."""

    def __init__(self, fabric: Fabric, key: PingKey, sock: socket.socket) -> None:
        self.last_used = 0.0
        self._fabric = fabric
        self._key = key
        self._socket = sock
        fabric.loop.watch(sock.fileno(), READABLE, self._read)

    def request(self, payload: memoryview) -> None:
        """Pass a request on; the kernel puts its own identifier in and takes replies by it."""
        try:
            self._socket.send(payload)
        except OSError:
            self._fabric.ignored["echo request not sent"] += 1

    def _read(self, _happened: int) -> None:
        guest, ident, destination = self._key
        for _ in range(DATAGRAMS_PER_EVENT):
            try:
                reply = self._socket.recv(65535)
            except OSError:
                return
            if len(reply) >= ECHO_HEADER and reply[0] == ECHO_REPLY:
                rest = ident.to_bytes(2, "big") + reply[6:]
                self._fabric.wire.send(ipv4.ICMP, destination, guest, message(ECHO_REPLY, 0, rest))

    def close(self) -> None:
        """Give the socket back."""
        self._fabric.loop.forget(self._socket.fileno())
        self._socket.close()


class IcmpNat:
    """Answers or passes on what the guest sends over ICMP."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        self._pings: IdleTable[PingKey, Ping] = IdleTable(fabric.loop, MAX_PINGS, PING_IDLE_S)

    def receive(self, packet: ipv4.Packet) -> None:
        """Take a packet of the guest. Anything but a sound echo request is dropped."""
        payload = packet.payload
        if len(payload) < ECHO_HEADER or payload[0] != ECHO_REQUEST or payload[1]:
            self._fabric.ignored["icmp other than echo"] += 1
        elif partial_sum(payload):
            self._fabric.ignored["icmp checksum"] += 1
        elif packet.destination in self._fabric.lan.own_addresses:
            reply = message(ECHO_REPLY, 0, payload[4:])
            self._fabric.wire.send(ipv4.ICMP, packet.destination, packet.source, reply)
        else:
            self._pass_on(packet)

    def close(self) -> None:
        """Give all sockets back."""
        self._pings.close()

    def _pass_on(self, packet: ipv4.Packet) -> None:
        ident = int.from_bytes(packet.payload[4:6], "big")
        key = (packet.source, ident, packet.destination)
        ping = self._pings.use(key) or self._pings.open(key, self._opener(packet, key))
        if ping is not None:
            ping.request(packet.payload)

    def _opener(self, packet: ipv4.Packet, key: PingKey) -> Callable[[], Ping | None]:
        return lambda: self._open(packet, key)

    def _open(self, packet: ipv4.Packet, key: PingKey) -> Ping | None:
        target = self._fabric.destinations.find("icmp", packet.destination, 0)
        if isinstance(target, Refusal):
            refuse(self._fabric, target, quote(packet))
            return None
        try:
            sock = socket.socket(
                socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMP
            )
        except OSError:
            self._fabric.ignored["the host allows no ping sockets"] += 1
            return None
        try:
            sock.connect((text(packet.destination), 0))
        except OSError:
            sock.close()
            send_error(self._fabric, UNREACHABLE, NET_UNREACHABLE, quote(packet))
            return None
        return Ping(self._fabric, key, sock)
