"""UDP: one connected socket of the host for each pair of guest port and destination.

A connected socket takes datagrams from its peer only, so nothing reaches the guest that it did not
ask for, and tells when the peer has no such port.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import NamedTuple

from maquina.net import icmp, ipv4
from maquina.net.checksum import partial_sum, pseudo_header_sum
from maquina.net.fabric import Fabric, IdleTable
from maquina.net.loop import READABLE
from maquina.net.policy import Refusal
from maquina.net.udp_publish import Clients

HEADER = struct.Struct(">HHHH")
LARGEST_DATAGRAM = 65507

# Each is a socket of the host; see tcp.nat for how the sum of them was chosen.
MAX_FLOWS = 192
IDLE_S = 120.0  # RFC 4787, requirement 5: not under two minutes

DATAGRAMS_PER_EVENT = 32

Endpoint = tuple[bytes, int]


class Datagram(NamedTuple):
    """A guest's datagram."""

    source: Endpoint
    destination: Endpoint
    payload: memoryview
    packet: ipv4.Packet


def parse(packet: ipv4.Packet, has_checksum: bool = True) -> Datagram | None:
    """The datagram in `packet`, or None if its length, or a checksum it has, is wrong."""
    data = packet.payload
    if len(data) < HEADER.size:
        return None
    source_port, destination_port, length, check = HEADER.unpack_from(data)
    if not HEADER.size <= length <= len(data):
        return None
    if check and has_checksum:
        pseudo = pseudo_header_sum(ipv4.UDP, packet.source, packet.destination, length)
        if (pseudo + partial_sum(data[:length])) % 0xFFFF:
            return None
    return Datagram(
        (packet.source, source_port),
        (packet.destination, destination_port),
        data[HEADER.size : length],
        packet,
    )


class UdpFlow:
    """One guest port talking to one destination."""

    def __init__(
        self,
        fabric: Fabric,
        datagram: Datagram,
        sock: socket.socket,
        answered: Callable[[], object],
    ) -> None:
        self.last_used = 0.0
        self._answered = answered
        self._fabric = fabric
        self._guest = datagram.source
        self._peer = datagram.destination
        self._quote = icmp.quote(datagram.packet)
        self._socket = sock
        fabric.loop.watch(sock.fileno(), READABLE, self._read)

    def send(self, payload: memoryview) -> None:
        """Pass a datagram on. What the host cannot take now is lost, as UDP may be."""
        try:
            self._socket.send(payload)
        except ConnectionRefusedError:
            self._refused()
        except OSError:
            self._fabric.ignored["udp not sent"] += 1

    def close(self) -> None:
        """Give the socket back."""
        self._fabric.loop.forget(self._socket.fileno())
        self._socket.close()

    def _read(self, _happened: int) -> None:
        for _ in range(DATAGRAMS_PER_EVENT):
            try:
                payload = self._socket.recv(65535)
            except ConnectionRefusedError:
                self._refused()
                return
            except OSError:
                return
            self._answered()
            self._fabric.wire.send_udp(self._peer, self._guest, payload)

    def _refused(self) -> None:
        icmp.send_error(self._fabric, icmp.UNREACHABLE, icmp.PORT_UNREACHABLE, self._quote)


class UdpNat:
    """All UDP of a guest except the router's own services."""

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self._flows: IdleTable[tuple[Endpoint, Endpoint], UdpFlow] = IdleTable(
            fabric.loop, MAX_FLOWS, IDLE_S
        )
        self.clients = Clients(fabric.loop)

    def receive(self, datagram: Datagram) -> None:
        """Pass on a datagram of the guest."""
        if datagram.destination[0] == self.fabric.lan.gateway:
            client = self.clients.find(datagram.destination[1])
            if client is not None:
                client.answer(datagram.payload)
                return
        key = (datagram.source, datagram.destination)
        flow = self._flows.use(key) or self._flows.open(key, lambda: self._open(datagram))
        if flow is not None:
            flow.send(datagram.payload)

    def close(self) -> None:
        """Give all sockets back."""
        self._flows.close()
        self.clients.close()

    def _open(self, datagram: Datagram) -> UdpFlow | None:
        target = self.fabric.destinations.find("udp", *datagram.destination)
        if isinstance(target, Refusal):
            icmp.refuse(self.fabric, target, icmp.quote(datagram.packet))
            return None
        try:
            sock = socket.socket(target.family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        except OSError:
            self.fabric.ignored["no socket to be had"] += 1
            return None
        try:
            sock.connect(target.address)
        except OSError:
            sock.close()
            quoted = icmp.quote(datagram.packet)
            icmp.send_error(self.fabric, icmp.UNREACHABLE, icmp.NET_UNREACHABLE, quoted)
            return None
        key = (datagram.source, datagram.destination)
        return UdpFlow(self.fabric, datagram, sock, lambda: self._flows.use(key))
