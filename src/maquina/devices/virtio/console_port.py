"""One port of a virtio console: two queues, and a PortBackend at the host's end.

Bytes wait where they are until the other side has room: output stays in the guest's queue, input
at the backend. No port buffers anything, so no stream can fill the host's memory.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from maquina.devices.virtio.buffers import gather, scatter, size_of, split
from maquina.devices.virtio.queue import Chain, Queue
from maquina.machine.backends import PortBackend
from maquina.machine.state import Fields, State

# Output is copied out of the guest in pieces: one chain can name 4 GiB.
MAX_PIECE_BYTES = 1 << 16
MAX_NAME = 128


class PortHost(Protocol):
    """What a port needs of its console."""

    @property
    def lock(self) -> AbstractContextManager[bool]: ...

    @property
    def is_live(self) -> bool: ...

    def guard(self) -> AbstractContextManager[None]: ...

    def queues_of(self, number: int) -> tuple[Queue, Queue]:
        """To the guest, and from the guest."""
        ...

    def announce_open(self, number: int) -> None:
        """Tell the driver whether the host's end is open."""
        ...


class Port:
    """A GuestPort. The console calls the methods that begin with `guest_`, with the lock held."""

    def __init__(
        self, host: PortHost, number: int, name: str, backend: PortBackend | None, is_console: bool
    ) -> None:
        self.number, self.name, self.is_console = number, name, is_console
        self.is_host_open = backend is not None
        self.is_guest_open = False
        self.is_driver_ready = False  # PORT_READY was seen: the driver may be sent messages
        self._backend, self._host = backend, host
        self._sent = 0  # bytes of the next chain that the backend has taken already
        self._is_blocked = False  # the backend took less than it was given
        self._has_refused = False  # the backend was told that less was taken

    # -- from the host -------------------------------------------------------------------------

    def receive(self, data: bytes) -> int:
        with self._host.lock:
            taken = 0
            with self._host.guard():
                if self.is_guest_open and self._host.is_live:
                    taken = self._deliver(data)
            self._has_refused = taken < len(data)
            return taken

    def resume(self) -> None:
        with self._host.lock:
            if self._is_blocked and self._host.is_live:
                self._is_blocked = False
                with self._host.guard():
                    self.guest_wrote()

    def set_open(self, is_open: bool) -> None:
        with self._host.lock:
            if is_open != self.is_host_open:
                self.is_host_open = is_open
                self._host.announce_open(self.number)

    def _deliver(self, data: bytes) -> int:
        """Fill the driver's buffers; answers how many bytes found room."""
        queue, _ = self._host.queues_of(self.number)
        rest = memoryview(data)
        while rest:
            chain = queue.pop()
            if chain is None:
                queue.ask_for_kick()
                if not queue.pending:
                    break
                continue
            count = scatter(chain.writable, rest)
            queue.push(chain, count)
            rest = rest[count:]
        queue.signal()
        return len(data) - len(rest)

    # -- from the guest ------------------------------------------------------------------------

    def guest_wrote(self) -> None:
        """Pass output on until the backend has enough or the queue is empty."""
        _, queue = self._host.queues_of(self.number)
        if self._is_blocked:
            return
        for chain in queue.drain():
            if not self._pass_on(chain):
                queue.undo_pop()
                self._is_blocked = True
                break
            self._sent = 0
            queue.push(chain, 0)
        queue.signal()

    def _pass_on(self, chain: Chain) -> bool:
        """Whether the backend took all of a chain; without anybody there it is dropped."""
        total = size_of(chain.readable)
        while self._backend is not None and self.is_host_open and self._sent < total:
            _, rest = split(chain.readable, self._sent)
            piece = gather(rest, MAX_PIECE_BYTES)
            taken = self._backend.write(piece)
            self._sent += taken
            if taken < len(piece):
                return False
        return True

    def guest_added_buffers(self) -> None:
        self._ask_for_more()

    def guest_set_open(self, is_open: bool) -> None:
        if is_open == self.is_guest_open:
            return
        self.is_guest_open = is_open
        if self._backend is not None:
            self._backend.guest_opened(is_open)
        if is_open:
            self._ask_for_more()

    def guest_was_reset(self) -> None:
        self._sent, self._is_blocked, self.is_driver_ready = 0, False, False
        self.guest_set_open(False)

    def _ask_for_more(self) -> None:
        """Last in any call: the backend may call `receive` from within."""
        if self._has_refused and self._backend is not None:
            self._has_refused = False
            self._backend.ready()

    # -- saving --------------------------------------------------------------------------------

    def save(self) -> dict[str, State]:
        return {
            "name": self.name,
            "is_console": self.is_console,
            "is_host_open": self.is_host_open,
            "is_guest_open": self.is_guest_open,
            "is_driver_ready": self.is_driver_ready,
            "sent": self._sent,
        }

    def restore(self, state: dict[str, State]) -> None:
        """Take over a saved port of the same name; the backend stays as it is."""
        fields = Fields(state, f"console port {self.number}")
        if fields.text("name", MAX_NAME) != self.name:
            raise fields.error("name", f"is not {self.name!r}")
        flags = ("is_console", "is_host_open", "is_guest_open", "is_driver_ready")
        is_console, is_host_open, is_guest_open, is_driver_ready = map(fields.flag, flags)
        self._sent = fields.integer("sent", 0, 1 << 32)
        self.is_console, self.is_guest_open = is_console, is_guest_open
        self.is_driver_ready, self.is_host_open = is_driver_ready, is_host_open
        self._is_blocked, self._has_refused = False, True

    @classmethod
    def left_behind(cls, host: PortHost, number: int, state: dict[str, State]) -> Port:
        """A saved port that has no backend any more."""
        name = Fields(state, f"console port {number}").text("name", MAX_NAME)
        port = cls(host, number, name, None, False)
        port.restore(state)
        return port
