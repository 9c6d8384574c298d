"""Where firmware, kernel, initrd and device tree end up in memory."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from maquina.boards.addresses import RAM_BASE, Range
from maquina.boards.devicetree import parse
from maquina.boards.placement import place
from maquina.boards.virt_tree import Boot, describe
from maquina.errors import UsageError
from maquina.machine.memory import GuestMemory

SIZE = 32 << 20
TREE_AT = RAM_BASE + SIZE - (2 << 20)


@pytest.fixture
def memory() -> Iterator[GuestMemory]:
    memory = GuestMemory(RAM_BASE, SIZE)
    yield memory
    memory.close()


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    path = tmp_path / "Image"
    header = struct.pack("<8xQQQI12x8s4sI", 0x20_0000, 0x10_0000, 0, 2, b"", b"RSC\x05", 0)
    path.write_bytes(header + b"kernel")
    return path


def tree(initrd: Range | None) -> bytes:
    return describe(1, SIZE, Boot("", initrd)).flatten()


def test_kernel_alone_starts_in_supervisor_mode(memory: GuestMemory, kernel: Path) -> None:
    memory.write(RAM_BASE + 0x20_0100, b"left over from before the reset")
    start = place(memory, None, kernel, None, tree)
    assert (start.privilege, start.entry, start.info) == (1, RAM_BASE + 0x20_0000, 0)
    assert memory.read(start.entry + 64, 6) == b"kernel"
    assert memory.read(start.entry + 0x100, 8) == bytes(8)
    assert start.tree == TREE_AT
    assert parse(memory.read(TREE_AT, 0x10000)).find("cpus/cpu@0")["device_type"] == b"cpu\0"


def test_initrd_lies_below_the_tree(memory: GuestMemory, kernel: Path, tmp_path: Path) -> None:
    (tmp_path / "initrd").write_bytes(b"cpio" * 3000)
    place(memory, None, kernel, tmp_path / "initrd", tree)
    chosen = parse(memory.read(TREE_AT, 0x10000)).find("chosen")
    start = int.from_bytes(chosen["linux,initrd-start"], "big")
    assert start == TREE_AT - 0x3000
    assert memory.read(start, 12000) == b"cpio" * 3000


def test_firmware_gets_the_kernel_by_opensbi_dynamic_info(
    memory: GuestMemory, kernel: Path, tmp_path: Path
) -> None:
    (tmp_path / "fw").write_bytes(b"firmware")
    start = place(memory, tmp_path / "fw", kernel, None, tree)
    assert (start.privilege, start.entry) == (3, RAM_BASE)
    info = struct.unpack("<6Q", memory.read(start.info, 48))
    assert info == (0x4942534F, 2, RAM_BASE + 0x20_0000, 1, 0, 0)


@pytest.mark.parametrize("initrd_bytes", [SIZE - (3 << 20), SIZE])
def test_too_little_memory(
    memory: GuestMemory, kernel: Path, tmp_path: Path, initrd_bytes: int
) -> None:
    with (tmp_path / "initrd").open("wb") as file:
        file.truncate(initrd_bytes)
    with pytest.raises(UsageError, match="raise --memory"):
        place(memory, None, kernel, tmp_path / "initrd", tree)


def test_nothing_to_start(memory: GuestMemory) -> None:
    with pytest.raises(UsageError, match="--kernel"):
        place(memory, None, None, None, tree)


def test_firmware_over_the_kernel(memory: GuestMemory, kernel: Path, tmp_path: Path) -> None:
    with (tmp_path / "fw").open("wb") as file:
        file.truncate(3 << 20)
    with pytest.raises(UsageError, match="same memory"):
        place(memory, tmp_path / "fw", kernel, None, tree)


def test_long_command_line(memory: GuestMemory, kernel: Path) -> None:
    with pytest.raises(UsageError, match="--append"):
        place(memory, None, kernel, None, lambda _: bytes(2 << 20))
