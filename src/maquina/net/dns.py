"""Name service: the guest's queries go to the host's resolvers, unchanged, and answers come back.

Each query has a socket of its own, so its source port is the kernel's random choice and answers
come from the asked server only. A server that refuses or stays silent is followed by the next.
DNS over TCP is an ordinary flow whose destination is the resolver (`destinations`).
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from maquina.net.fabric import Fabric, IdleTable
from maquina.net.loop import READABLE, Timer
from maquina.net.resolvers import socket_address
from maquina.net.udp import Datagram, Endpoint

# A guest can ask faster than servers answer; each query holds a socket, the oldest give way.
MAX_QUERIES = 128
QUERY_LIFETIME_S = 15.0
SERVER_PATIENCE_S = 2.0
SMALLEST_MESSAGE = 12

QueryKey = tuple[Endpoint, bytes]  # the guest's address and port, the message's identifier


class Query:
    """A question on its way to one server after the other."""

    def __init__(self, fabric: Fabric, datagram: Datagram, finished: Callable[[], None]) -> None:
        self.last_used = 0.0
        self._fabric = fabric
        self._guest = datagram.source
        self._question = bytes(datagram.payload)
        self._servers = fabric.resolvers.servers()
        self._finished = finished
        self._socket: socket.socket | None = None
        self._patience = Timer(self.ask_next)

    def ask_next(self) -> None:
        """Ask the next server; after the last, the guest may ask again."""
        if self._socket is not None:
            self._fabric.resolvers.failed(self._servers.pop(0))
            self._hang_up()
        while self._servers:
            if self._ask(self._servers[0]):
                self._fabric.loop.arm(self._patience, self._fabric.loop.now + SERVER_PATIENCE_S)
                return
            self._fabric.resolvers.failed(self._servers.pop(0))
        self._finished()

    def close(self) -> None:
        """Give up, or be done."""
        self._fabric.loop.arm(self._patience, None)
        self._hang_up()

    def _ask(self, server: tuple[str, int]) -> bool:
        try:
            family, address = socket_address(server)
            sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        except OSError:
            return False
        try:
            sock.connect(address)
            sock.send(self._question)
        except OSError:
            sock.close()
            return False
        self._socket = sock
        self._fabric.loop.watch(sock.fileno(), READABLE, self._read)
        return True

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._fabric.loop.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _read(self, _happened: int) -> None:
        assert self._socket is not None
        try:
            answer = self._socket.recv(65535)
        except BlockingIOError:
            return
        except OSError:
            self.ask_next()
            return
        if answer[:2] == self._question[:2]:
            source = (self._fabric.lan.resolver, 53)
            self._fabric.wire.send_udp(source, self._guest, answer)
            self._finished()


class DnsForwarder:
    """The name server that the guest sees."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        self._queries: IdleTable[QueryKey, Query] = IdleTable(
            fabric.loop, MAX_QUERIES, QUERY_LIFETIME_S
        )

    def receive(self, datagram: Datagram) -> None:
        """Pass on a query. A repeated one does not disturb the one on its way."""
        if len(datagram.payload) < SMALLEST_MESSAGE:
            self._fabric.ignored["dns query too short"] += 1
            return
        key = (datagram.source, bytes(datagram.payload[:2]))
        if self._queries.use(key) is None:
            query = self._queries.open(
                key, lambda: Query(self._fabric, datagram, lambda: self._queries.remove(key))
            )
            if query is not None:
                query.ask_next()

    def close(self) -> None:
        """Give all sockets back."""
        self._queries.close()
