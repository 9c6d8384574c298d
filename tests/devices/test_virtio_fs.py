"""The shared file tree, mounted by a guest's driver over PCI."""

from __future__ import annotations

import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.devices.driver import INDIRECT, Driver, Pci
from tests.devices.fuse_client import Client

from maquina.devices import fuse_abi as abi
from maquina.devices.fuse_abi import Op
from maquina.devices.virtio.fs import Fs
from maquina.errors import UsageError
from maquina.machine.clock import HostClock
from maquina.storage.layers.layer import Layer
from maquina.storage.layers.stack import Stack
from maquina.storage.layers.upper import Upper
from maquina.storage.layers.writer import LayerWriter

PAGE = 4096


@pytest.fixture
def layer(tmp_path: Path) -> Iterator[Layer]:
    with LayerWriter(tmp_path / "base") as writer:
        writer.file("data", bytes(range(256)) * 4096, 0o644)
        made = writer.finish()
    with made:
        yield made


@pytest.fixture
def stack(layer: Layer, tmp_path: Path) -> Iterator[Stack]:
    with Stack([layer], Upper.temporary(tmp_path)) as made:
        yield made


class Guest:
    """A driver that puts requests into guest memory as Linux does: data in single pages."""

    def __init__(self, stack: Stack, features: int = INDIRECT) -> None:
        self.device = Fs("root", stack, HostClock())
        self.pci = Pci(self.device)
        self.driver = Driver(self.pci)
        self.rings = self.driver.start(features)
        self.start = self.pci._free
        self.fuse = Client(self.carry)

    def carry(self, readable: Sequence[memoryview], writable: Sequence[memoryview]) -> int:
        self.pci._free = self.start  # one request at a time: its memory is free again
        buffers, places = [], []
        for views, is_writable in ((readable, False), (writable, True)):
            for view in views:
                step = PAGE if len(view) > PAGE else max(len(view), 1)
                for at in range(0, len(view), step):
                    part = view[at : at + step]
                    address = self.pci.allocate(len(part))
                    self.pci.memory.write(address, part.tobytes())
                    buffers.append((address, len(part), is_writable))
                    places.append((address, part))
        ring = self.rings[1]
        head = ring.add(buffers, indirect=len(buffers) > 1)
        ring.kick()
        used = dict(ring.collect())
        for (_, _, is_writable), (address, part) in zip(buffers, places, strict=True):
            if is_writable:
                part[:] = self.pci.memory.read(address, len(part))
        return used[head]


@pytest.fixture
def guest(stack: Stack) -> Iterator[Guest]:
    made = Guest(stack)
    yield made
    made.pci.close()


def test_the_configuration_has_tag_and_queues(guest: Guest) -> None:
    tag = bytes(guest.driver.config(at, 1) for at in range(36))
    assert tag == b"root".ljust(36, b"\0")
    assert guest.driver.config(36, 4) == 1
    assert guest.pci.config_read(1, 2, 2) == 0x1040 + 26


def test_files_come_and_go_through_guest_memory(guest: Guest, stack: Stack) -> None:
    guest.fuse.init()
    node = guest.fuse.lookup("data").node
    assert guest.fuse.read(node, 5, 1 << 19) == (bytes(range(256)) * 4096)[5 : 5 + (1 << 19)]
    assert guest.fuse.read(node, (1 << 20) - 3, PAGE) == b"\xfd\xfe\xff"
    made = guest.fuse.create(1, b"new", stat.S_IFREG | 0o644)
    data = bytes(reversed(range(256))) * 1000
    assert guest.fuse.write(made.node, 7, data) == len(data)
    assert guest.fuse.read(made.node, 0, 1 << 18) == bytes(7) + data
    assert stack.find("new").size == 7 + len(data)
    assert sorted(guest.fuse.names(1)) == [b".", b"..", b"data", b"new"]


def test_forgetting_uses_the_high_priority_queue(guest: Guest, stack: Stack) -> None:
    guest.fuse.init()
    made = guest.fuse.create(1, b"new", stat.S_IFREG | 0o644)
    guest.fuse.ask(Op.UNLINK, 1, b"new\0")
    header = abi.IN_HEADER.pack(48, Op.FORGET, 1, made.node, 0, 0, 0, 0)
    assert guest.rings[0].request(header + abi.FORGET_IN.pack(1)) == b""
    with pytest.raises(OSError, match="no such inode"):
        stack.inode(made.node)


def test_what_is_no_request_is_given_back(guest: Guest) -> None:
    for request, room in ((b"", 100), (b"short", 100), (bytes(40), 0), (b"\xff" * 40, 15)):
        assert guest.rings[1].request(request, room) == b""
    guest.fuse.init()
    assert guest.fuse.lookup("data").size == 1 << 20


def test_a_reset_forgets_the_guest(guest: Guest, stack: Stack) -> None:
    guest.fuse.init()
    made = guest.fuse.create(1, b"new", stat.S_IFREG | 0o644)
    guest.fuse.ask(Op.UNLINK, 1, b"new\0")
    guest.rings = guest.driver.start(INDIRECT)
    with pytest.raises(OSError, match="no such inode"):
        stack.inode(made.node)
    with pytest.raises(OSError, match="Input/output"):
        guest.fuse.lookup("data")
    guest.fuse.init()
    assert guest.fuse.lookup("data").size == 1 << 20


def test_a_saved_device_goes_on(guest: Guest, stack: Stack) -> None:
    guest.fuse.init()
    made = guest.fuse.create(1, b"new", stat.S_IFREG | 0o644)
    guest.fuse.ask(Op.UNLINK, 1, b"new\0")
    device = Fs("root", stack, HostClock())
    device.restore(guest.device.save())
    client = Client(device._server.handle)
    assert client.getattr(made.node).links == 0


@pytest.mark.parametrize("tag", ["", "x" * 37, "a\0b"])
def test_tags_have_bounds(stack: Stack, tag: str) -> None:
    with pytest.raises(UsageError):
        Fs(tag, stack, HostClock())


def test_sequential_reads_are_fast(guest: Guest) -> None:
    """Not a benchmark: far below what it does (over 1 GB/s), far above what hurts."""
    guest.fuse.init()
    node = guest.fuse.lookup("data").node
    start = time.perf_counter()
    for _ in range(20):
        assert len(guest.fuse.read(node, 0, 1 << 19)) == 1 << 19
    assert 20 * (1 << 19) / (time.perf_counter() - start) > 5e6
