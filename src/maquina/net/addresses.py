"""The network that a guest sees: who has which address on the cable.

Addresses are four bytes, as on the wire; text appears only where people read or write it.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import IPv4Network

from maquina.errors import UsageError

BROADCAST_MAC = b"\xff" * 6
BROADCAST = b"\xff" * 4
ANY = bytes(4)

# The largest MTU that virtio-net drivers take and whose packets still fit IPv4's 16-bit length
# with room to spare; fewer, larger packets are what makes a network in Python fast.
LARGEST_MTU = 65520
SMALLEST_MTU = 576  # RFC 791: what every host must accept


@dataclass(frozen=True, slots=True)
class Lan:
    """A cable with one guest at one end, a router and a name server at the other."""

    network: bytes
    prefix: int
    gateway: bytes
    resolver: bytes
    guest: bytes
    mtu: int = LARGEST_MTU
    hostname: str = "maquina"
    # Whether TCP and UDP checksums mean anything on this cable. Where it is memory, as between a
    # guest that was offered checksum offload and a router in the same process, they need not.
    has_checksums: bool = True
    # Locally administered; the address QEMU's user network uses has the same look.
    gateway_mac: bytes = b"\x52\x55\x0a\x00\x02\x02"

    @property
    def netmask(self) -> bytes:
        return (0xFFFFFFFF << 32 - self.prefix & 0xFFFFFFFF).to_bytes(4, "big")

    @property
    def broadcast(self) -> bytes:
        host_bits = (1 << 32 - self.prefix) - 1
        return (int.from_bytes(self.network, "big") | host_bits).to_bytes(4, "big")

    @property
    def own_addresses(self) -> frozenset[bytes]:
        """The addresses that the router itself answers for."""
        return frozenset((self.gateway, self.resolver))

    def __contains__(self, address: bytes) -> bool:
        return (
            int.from_bytes(address, "big") ^ int.from_bytes(self.network, "big")
        ) >> 32 - self.prefix == 0


def make_lan(
    network: str = "10.0.2.0/24",
    mtu: int = LARGEST_MTU,
    hostname: str = "maquina",
    *,
    has_checksums: bool = True,
) -> Lan:
    """A LAN in `network`: gateway at .2, name server at .3, guest at .15, as QEMU has them."""
    try:
        parsed = IPv4Network(network)
    except ValueError as error:
        raise UsageError(
            f"{network!r} is no IPv4 network", "write one like 10.0.2.0/24"
        ) from error
    if not 8 <= parsed.prefixlen <= 27:
        raise UsageError(f"{network} does not fit a guest's network", "use a prefix of /8 to /27")
    if not SMALLEST_MTU <= mtu <= LARGEST_MTU:
        raise UsageError(
            f"an MTU of {mtu} is out of range", f"choose one of {SMALLEST_MTU} to {LARGEST_MTU}"
        )
    return Lan(
        network=parsed.network_address.packed,
        prefix=parsed.prefixlen,
        gateway=parsed[2].packed,
        resolver=parsed[3].packed,
        guest=parsed[15].packed,
        mtu=mtu,
        hostname=hostname,
        has_checksums=has_checksums,
    )


def text(address: bytes) -> str:
    """An address as people write it."""
    return socket.inet_ntoa(address)
