"""Published UDP ports: clients outside become ports of the router for the guest to answer to."""

from __future__ import annotations

import socket
from typing import Any

from maquina.net.fabric import Fabric, IdleTable
from maquina.net.loop import READABLE, Loop
from maquina.net.publish import Publication

# Clients are remembered to send answers back. They hold no socket, but anyone who reaches the
# port makes one.
MAX_CLIENTS = 1024
CLIENT_IDLE_S = 120.0
FIRST_CLIENT_PORT = 49152
CLIENT_PORTS = 16384

DATAGRAMS_PER_EVENT = 32


class Client:
    """Someone outside who talks to a published port."""

    def __init__(self, clients: Clients, sock: socket.socket, address: Any) -> None:
        self.last_used = 0.0
        self._clients = clients
        self.socket = sock
        self.address = address

    def answer(self, payload: memoryview) -> None:
        """Send what the guest answers. What the host cannot take now is lost, as UDP may be."""
        try:
            self.socket.sendto(payload, self.address)
        except OSError:
            self._clients.unsent += 1

    def close(self) -> None:
        """The client was silent for long."""
        self._clients.forget(self)


class Clients:
    """All clients of all published ports, each with a port of the router."""

    def __init__(self, loop: Loop) -> None:
        self.unsent = 0
        self._by_port: IdleTable[int, Client] = IdleTable(loop, MAX_CLIENTS, CLIENT_IDLE_S)
        self._ports: dict[tuple[socket.socket, Any], int] = {}
        self._last = 0

    def find(self, port: int) -> Client | None:
        """The client that `port` of the router stands for."""
        return self._by_port.use(port)

    def port(self, sock: socket.socket, address: Any) -> int:
        """The router's port for a client, a new one if need be."""
        port = self._ports.get((sock, address))
        if port is not None and self._by_port.use(port):
            return port
        while True:
            self._last = (self._last + 1) % CLIENT_PORTS
            port = FIRST_CLIENT_PORT + self._last
            if self._by_port.use(port) is None:
                break
        self._by_port.open(port, lambda: Client(self, sock, address))
        self._ports[sock, address] = port
        return port

    def forget(self, client: Client) -> None:
        """Called by a client that ends."""
        self._ports.pop((client.socket, client.address), None)

    def close(self) -> None:
        """Forget all."""
        self._by_port.close()


class UdpPublisher:
    """Passes on what arrives at the socket of a published port."""

    def __init__(
        self, fabric: Fabric, clients: Clients, publication: Publication, sock: socket.socket
    ) -> None:
        self._fabric = fabric
        self._clients = clients
        self._destination = (fabric.lan.guest, publication.guest_port)
        self._socket = sock
        fabric.loop.watch(sock.fileno(), READABLE, self._read)

    def close(self) -> None:
        """Give the port back."""
        self._fabric.loop.forget(self._socket.fileno())
        self._socket.close()

    def _read(self, _happened: int) -> None:
        for _ in range(DATAGRAMS_PER_EVENT):
            try:
                payload, address = self._socket.recvfrom(65535)
            except OSError:
                return
            source = (self._fabric.lan.gateway, self._clients.port(self._socket, address))
            self._fabric.wire.send_udp(source, self._destination, payload)
