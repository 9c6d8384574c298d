"""DHCP (RFC 2131, 2132): tells the guest its address, router, name server, MTU and name.

There is one machine on the cable, so one address is given to whoever asks and nothing has to be
remembered. An answer is a function of the question.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from maquina.net.addresses import ANY, BROADCAST, Lan

SERVER_PORT = 67
CLIENT_PORT = 68
LEASE_S = 86400

FIXED = struct.Struct(">BBBB4sHH4s4s4s4s16s192x4s")
COOKIE = b"\x63\x82\x53\x63"
SMALLEST_REPLY = 300  # BOOTP's length (RFC 1542, 2.1), which old clients insist on

DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = range(1, 9)

PAD, END = 0, 255
OPTION_MASK = 1
OPTION_ROUTER = 3
OPTION_RESOLVER = 6
OPTION_HOSTNAME = 12
OPTION_MTU = 26
OPTION_BROADCAST = 28
OPTION_REQUESTED = 50
OPTION_LEASE = 51
OPTION_TYPE = 53
OPTION_SERVER = 54
OPTION_RENEW = 58
OPTION_REBIND = 59


class Question(NamedTuple):
    """What matters in a client's message."""

    kind: int
    transaction: bytes
    flags: int
    client: bytes
    hardware: bytes
    options: dict[int, bytes]


class Answer(NamedTuple):
    """A message for the client and the IPv4 address to send it to."""

    destination: bytes
    payload: bytes


def parse(data: memoryview) -> Question | None:
    """A client's message, or None if it is malformed or not for us."""
    if len(data) < FIXED.size:
        return None
    operation, kind, size, _, transaction, _, flags, client, _, _, _, hardware, cookie = (
        FIXED.unpack_from(data)
    )
    if (operation, kind, size, cookie) != (1, 1, 6, COOKIE):
        return None
    options = parse_options(bytes(data[FIXED.size :]))
    message = options.get(OPTION_TYPE, b"")
    if len(message) != 1:
        return None
    return Question(message[0], transaction, flags, client, hardware, options)


def parse_options(data: bytes) -> dict[int, bytes]:
    """Options by number; one that is cut off, and what follows it, is left out."""
    options: dict[int, bytes] = {}
    at = 0
    while at < len(data) and data[at] != END:
        if data[at] == PAD:
            at += 1
            continue
        value = data[at + 2 : at + 2 + data[at + 1]] if at + 1 < len(data) else None
        if value is None or len(value) != data[at + 1]:
            break
        options[data[at]] = value
        at += 2 + len(value)
    return options


def answer(question: Question, lan: Lan) -> Answer | None:
    """What a server says to a client (RFC 2131, 4.3)."""
    if question.kind == DISCOVER:
        return _reply(question, lan, OFFER)
    if question.kind == REQUEST:
        server = question.options.get(OPTION_SERVER)
        if server is not None and server != lan.gateway:
            return None  # the client took another server's offer
        wanted = question.options.get(OPTION_REQUESTED, question.client)
        return _reply(question, lan, ACK if wanted == lan.guest else NAK)
    if question.kind == INFORM:
        return _reply(question, lan, ACK)
    return None


def _reply(question: Question, lan: Lan, kind: int) -> Answer:
    is_lease = kind != NAK and question.kind != INFORM
    fixed = FIXED.pack(
        2,
        1,
        6,
        0,
        question.transaction,
        0,
        question.flags,
        question.client if kind == ACK else ANY,
        lan.guest if is_lease else ANY,
        ANY,
        ANY,
        question.hardware,
        COOKIE,
    )
    options = {OPTION_TYPE: bytes([kind]), OPTION_SERVER: lan.gateway}
    if kind != NAK:
        options |= _configuration(lan)
    if is_lease:
        options |= _lease()
    body = b"".join(b"%c%c%b" % (number, len(value), value) for number, value in options.items())
    payload = (fixed + body + bytes([END])).ljust(SMALLEST_REPLY, b"\0")
    # A client that has no address yet cannot be sent to by address; broadcast reaches it always.
    has_address = kind == ACK and question.client == lan.guest
    return Answer(lan.guest if has_address else BROADCAST, payload)


def _configuration(lan: Lan) -> dict[int, bytes]:
    return {
        OPTION_MASK: lan.netmask,
        OPTION_ROUTER: lan.gateway,
        OPTION_RESOLVER: lan.resolver,
        OPTION_HOSTNAME: lan.hostname.encode()[:63],
        OPTION_MTU: lan.mtu.to_bytes(2, "big"),
        OPTION_BROADCAST: lan.broadcast,
    }


def _lease() -> dict[int, bytes]:
    return {
        OPTION_LEASE: LEASE_S.to_bytes(4, "big"),
        OPTION_RENEW: (LEASE_S // 2).to_bytes(4, "big"),
        OPTION_REBIND: (LEASE_S * 7 // 8).to_bytes(4, "big"),
    }
