"""Published ports: an address and port of the host that lead to a port of the guest."""

from __future__ import annotations

import errno
import re
import socket
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, NamedTuple

from maquina.errors import HostError, UsageError

LOOPBACK = "127.0.0.1"
BACKLOG = 128
UNPRIVILEGED_START = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")

Transport = Literal["tcp", "udp"]

SYNTAX = re.compile(
    r"(?:(?P<address>\[[^\]]+\]|[^:\[\]]+):)?(?P<host>\d+):(?P<guest>\d+)(?:/(?P<transport>\w+))?"
)
SYNTAX_REMEDY = "write [ADDRESS:]HOST:GUEST[/udp], such as 8080:80 or 0.0.0.0:5353:53/udp"


class Publication(NamedTuple):
    """Port `host_port` of the host's `address` leads to the guest's `guest_port`."""

    address: str
    host_port: int
    guest_port: int
    transport: Transport = "tcp"

    def __str__(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        suffix = "/udp" if self.transport == "udp" else ""
        return f"{address}:{self.host_port}:{self.guest_port}{suffix}"


def parse_publication(text: str) -> Publication:
    """Read `[ADDRESS:]HOST:GUEST[/tcp|/udp]`. Without an address, the loopback; a host port of 0
    lets the host choose one. IPv6 addresses are written in brackets."""
    match = SYNTAX.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} publishes no port", SYNTAX_REMEDY)
    transport = match["transport"] or "tcp"
    if transport not in ("tcp", "udp"):
        raise UsageError(f"{text!r} publishes a port of unknown kind {transport!r}", SYNTAX_REMEDY)
    publication = Publication(
        (match["address"] or LOOPBACK).strip("[]"),
        _bounded(match["host"]),
        _bounded(match["guest"]),
        transport,  # type: ignore[arg-type]
    )
    check(publication)
    return publication


def check(publication: Publication) -> None:
    """UsageError unless address, ports and transport make sense."""
    try:
        ip_address(publication.address)
    except ValueError as error:
        raise UsageError(
            f"{publication.address!r} is no address to publish a port at",
            "write a numeric address of this host, 0.0.0.0 for all of them",
        ) from error
    if not 0 <= publication.host_port <= 65535 or not 1 <= publication.guest_port <= 65535:
        raise UsageError(f"{publication} has a port out of range", "ports go from 1 to 65535")
    if publication.transport not in ("tcp", "udp"):
        raise UsageError(f"{publication.transport!r} is no transport", "use tcp or udp")


def listen(publication: Publication) -> socket.socket:
    """A non-blocking socket that holds the host's port. HostError, with a remedy, if it cannot."""
    check(publication)
    family = socket.AF_INET6 if ":" in publication.address else socket.AF_INET
    is_tcp = publication.transport == "tcp"
    try:
        sock = socket.socket(family, socket.SOCK_STREAM if is_tcp else socket.SOCK_DGRAM)
    except OSError as error:
        raise _explain(publication, error) from error
    try:
        sock.setblocking(False)
        if is_tcp:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((publication.address, publication.host_port))
        if is_tcp:
            sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise _explain(publication, error) from error
    return sock


def _bounded(digits: str) -> int:
    return int(digits[:8])  # longer ones are out of range anyway, and slow to convert


def _explain(publication: Publication, error: OSError) -> HostError:
    where = f"port {publication.host_port} of {publication.address}"
    if error.errno == errno.EADDRINUSE:
        return HostError(
            f"{where} is taken",
            f"choose another, or stop what holds it ('ss -lnp sport = {publication.host_port}')",
        )
    if error.errno == errno.EACCES:
        return HostError(f"{where} is privileged", f"choose one from {_unprivileged_start()} up")
    if error.errno == errno.EADDRNOTAVAIL:
        return HostError(
            f"this host has no address {publication.address}", "publish at one that it has"
        )
    return HostError(f"{where} cannot be published ({error.strerror})", "choose another")


def _unprivileged_start() -> int:
    try:
        return int(UNPRIVILEGED_START.read_text())
    except (OSError, ValueError):
        return 1024
