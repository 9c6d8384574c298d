"""Pumps between ports and pipes: every byte, end of file, readers that go, closing at any time."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Iterator

import pytest
from tests.guest.consoles import FakeConsole, FakePort

from maquina.guest.pumps import MAX_QUEUED_BYTES, Sink, Source

TIMEOUT_S = 10


class Pipe:
    """A pipe whose ends can be closed early."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        self._open = {self.reading, self.writing}

    def close(self, fd: int) -> None:
        self._open.remove(fd)
        os.close(fd)

    def close_all(self) -> None:
        for fd in list(self._open):
            self.close(fd)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    before = threading.active_count()
    yield pipe
    pipe.close_all()
    assert threading.active_count() == before


def plug(backend: object) -> FakePort:
    console = FakeConsole()
    return console.ports[console.add_port("x", backend)]  # type: ignore[arg-type]


def read_all(fd: int, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = os.read(fd, 1 << 16)
        if not piece:
            break
        data += piece
    return data


def test_input_waits_for_the_guest_and_ends(pipe: Pipe) -> None:
    source = Source(pipe.reading, FakeConsole().lock)
    source.start()
    os.write(pipe.writing, b"early ")
    port = plug(source.feed)
    port.room = 3
    port.open()
    os.write(pipe.writing, b"late")
    pipe.close(pipe.writing)
    deadline = threading.Event()
    for _ in range(1000):
        port.backend.ready()
        if not port.is_host_open:
            break
        deadline.wait(0.005)
    assert port.received == b"early late"
    assert not port.is_host_open
    source.close()


def test_input_can_be_closed_while_it_waits(pipe: Pipe) -> None:
    source = Source(pipe.reading, FakeConsole().lock)
    plug(source.feed)
    source.start()
    os.write(pipe.writing, b"nobody takes this")
    source.close()


def test_keys_are_filtered(pipe: Pipe) -> None:
    source = Source(pipe.reading, FakeConsole().lock, bytes.upper)
    port = plug(source.feed)
    port.open()
    source.start()
    os.write(pipe.writing, b"abc")
    pipe.close(pipe.writing)
    for _ in range(1000):
        if port.received:
            break
        threading.Event().wait(0.005)
    assert port.received == b"ABC"
    source.close()


def test_output_of_ten_megabytes_with_back_pressure(pipe: Pipe) -> None:
    data = os.urandom(1 << 16) * 160
    sink = Sink(pipe.writing)
    port = plug(sink.drain)
    resumed = threading.Event()
    port.resume = resumed.set  # type: ignore[method-assign]
    sink.start()

    def send() -> None:
        at = 0
        while at < len(data):
            resumed.clear()
            taken = sink.drain.write(data[at : at + (1 << 16)])
            at += taken
            if taken < 1 << 16:
                assert resumed.wait(TIMEOUT_S)

    sender = threading.Thread(target=send)
    sender.start()
    received = read_all(pipe.reading, len(data))
    sender.join()
    sink.close()
    assert hashlib.sha256(received).digest() == hashlib.sha256(data).digest()


def test_output_that_nobody_reads_stays_bounded(pipe: Pipe) -> None:
    sink = Sink(pipe.writing)
    sink.start()
    total = 0
    for _ in range(100):
        total += sink.drain.write(bytes(1 << 16))
    assert total <= MAX_QUEUED_BYTES + (1 << 17)
    sink.swallow()
    assert sink.drain.write(b"more") == 4
    sink.close()


def test_a_reader_that_goes_away_is_told(pipe: Pipe) -> None:
    sink = Sink(pipe.writing)
    broken = threading.Event()
    sink.on_broken = broken.set
    sink.start()
    pipe.close(pipe.reading)
    sink.drain.write(b"x")
    assert broken.wait(TIMEOUT_S)
    assert sink.drain.write(bytes(1 << 20)) == 1 << 20
    sink.close()


def test_a_full_disk_is_told() -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123  a device
        sink = Sink(full.fileno())
        sink.start()
        sink.drain.write(b"x")
        sink.close()
    assert sink.error is not None
    assert sink.error.errno == errno.ENOSPC


def test_put_waits_until_swallowed(pipe: Pipe) -> None:
    sink = Sink(pipe.writing)
    sink.start()
    putter = threading.Thread(target=sink.put, args=(bytes(4 * MAX_QUEUED_BYTES),))
    putter.start()
    putter.join(0.05)
    assert putter.is_alive()
    sink.swallow()
    putter.join(TIMEOUT_S)
    assert not putter.is_alive()
    sink.close()
