"""Host ends for devices under test: everything in memory, everything kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from maquina.machine.backends import GuestPort

DISK_SIZE = 8 << 20


class Disk:
    """A disk in memory that keeps a log."""

    def __init__(self, is_read_only: bool = False) -> None:
        self.data = bytearray(DISK_SIZE)
        self.is_read_only = is_read_only
        self.log: list[tuple[object, ...]] = []
        self.is_broken = False

    @property
    def size_bytes(self) -> int:
        return len(self.data)

    def read_into(self, offset: int, buffers: Sequence[memoryview]) -> None:
        if self.is_broken:
            raise OSError("worn out")
        view = memoryview(self.data)
        for buffer in buffers:
            buffer[:] = view[offset : offset + len(buffer)]
            offset += len(buffer)

    def write_from(self, offset: int, buffers: Sequence[memoryview]) -> None:
        assert not self.is_read_only
        self.log.append(("write", offset))
        view = memoryview(self.data)
        for buffer in buffers:
            view[offset : offset + len(buffer)] = buffer
            offset += len(buffer)

    def discard(self, offset: int, length: int) -> None:
        self.log.append(("discard", offset, length))

    def write_zeros(self, offset: int, length: int) -> None:
        self.log.append(("zeros", offset, length))
        self.data[offset : offset + length] = bytes(length)

    def flush(self) -> None:
        self.log.append(("flush",))

    def close(self) -> None:
        """There is nothing to close."""


class Cable:
    """The other end: keeps what is sent, and offers what is refused again."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.waiting: list[bytes] = []
        self.receive: Callable[[bytes], bool] = lambda frame: True

    def attach(self, receive: Callable[[bytes], bool]) -> None:
        self.receive = receive

    def send(self, frame: bytes) -> None:
        self.sent.append(frame)

    def ready(self) -> None:
        while self.waiting and self.receive(self.waiting[0]):
            self.waiting.pop(0)

    def offer(self, frame: bytes) -> None:
        self.waiting.append(frame)
        self.ready()

    def close(self) -> None:
        """There is nothing to close."""


class Program:
    """A backend that takes `room` bytes and keeps what the guest does not take."""

    def __init__(self, room: int = 1 << 30) -> None:
        self.room = room
        self.output = b""
        self.input = b""
        self.opened: list[bool] = []
        self.port: GuestPort | None = None

    def attach(self, port: GuestPort) -> None:
        self.port = port

    def write(self, data: bytes) -> int:
        taken = data[: self.room]
        self.output += taken
        self.room -= len(taken)
        return len(taken)

    def ready(self) -> None:
        assert self.port
        self.input = self.input[self.port.receive(self.input) :]

    def guest_opened(self, is_open: bool) -> None:
        self.opened.append(is_open)

    def say(self, data: bytes) -> None:
        self.input += data
        self.ready()

    def make_room(self, count: int) -> None:
        assert self.port
        self.room += count
        self.port.resume()

    def set_open(self, is_open: bool) -> None:
        assert self.port
        self.port.set_open(is_open)
