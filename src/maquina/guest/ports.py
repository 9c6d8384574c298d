"""Byte streams over console ports: to a program, from a program, lines from the agent.

All state is guarded by the machine's lock, which is held already when the machine calls in.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeAlias

from maquina.machine.backends import GuestPort

Lock: TypeAlias = AbstractContextManager[bool]

MAX_LINE = 256  # a guest that never ends its line must not fill the host's memory


class Feed:
    """Bytes for the guest. They wait here until the guest has opened the port and has room."""

    def __init__(self, lock: Lock, on_empty: Callable[[], None] | None = None) -> None:
        """`on_empty` is called when everything sent so far has been taken."""
        self._lock = lock
        self._on_empty = on_empty
        self._pending = bytearray()
        self._is_finished = False
        self._port: GuestPort | None = None

    def send(self, data: bytes) -> None:
        """Queue bytes."""
        with self._lock:
            self._pending += data
            self._push()

    def finish(self) -> None:
        """End of file after what was sent."""
        with self._lock:
            self._is_finished = True
            self._push()

    @property
    def size_bytes(self) -> int:
        """How much has not been taken yet."""
        return len(self._pending)

    def _push(self) -> None:
        if self._port is None:
            return
        if self._pending:
            taken = self._port.receive(bytes(self._pending))
            del self._pending[:taken]
            if taken and not self._pending and self._on_empty is not None:
                self._on_empty()
        if not self._pending and self._is_finished:
            self._port.set_open(False)

    # -- as a PortBackend ----------------------------------------------------------------------

    def attach(self, port: GuestPort) -> None:
        """The port asks later for what it cannot take now."""
        self._port = port
        self._push()

    def write(self, data: bytes) -> int:
        return len(data)  # nobody listens

    def ready(self) -> None:
        with self._lock:
            self._push()

    def guest_opened(self, is_open: bool) -> None: ...


class Drain:
    """Bytes from the guest, for `sink`, which answers how many it took."""

    def __init__(self, sink: Callable[[bytes], int]) -> None:
        self._sink = sink
        self.on_close: Callable[[], None] | None = None  # the last program has closed the port
        self._port: GuestPort | None = None
        self.is_closed = False

    def resume(self) -> None:
        """The sink has room again."""
        if self._port is not None:
            self._port.resume()

    # -- as a PortBackend ----------------------------------------------------------------------

    def attach(self, port: GuestPort) -> None:
        self._port = port

    def write(self, data: bytes) -> int:
        return self._sink(data)

    def ready(self) -> None: ...

    def guest_opened(self, is_open: bool) -> None:
        self.is_closed = not is_open
        if self.is_closed and self.on_close is not None:
            self.on_close()


class Terminal:
    """A port that is a terminal of the guest: input from `feed`, output to `write`."""

    def __init__(self, feed: Feed, write: Callable[[bytes], int]) -> None:
        """`write` takes all it is given (see `devices.virtio.console`)."""
        self._feed = feed
        self.attach, self.ready = feed.attach, feed.ready
        self.write = write

    def guest_opened(self, is_open: bool) -> None: ...


class SerialLine:
    """The same for a serial port, which nobody opens or closes (a CharBackend)."""

    def __init__(self, feed: Feed, write: Callable[[bytes], int]) -> None:
        self._feed = feed
        self.ready = feed.ready
        self._write = write

    def attach(self, receive: Callable[[bytes], int]) -> None:
        self._feed.attach(_Wire(receive))

    def write(self, data: bytes) -> None:
        self._write(data)


class _Wire:
    """A serial port's receiver as a GuestPort that is always open."""

    def __init__(self, receive: Callable[[bytes], int]) -> None:
        self.receive = receive

    def resume(self) -> None: ...

    def set_open(self, is_open: bool) -> None: ...


class Lines:
    """A sink that hands on whole lines; of one that is too long, nothing."""

    def __init__(self, on_line: Callable[[bytes], None]) -> None:
        self._on_line = on_line
        self._begun = b""

    def __call__(self, data: bytes) -> int:
        *whole, begun = (self._begun + data).split(b"\n")
        self._begun = begun[: MAX_LINE + 1]
        for line in whole:
            if len(line) <= MAX_LINE:
                self._on_line(line)
        return len(data)
