"""Published TCP ports: accepting clients for the guest."""

from __future__ import annotations

import socket

from maquina.net.loop import READABLE, Loop, Timer
from maquina.net.publish import Publication
from maquina.net.tcp.flow import prepare
from maquina.net.tcp.nat import TcpNat

CLIENTS_PER_EVENT = 16
# When the host has no socket left, the waiting client would wake the loop again at once.
PAUSE_S = 0.2


class Listener:
    """The socket of a published port."""

    def __init__(
        self, loop: Loop, nat: TcpNat, publication: Publication, sock: socket.socket
    ) -> None:
        self._loop = loop
        self._nat = nat
        self._publication = publication
        self._socket = sock
        self._pause = Timer(self._resume)
        self._resume()

    def close(self) -> None:
        """Give the port back; flows that came through it go on."""
        self._loop.arm(self._pause, None)
        self._loop.forget(self._socket.fileno())
        self._socket.close()

    def _resume(self) -> None:
        self._loop.watch(self._socket.fileno(), READABLE, self._accept)

    def _accept(self, _happened: int) -> None:
        for _ in range(CLIENTS_PER_EVENT):
            try:
                client, _ = self._socket.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:
                self._loop.forget(self._socket.fileno())
                self._loop.arm(self._pause, self._loop.now + PAUSE_S)
                return
            prepare(client)
            self._nat.publish_to_guest(client, self._publication.guest_port)
