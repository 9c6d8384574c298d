"""A connection with the guest and a socket of the host, joined.

Pressure goes through: bytes are read from the socket only when the guest has room for them, and
what the socket does not take is held here and narrows the window that the guest is told. So a slow
reader on either side stops the writer on the other, and no more is held than two windows.

`settle` brings everything in line after something happened; it runs once for a batch of segments,
which is why a batch is acknowledged once.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import islice

from maquina.net.checksum import Buffer
from maquina.net.loop import FAILED, READABLE, WRITABLE, Loop, Timer
from maquina.net.tcp.budget import Budget
from maquina.net.tcp.connection import Connection
from maquina.net.tcp.segment import Segment
from maquina.net.tcp.states import MAY_RECEIVE, State

READ_BYTES = 64 << 10
# One busy flow must not keep the others waiting.
READS_PER_TURN = 4
# Bytes that the kernel may hold unsent for a peer that does not read (tcp(7), Linux 3.12): without
# a limit it takes megabytes for each flow.
UNSENT_BYTES = 256 << 10
TCP_NOTSENT_LOWAT = 25
PIECES_PER_WRITE = 256  # under the kernel's IOV_MAX
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def prepare(sock: socket.socket) -> None:
    """Options of a host's socket that carries a flow."""
    sock.setblocking(False)
    for level, option, value in (
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_BYTES),
    ):
        with suppress(OSError):  # each is an improvement; not every host has all
            sock.setsockopt(level, option, value)


class Flow:
    """One TCP flow. `ended` is called once, when nothing of it is left."""

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        connection: Connection,
        budget: Budget,
        ended: Callable[[], None],
    ) -> None:
        self.connection = connection
        self._loop = loop
        self._socket: socket.socket | None = sock
        self._budget = budget
        self._ended = ended
        self._interest = 0
        self._unwritten: deque[Buffer] = deque()
        self._is_host_done = False
        self._is_host_told = False
        self._has_ended = False
        self._timer = Timer(self._expire)

    def connecting(self, failed: Callable[[int], None]) -> None:
        """The socket's connect is under way; `failed` gets the error number if it fails."""
        assert self._socket is not None
        sock = self._socket

        def finished(_happened: int) -> None:
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                failed(error)
                self._end()
            else:
                self.connection.accept(self._loop.now)
                self._watch(0)
                self.settle()

        self._interest = WRITABLE
        self._loop.watch(sock.fileno(), WRITABLE, finished)

    def receive(self, segment: Segment) -> None:
        """Take a segment of the guest; `settle` is to follow."""
        for piece in self.connection.receive(segment, self._loop.now):
            self._unwritten.append(piece)
            self.connection.unread += len(piece)
            self._budget.left -= len(piece)

    def settle(self) -> None:
        """Let everything follow that has become possible."""
        connection = self.connection
        if self._unwritten and not self._interest & WRITABLE:
            self._drain()
        if connection.is_aborted:
            self._end()
            return
        if not self._unwritten and not self._is_host_told:
            self._tell_host_the_end()
        if not self._interest & READABLE:
            self._read()
        connection.flush()
        self._follow()

    def abort(self) -> None:
        """Reset both sides."""
        self.connection.abort()
        self._end()

    def _happened(self, events: int) -> None:
        if events & (WRITABLE | FAILED) and self._unwritten:
            self._drain()
        if events & (READABLE | FAILED) and self._interest & READABLE:
            self._read()
        self.settle()

    def _expire(self) -> None:
        self.connection.expire(self._loop.now)
        self.settle()

    # The host to the guest

    def _read(self) -> None:
        connection, sock = self.connection, self._socket
        for _ in range(READS_PER_TURN):
            if sock is None or self._is_host_done or not connection.may_send:
                return
            size = self._read_size()
            if size <= 0:
                return
            try:
                data = sock.recv(size)
            except BlockingIOError:
                return
            except OSError:
                connection.abort()
                return
            if not data:
                self._is_host_done = True
                connection.finish(self._loop.now)
                return
            connection.sender.send(data, self._loop.now)
            if len(data) < size:
                return

    def _read_size(self) -> int:
        """As much as the guest has room for, in whole segments if it is more than one."""
        room, mss = self.connection.sender.room(), self.connection.sender.mss
        size = min(room, max(READ_BYTES, mss))
        return size // mss * mss if size > mss else size

    # The guest to the host

    def _drain(self) -> None:
        while self._unwritten and self._socket is not None:
            pieces = list(islice(self._unwritten, PIECES_PER_WRITE))
            try:
                taken = self._socket.sendmsg(pieces)
            except BlockingIOError:
                return
            except OSError:
                self.connection.abort()
                return
            self.connection.unread -= taken
            self._budget.give(taken)
            self._drop_written(taken)
            if taken < sum(map(len, pieces)):
                return

    def _drop_written(self, taken: int) -> None:
        while taken:
            piece = self._unwritten.popleft()
            if taken < len(piece):
                self._unwritten.appendleft(memoryview(piece)[taken:])
                return
            taken -= len(piece)

    def _tell_host_the_end(self) -> None:
        state = self.connection.state
        if state in MAY_RECEIVE or state in (
            State.CONNECTING,
            State.SYN_SENT,
            State.SYN_RECEIVED,
        ):
            return
        self._is_host_told = True
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_WR)
            except OSError as error:
                if error.errno != errno.ENOTCONN:
                    self.connection.abort()

    # What to wait for, and the end

    def _follow(self) -> None:
        connection = self.connection
        if connection.is_aborted:
            self._end()
            return
        if connection.is_finished and not self._unwritten:
            self._close_socket()
            if connection.state is State.CLOSED:
                self._end()
                return
        self._watch(self._wanted())
        if connection.deadline != self._timer.deadline:
            self._loop.arm(self._timer, connection.deadline)

    def _wanted(self) -> int:
        wants_read = (
            self.connection.may_send
            and not self._is_host_done
            and self.connection.sender.room() > 0
        )
        return (READABLE if wants_read else 0) | (WRITABLE if self._unwritten else 0)

    def _watch(self, events: int) -> None:
        """A socket of which nothing is wanted is not watched: epoll reports failures always."""
        if events == self._interest or self._socket is None:
            return
        if events:
            self._loop.watch(self._socket.fileno(), events, self._happened)
        else:
            self._loop.forget(self._socket.fileno())
        self._interest = events

    def _close_socket(self) -> None:
        if self._socket is not None:
            self._loop.forget(self._socket.fileno())
            if self.connection.is_aborted:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            self._socket.close()
            self._socket = None
            self._interest = 0

    def _end(self) -> None:
        if self._has_ended:
            return
        self._has_ended = True
        self.connection.close()
        self._close_socket()
        self._budget.give(self.connection.unread)
        self._unwritten.clear()
        self._loop.arm(self._timer, None)
        self._ended()
