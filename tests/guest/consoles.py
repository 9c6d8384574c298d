"""A virtio console without a guest: ports as the agent and the pumps see them."""

from __future__ import annotations

from threading import RLock

from maquina.machine.backends import PortBackend


class FakePort:
    """The machine's end of a port. `room` bytes are taken at a time; None for any number."""

    def __init__(self, backend: PortBackend) -> None:
        self.backend = backend
        self.room: int | None = None
        self.is_guest_open = False
        self.is_host_open = True
        self.received = bytearray()
        self.resumed = 0

    def receive(self, data: bytes) -> int:
        if not self.is_guest_open:
            return 0
        taken = data if self.room is None else data[: self.room]
        self.received += taken
        return len(taken)

    def resume(self) -> None:
        self.resumed += 1

    def set_open(self, is_open: bool) -> None:
        self.is_host_open = is_open

    def open(self, is_open: bool = True) -> None:
        """The guest opens or closes the port."""
        self.is_guest_open = is_open
        self.backend.guest_opened(is_open)
        if is_open:
            self.backend.ready()


class FakeConsole:
    """Hands out ports in order."""

    def __init__(self) -> None:
        self.lock = RLock()
        self.ports: dict[int, FakePort] = {}
        self.size: tuple[int, int] | None = None

    def add_port(self, name: str, backend: PortBackend, *, is_console: bool = False) -> int:
        number = next(n for n in range(64) if n not in self.ports)
        self.ports[number] = FakePort(backend)
        backend.attach(self.ports[number])
        return number

    def remove_port(self, number: int) -> None:
        del self.ports[number]

    def resize(self, columns: int, rows: int) -> None:
        self.size = (columns, rows)
