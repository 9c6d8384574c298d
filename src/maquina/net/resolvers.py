"""The host's name servers, as resolv.conf(5) names them."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TypeAlias

from maquina.errors import UsageError

RESOLV_CONF = Path("/etc/resolv.conf")
DNS_PORT = 53
MAX_SERVERS = 3  # MAXNS: what the C library looks at

HostAddress: TypeAlias = "tuple[str, int] | tuple[str, int, int, int]"


class Resolvers:
    """Name servers in the order to try them. Without `servers`, the host's own: the file is read
    again when it changes, because a laptop moves between networks."""

    def __init__(
        self, servers: list[tuple[str, int]] | None = None, path: Path = RESOLV_CONF
    ) -> None:
        if servers is not None and not servers:
            raise UsageError("an empty list of name servers", "give at least one, or None")
        self._path = path
        self._is_fixed = servers is not None
        self._servers = [] if servers is None else list(servers)
        self._stamp: object = None
        self._failures = 0

    def servers(self) -> list[tuple[str, int]]:
        """The servers to try, best first; never empty."""
        if not self._is_fixed:
            self._read()
        first = self._failures % len(self._servers)
        return self._servers[first:] + self._servers[:first]

    def failed(self, server: tuple[str, int]) -> None:
        """`server` did not answer: the next one is asked first from now on."""
        if self.servers()[0] == server:
            self._failures += 1

    def _read(self) -> None:
        try:
            status = self._path.stat()
            stamp: object = (status.st_mtime_ns, status.st_size, status.st_ino)
            if stamp == self._stamp:
                return
            content = self._path.read_text(errors="replace")
        except OSError:
            stamp, content = None, ""
        self._stamp, self._failures = stamp, 0
        names = parse_resolv_conf(content) or ["127.0.0.1"]  # the manual's default
        self._servers = [(name, DNS_PORT) for name in names]


def parse_resolv_conf(content: str) -> list[str]:
    """The addresses in `nameserver` lines; IPv6 ones may have a zone."""
    names = []
    for line in content.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver" and _family(words[1]):
            names.append(words[1])
    return names[:MAX_SERVERS]


def socket_address(server: tuple[str, int]) -> tuple[int, HostAddress]:
    """Address family and socket address of a numeric host and port. OSError if it is neither."""
    found = socket.getaddrinfo(*server, flags=socket.AI_NUMERICHOST, type=socket.SOCK_DGRAM)
    family, _, _, _, address = found[0]
    return family, address  # type: ignore[return-value]


def _family(name: str) -> int | None:
    try:
        return socket_address((name, DNS_PORT))[0]
    except OSError:
        return None
