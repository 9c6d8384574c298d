"""ARP (RFC 826): which Ethernet address has which IPv4 address on the cable."""

from __future__ import annotations

import struct
from collections import deque
from typing import NamedTuple

from maquina.net.addresses import BROADCAST_MAC, Lan

MESSAGE = struct.Struct(">HHBBH6s4s6s4s")
ETHERNET_IPV4 = (1, 0x0800, 6, 4)
REQUEST = 1
REPLY = 2

# Frames for a guest that has not said its Ethernet address yet. A published port is the only way
# to make them, and its clients may be many: the newest few are enough, TCP repeats the others.
MAX_WAITING = 16


class Message(NamedTuple):
    """An ARP message about IPv4 on Ethernet."""

    operation: int
    sender_mac: bytes
    sender: bytes
    target_mac: bytes
    target: bytes


def parse(data: memoryview) -> Message | None:
    """The message in `data`, or None if it is malformed or about other networks."""
    if len(data) < MESSAGE.size:
        return None
    *kind, operation, sender_mac, sender, target_mac, target = MESSAGE.unpack_from(data)
    if tuple(kind) != ETHERNET_IPV4:
        return None
    return Message(operation, sender_mac, sender, target_mac, target)


def build(message: Message) -> bytes:
    return MESSAGE.pack(*ETHERNET_IPV4, *message)


class Neighbours:
    """Ethernet addresses by IPv4 address, for the LAN's addresses only, so at most its size."""

    def __init__(self, lan: Lan) -> None:
        self._lan = lan
        self._reserved = lan.own_addresses | {lan.network, lan.broadcast}
        self._known: dict[bytes, bytes] = {}
        self._waiting: deque[tuple[bytes, bytes]] = deque(maxlen=MAX_WAITING)

    def find(self, address: bytes) -> bytes | None:
        """Where to send frames for `address`; None if nobody has said."""
        return self._known.get(address)

    def accepts(self, address: bytes) -> bool:
        """Whether a guest may use `address` as its own."""
        return address in self._lan and address not in self._reserved

    def learn(self, address: bytes, mac: bytes) -> list[bytes]:
        """Take note of a neighbour; the bodies of the frames that waited for it."""
        if self._known.get(address) == mac or not self.accepts(address) or mac[0] & 1:
            return []
        if len(self._known) >= 4096:  # a /8 network has room for 16 million lies
            self._known.clear()
        self._known[address] = mac
        ready = [body for waiting, body in self._waiting if waiting == address]
        left = [entry for entry in self._waiting if entry[0] != address]
        self._waiting.clear()
        self._waiting.extend(left)
        return ready

    def wait(self, address: bytes, body: bytes) -> bytes:
        """Keep `body` (a frame from its type field on) until `address` is known; the question."""
        self._waiting.append((address, body))
        lan = self._lan
        return build(Message(REQUEST, lan.gateway_mac, lan.gateway, bytes(6), address))

    def answer(self, message: Message) -> tuple[bytes, bytes] | None:
        """The reply to a question about the router's addresses, and whom to send it to."""
        lan = self._lan
        if message.operation != REQUEST or message.target not in lan.own_addresses:
            return None
        if message.sender_mac in (BROADCAST_MAC, lan.gateway_mac):
            return None
        reply = Message(REPLY, lan.gateway_mac, message.target, message.sender_mac, message.sender)
        return message.sender_mac, build(reply)
