"""The harts of a board: our RISC-V processor, as many as are asked for, sharing code and time."""

from __future__ import annotations

from typing import get_args

from maquina.boards.configuration import Configuration
from maquina.boards.tracing import TracedHart
from maquina.cpu.riscv.causes import ADUE, STCE
from maquina.cpu.riscv.code_map import Block, CodeMap
from maquina.cpu.riscv.csr_numbers import (
    MCOUNTEREN,
    MEDELEG,
    MENVCFG,
    MIDELEG,
    PMPADDR0,
    PMPCFG0,
)
from maquina.cpu.riscv.entry_points import Accel
from maquina.cpu.riscv.hart import Hart, connect
from maquina.errors import UsageError
from maquina.jit import u64
from maquina.machine.bus import AddressSpace
from maquina.machine.memory import GuestMemory

# What a firmware does before it enters a kernel in S-mode (SBI 2.0, 4; privileged 3.1.8, 3.7):
# exceptions and interrupts are the kernel's, it may read the counters and set its own timer, and
# one region of physical memory protection opens everything.
EXCEPTIONS_OF_S_MODE = 0xB1FF  # all but calls from S-mode and above
INTERRUPTS_OF_S_MODE = 0x222
COUNTERS = 0b111  # cycle, time, instret
ALL_OF_MEMORY = (1 << 54) - 1
NAPOT_READ_WRITE_EXECUTE = 0x1F


class Harts(list[Hart]):
    """Harts, and the table by which they find each other, which must live as long."""

    peers: Block


def make_harts(
    wanted: Configuration, memory: GuestMemory, bus: AddressSpace, clock_origin_ns: int
) -> Harts:
    """Harts after power-on. Without firmware, their S-mode calls come to the board.

    `clock_origin_ns` is when `time` was zero, on the host's monotonic clock.
    """
    if wanted.accel not in get_args(Accel):
        raise UsageError(f"no accelerator {wanted.accel!r}", f"use {' or '.join(get_args(Accel))}")
    accel: Accel = "reference" if wanted.accel == "reference" else "interp"
    code = CodeMap(memory)
    kind = Hart if wanted.trace is None else TracedHart
    harts = Harts(kind(number, memory, bus, accel, code) for number in range(wanted.harts))
    for hart in harts:
        if isinstance(hart, TracedHart) and wanted.trace is not None:
            hart.tell = wanted.trace
        if wanted.firmware is None:
            _prepare_for_kernel(hart)
        hart.state.clock_origin = u64(clock_origin_ns)
    harts.peers = connect(harts)
    return harts


def _prepare_for_kernel(hart: Hart) -> None:
    hart.answers_sbi = True
    for register, value in (
        (MEDELEG, EXCEPTIONS_OF_S_MODE),
        (MIDELEG, INTERRUPTS_OF_S_MODE),
        (MCOUNTEREN, COUNTERS),
        (MENVCFG, STCE | ADUE),
        (PMPADDR0, ALL_OF_MEMORY),
        (PMPCFG0, NAPOT_READ_WRITE_EXECUTE),
    ):
        hart.write_csr(register, value)
