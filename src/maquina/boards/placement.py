"""Putting programs, initrd and device tree into guest memory, and where the harts begin.

Memory of a machine that starts a Linux kernel, lowest address first: firmware if any, kernel,
then, as high as all kernels can reach early, the initrd and the device tree.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from maquina.bits import align_down
from maquina.boards.addresses import Range
from maquina.boards.loading import (
    Contents,
    Program,
    read_firmware,
    read_initrd,
    read_kernel,
)
from maquina.errors import UsageError
from maquina.machine.memory import PAGE_SIZE, GuestMemory

# Kernels map the device tree before they know their memory: stay in the first GiB, in 2 MiB of
# its own, as QEMU does.
REACH_BYTES = 1 << 30
TREE_BYTES = 1 << 21

DYNAMIC_MAGIC = 0x4942534F  # OpenSBI include/sbi/fw_dynamic.h, "OSBI"
DYNAMIC_VERSION = 2
DYNAMIC_INFO_OFFSET = TREE_BYTES - PAGE_SIZE
SUPERVISOR_MODE, MACHINE_MODE = 1, 3


@dataclass(frozen=True)
class Start:
    """How a hart begins: mode, program counter, a1 (device tree), a2 (OpenSBI's boot info)."""

    privilege: int
    entry: int
    tree: int
    info: int


def place(
    memory: GuestMemory,
    firmware: Path | None,
    kernel: Path | None,
    initrd: Path | None,
    describe: Callable[[Range | None], bytes],
) -> Start:
    """Load everything. `describe` makes the device tree, given where the initrd lies.

    UsageError if it does not fit, ImageError if a file is not what it should be.
    """
    top = memory.base + min(memory.size, REACH_BYTES)
    tree_at = align_down(top - TREE_BYTES, TREE_BYTES)
    below = tree_at
    firm = read_firmware(firmware, memory.base) if firmware else None
    is_second = firm is not None
    system = read_kernel(kernel, memory.base, may_be_raw=is_second) if kernel else None
    initrd_range = None
    if initrd is not None:
        data = read_initrd(initrd)
        below = align_down(tree_at - len(data), PAGE_SIZE)
        initrd_range = Range(below, len(data))
        _store(memory, below, data)
    for program in (firm, system):
        if program is not None:
            _load(memory, program, below)
    if firm is not None and system is not None and firm.end > system.entry >= firm.entry:
        raise UsageError("firmware and kernel want the same memory", "use a smaller firmware")
    tree = describe(initrd_range)
    if len(tree) > DYNAMIC_INFO_OFFSET:
        raise UsageError("the kernel command line is too long", "shorten --append")
    _store(memory, tree_at, tree)
    return _start(memory, firm, system, tree_at)


def _start(
    memory: GuestMemory, firm: Program | None, system: Program | None, tree_at: int
) -> Start:
    if firm is None:
        if system is None:
            raise UsageError("nothing to start", "give --kernel or --firmware")
        return Start(SUPERVISOR_MODE, system.entry, tree_at, 0)
    next_entry = system.entry if system else 0
    info = struct.pack(
        "<6Q", DYNAMIC_MAGIC, DYNAMIC_VERSION, next_entry, SUPERVISOR_MODE, 0, 0
    )  # magic, version, next address, next mode, options, boot hart
    info_at = tree_at + DYNAMIC_INFO_OFFSET
    _store(memory, info_at, info)
    return Start(MACHINE_MODE, firm.entry, tree_at, info_at)


def _load(memory: GuestMemory, program: Program, below: int) -> None:
    for segment in program.segments:
        end = segment.address + segment.size
        if segment.address < memory.base or segment.address >= memory.base + memory.size:
            raise UsageError(
                f"the program wants memory at {segment.address:#x}, where there is none",
                f"link it for {memory.base:#x} or above",
            )
        if end > below:
            raise _too_small(memory)
        memory.write(segment.address, segment.data)
        zeros = segment.size - len(segment.data)
        memory.view(end - zeros, zeros)[:] = bytes(zeros)


def _store(memory: GuestMemory, address: int, data: Contents) -> None:
    if address < memory.base:
        raise _too_small(memory)
    memory.write(address, data)


def _too_small(memory: GuestMemory) -> UsageError:
    return UsageError(
        f"kernel and initrd do not fit into {memory.size >> 20} MiB of memory",
        "raise --memory",
    )
