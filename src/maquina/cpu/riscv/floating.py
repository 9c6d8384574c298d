"""The floating-point status: fflags and frm, and when an instruction may use the unit."""

from __future__ import annotations

from maquina.cpu.riscv.causes import FS, ILLEGAL_INSTRUCTION
from maquina.cpu.riscv.csr_numbers import MSTATUS
from maquina.cpu.riscv.state import HartState
from maquina.jit import Trap, native, u64, unlikely


@native(inline=True)
def use_floating(hart: HartState) -> None:
    """Trap unless the unit is on, and note that its registers are no longer clean."""
    status = hart.csr[MSTATUS]
    if unlikely(status & FS != FS):
        if status & FS == 0:
            raise Trap(ILLEGAL_INSTRUCTION, u64(0))
        hart.csr[MSTATUS] = status | FS


@native
def read_flags(hart: HartState) -> u64:
    """fflags: NV DZ OF UF NX, as bits 4 to 0."""
    return hart.fflags


@native
def write_flags(hart: HartState, value: u64) -> None:
    """Set fflags."""
    hart.fflags = value
    hart.csr[MSTATUS] |= FS


@native
def write_rounding(hart: HartState, value: u64) -> None:
    """Set frm; reserved modes are kept and make instructions illegal that use them."""
    hart.frm = value
    hart.csr[MSTATUS] |= FS
