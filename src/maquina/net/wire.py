"""The router's end of the cable: packets to the guest become Ethernet frames."""

from __future__ import annotations

import struct
from collections.abc import Callable

from maquina.net import arp, ipv4
from maquina.net.addresses import BROADCAST, BROADCAST_MAC, Lan
from maquina.net.checksum import Buffer, checksum, partial_sum, pseudo_header_sum

ETHERNET_HEADER = 14
TYPE_IPV4 = b"\x08\x00"
TYPE_ARP = b"\x08\x06"

UDP_HEADER = struct.Struct(">HHH")


class Wire:
    """Makes frames and finds out whom to send them to. `deliver` takes a finished frame."""

    def __init__(self, lan: Lan, deliver: Callable[[bytes], None]) -> None:
        self.lan = lan
        self.neighbours = arp.Neighbours(lan)
        self._deliver = deliver
        self._ident = 0

    def learn(self, address: bytes, mac: bytes) -> None:
        """A frame has shown where `address` is."""
        for body in self.neighbours.learn(address, mac):
            self._deliver(mac + self.lan.gateway_mac + body)

    def receive_arp(self, message: arp.Message) -> None:
        """Answer a question, learn from everything (RFC 826 merges before it looks)."""
        self.learn(message.sender, message.sender_mac)
        if answer := self.neighbours.answer(message):
            mac, body = answer
            self._deliver(mac + self.lan.gateway_mac + TYPE_ARP + body)

    def send(self, protocol: int, source: bytes, destination: bytes, *parts: Buffer) -> None:
        """Send one packet, its payload given in parts; in fragments if it is too big."""
        size = sum(map(len, parts))
        if size + ipv4.HEADER_SIZE > self.lan.mtu:
            self._send_fragments(protocol, source, destination, b"".join(parts))
            return
        self._frame(destination, ipv4.header(protocol, source, destination, size), *parts)

    def send_udp(
        self, source: tuple[bytes, int], destination: tuple[bytes, int], payload: Buffer
    ) -> None:
        """Send one UDP datagram."""
        length = 8 + len(payload)
        bare = UDP_HEADER.pack(source[1], destination[1], length)
        total = pseudo_header_sum(ipv4.UDP, source[0], destination[0], length)
        field = checksum(total + partial_sum(bare) + partial_sum(payload)).to_bytes(2, "little")
        self.send(ipv4.UDP, source[0], destination[0], bare, field, payload)

    def _send_fragments(
        self, protocol: int, source: bytes, destination: bytes, payload: bytes
    ) -> None:
        self._ident = self._ident + 1 & 0xFFFF
        for fragment, piece in ipv4.fragments(payload, self.lan.mtu, self._ident):
            head = ipv4.header(protocol, source, destination, len(piece), fragment)
            self._frame(destination, head, piece)

    def _frame(self, destination: bytes, *parts: Buffer) -> None:
        gateway_mac = self.lan.gateway_mac
        if destination == BROADCAST:
            mac: bytes | None = BROADCAST_MAC
        else:
            mac = self.neighbours.find(destination)
        if mac is None:
            question = self.neighbours.wait(destination, b"".join((TYPE_IPV4, *parts)))
            self._deliver(BROADCAST_MAC + gateway_mac + TYPE_ARP + question)
        else:
            self._deliver(b"".join((mac, gateway_mac, TYPE_IPV4, *parts)))
