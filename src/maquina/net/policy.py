"""Which addresses a guest may reach. Asked once for every new flow, before any socket is made.

By default a guest reaches the host's networks and nothing of the host itself:

| destination | |
|---|---|
| 0.0.0.0/8, 127.0.0.0/8 | refused: on the host these are the host |
| the gateway | the host's loopback, if `allow_host_loopback`, else refused |
| an address of one of the host's interfaces | refused like the loopback (see below) |
| 169.254.0.0/16 | refused: cloud hosts give out credentials there |
| 224.0.0.0/4, 240.0.0.0/4 | refused: multicast, reserved, broadcast |
| everything else, private networks too | allowed |

A connection to one of the host's own addresses starts and ends inside the host: it would reach
services bound to 0.0.0.0 past the firewall that guards them from the network.

Name lists (`--allow-host`) will be a further question in `check`; refusals are counted and the
latest kept, so that a user can see what such a list has to hold.
"""

from __future__ import annotations

import socket
import time
from collections import Counter, deque
from enum import Enum
from ipaddress import IPv4Network
from pathlib import Path
from typing import NamedTuple

from maquina.errors import HostError
from maquina.net.addresses import text

# The latest refusals are kept for people to read; a guest can cause any number.
MAX_REMEMBERED = 256

NONLOCAL_BIND = Path("/proc/sys/net/ipv4/ip_nonlocal_bind")


class Refusal(Enum):
    """Why a flow was refused."""

    HOST_LOOPBACK = "the host's loopback is not allowed"
    HOST_ADDRESS = "the host's own addresses are not allowed"
    LINK_LOCAL = "link-local addresses are not allowed"
    MULTICAST = "multicast and reserved addresses are not routed"
    NO_SUCH_HOST = "nobody has this address on the guest's network"
    TOO_MANY = "the guest has too many flows"


class Refused(NamedTuple):
    """A flow that was refused: when (UNIX time), what and why."""

    at: float
    protocol: str
    address: str
    port: int
    reason: Refusal


FORBIDDEN = tuple(
    (int(network.network_address), 32 - network.prefixlen, reason)
    for network, reason in (
        (IPv4Network("0.0.0.0/8"), Refusal.HOST_LOOPBACK),
        (IPv4Network("127.0.0.0/8"), Refusal.HOST_LOOPBACK),
        (IPv4Network("169.254.0.0/16"), Refusal.LINK_LOCAL),
        (IPv4Network("224.0.0.0/4"), Refusal.MULTICAST),
        (IPv4Network("240.0.0.0/4"), Refusal.MULTICAST),
    )
)


class Policy:
    """What a guest may reach. `allow_host_loopback` opens the gateway and the host's addresses."""

    def __init__(self, *, allow_host_loopback: bool = False) -> None:
        self.allow_host_loopback = allow_host_loopback
        self.refusals: Counter[Refusal] = Counter()
        self.latest: deque[Refused] = deque(maxlen=MAX_REMEMBERED)
        if not allow_host_loopback and _may_bind_anything():
            raise HostError(
                "this host lets programs bind foreign addresses (net.ipv4.ip_nonlocal_bind), so "
                "its own addresses cannot be told from others and kept from the guest",
                "set it to 0, or allow the guest to reach the host",
            )

    def check(self, address: bytes) -> Refusal | None:
        """Why the guest may not reach an address beyond its own network; None if it may."""
        number = int.from_bytes(address, "big")
        for network, shift, reason in FORBIDDEN:
            if (number ^ network) >> shift == 0:
                return reason
        if not self.allow_host_loopback and is_own_address(address):
            return Refusal.HOST_ADDRESS
        return None

    def refuse(self, protocol: str, address: bytes, port: int, reason: Refusal) -> None:
        """Take note of a refused flow."""
        self.refusals[reason] += 1
        self.latest.append(Refused(time.time(), protocol, text(address), port, reason))


def is_own_address(address: bytes) -> bool:
    """Whether the host itself has `address`: then, and only then, a socket can be bound to it.

    True as well when no socket can be made to find out.
    """
    try:
        probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    except OSError:
        return True
    with probe:
        try:
            probe.bind((text(address), 0))
        except OSError:
            return False
    return True


def _may_bind_anything() -> bool:
    try:
        return NONLOCAL_BIND.read_text().strip() == "1"
    except OSError:
        return False
