"""All TCP of a guest: which segment belongs to which flow, and how flows begin."""

from __future__ import annotations

import errno
import secrets
import socket
from functools import partial
from typing import NamedTuple

from maquina.net import icmp, ipv4
from maquina.net.fabric import Fabric
from maquina.net.policy import Refusal
from maquina.net.tcp.budget import Budget
from maquina.net.tcp.connection import Connection, Reply
from maquina.net.tcp.flow import Flow, prepare
from maquina.net.tcp.segment import (
    ACK,
    FIN,
    HEADER_SIZE,
    RST,
    SYN,
    Segment,
    build_header,
    parse,
)
from maquina.net.tcp.states import State

# Each flow is a socket of the host. These, 192 of UDP, 128 of DNS and 32 pings stay under the
# usual limit of 1,024 open files with room for the machine's own: a guest that opens flows without
# end is refused and takes nothing from the host.
MAX_FLOWS = 512

FIRST_CLIENT_PORT = 49152
CLIENT_PORTS = 16384


class Key(NamedTuple):
    """A flow as the guest sees it."""

    guest: bytes
    guest_port: int
    peer: bytes
    peer_port: int


class TcpNat:
    """The flows, by their four numbers."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        self._flows: dict[Key, Flow] = {}
        self._touched: dict[Flow, None] = {}
        self.budget = Budget()

    def __len__(self) -> int:
        return len(self._flows)

    def receive(self, packet: ipv4.Packet) -> None:
        """Take a packet of the guest; `settle` is to follow."""
        segment = parse(packet, self._fabric.lan.has_checksums)
        if segment is None:
            self._fabric.ignored["malformed tcp"] += 1
            return
        key = Key(packet.source, segment.source_port, packet.destination, segment.destination_port)
        flow = self._flows.get(key)
        is_opening = segment.flags & (SYN | ACK | RST) == SYN
        if flow is not None and is_opening and flow.connection.state is State.TIME_WAIT:
            flow.abort()
            flow = None
        if flow is not None:
            flow.receive(segment)
            self._touched[flow] = None
        elif is_opening:
            self._open(key, segment, packet)
        elif not segment.flags & RST:
            self._reset(key, segment)

    def settle(self) -> None:
        """A batch of packets is through."""
        while self._touched:
            flow, _ = self._touched.popitem()
            flow.settle()

    def publish_to_guest(self, sock: socket.socket, guest_port: int) -> None:
        """Lead a client of a published port, just accepted, to the guest."""
        lan = self._fabric.lan
        key = self._client_key(guest_port)
        if key is None or not self._has_place():
            self._fabric.policy.refuse("tcp", lan.guest, guest_port, Refusal.TOO_MANY)
            sock.close()
            return
        flow = self._add(key, sock)
        flow.connection.open_to_guest(self._fabric.loop.now)
        flow.settle()

    def close(self) -> None:
        """Reset all flows."""
        for flow in list(self._flows.values()):
            flow.abort()

    def _open(self, key: Key, syn: Segment, packet: ipv4.Packet) -> None:
        target = self._fabric.destinations.find("tcp", key.peer, key.peer_port)
        if not isinstance(target, Refusal) and not self._has_place():
            target = Refusal.TOO_MANY
            self._fabric.policy.refuse("tcp", key.peer, key.peer_port, target)
        if target is Refusal.NO_SUCH_HOST:
            icmp.refuse(self._fabric, Refusal.NO_SUCH_HOST, icmp.quote(packet))
        if isinstance(target, Refusal):
            self._reset(key, syn)
            return
        try:
            sock = socket.socket(target.family, socket.SOCK_STREAM)
        except OSError:
            self._fabric.ignored["no socket to be had"] += 1
            self._reset(key, syn)
            return
        prepare(sock)
        error = sock.connect_ex(target.address)
        flow = self._add(key, sock)
        flow.connection.open_from_guest(syn, self._fabric.loop.now)
        if error in (0, errno.EINPROGRESS):
            flow.connecting(partial(self._connect_failed, flow, icmp.quote(packet)))
        else:
            self._connect_failed(flow, icmp.quote(packet), error)
            flow.abort()

    def _add(self, key: Key, sock: socket.socket) -> Flow:
        fabric = self._fabric
        connection = Connection(
            isn=secrets.randbits(32),
            mss=fabric.lan.mtu - ipv4.HEADER_SIZE - HEADER_SIZE,
            transmit=partial(self._transmit, key),
            budget=self.budget,
        )
        flow = Flow(fabric.loop, sock, connection, self.budget, partial(self._forget, key))
        self._flows[key] = flow
        return flow

    def _forget(self, key: Key) -> None:
        del self._flows[key]

    def _connect_failed(self, flow: Flow, quoted: bytes, error: int) -> None:
        """A refusal becomes a reset; an address that cannot be reached, ICMP's word for it."""
        if error in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ETIMEDOUT, errno.EACCES):
            is_host = error in (errno.EHOSTUNREACH, errno.ETIMEDOUT)
            code = icmp.HOST_UNREACHABLE if is_host else icmp.NET_UNREACHABLE
            icmp.send_error(self._fabric, icmp.UNREACHABLE, code, quoted)
            flow.connection.close()
        else:
            flow.connection.abort()

    def _has_place(self) -> bool:
        """Whether another flow may begin; one that only waits for stragglers gives way."""
        if len(self._flows) < MAX_FLOWS:
            return True
        for flow in self._flows.values():
            if flow.connection.state is State.TIME_WAIT:
                flow.abort()
                return True
        return False

    def _client_key(self, guest_port: int) -> Key | None:
        lan = self._fabric.lan
        for _ in range(8):
            port = FIRST_CLIENT_PORT + secrets.randbelow(CLIENT_PORTS)
            key = Key(lan.guest, guest_port, lan.gateway, port)
            if key not in self._flows:
                return key
        return None

    def _transmit(self, key: Key, reply: Reply) -> None:
        segment = Segment(key.peer_port, key.guest_port, *reply)
        header = build_header(segment, key.peer, key.guest, self._fabric.lan.has_checksums)
        self._fabric.wire.send(ipv4.TCP, key.peer, key.guest, header, reply.payload)

    def _reset(self, key: Key, segment: Segment) -> None:
        """Answer a segment that belongs to no flow (RFC 9293, 3.10.7.1)."""
        if segment.flags & ACK:
            self._transmit(key, Reply(segment.ack, 0, RST))
        else:
            end = segment.seq + len(segment.payload) + bool(segment.flags & SYN)
            end += bool(segment.flags & FIN)
            self._transmit(key, Reply(0, end, RST | ACK))
