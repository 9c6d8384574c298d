"""The floating-point status: fflags and frm, and when an instruction may use the unit.

While a hart runs, the host's floating-point environment is the guest's: flags stay raised there
until they are read, and results round as frm says, as far as the host can (`host_rounding`).
"""

from __future__ import annotations

from maquina.cpu.riscv.causes import FS, ILLEGAL_INSTRUCTION
from maquina.cpu.riscv.csr_numbers import MSTATUS
from maquina.cpu.riscv.state import HartState
from maquina.jit import Trap, native, u32, u64, unlikely
from maquina.jit.fenv import (
    TO_NEAREST,
    TO_NEAREST_AWAY,
    UP,
    enter_environment,
    get_flags,
    leave_environment,
    set_flags,
    set_rounding,
)

DYNAMIC = u32(7)
"""The rm field that means frm."""


@native(inline=True)
def use_floating(hart: HartState) -> None:
    """Trap unless the unit is on, and note that its registers are no longer clean."""
    status = hart.csr[MSTATUS]
    if unlikely(status & FS != FS):
        if status & FS == 0:
            raise Trap(ILLEGAL_INSTRUCTION, u64(0))
        hart.csr[MSTATUS] = status | FS


@native(inline=True)
def effective_rounding(hart: HartState, rm: u32) -> u32:
    """The rounding mode of an instruction. It may be one that does not exist."""
    return hart.frm if rm == DYNAMIC else rm


@native(inline=True)
def check_rounding(rounding: u32) -> None:
    """Instructions with a reserved rounding mode are illegal (unprivileged manual, 21.2)."""
    if unlikely(rounding > TO_NEAREST_AWAY):
        raise Trap(ILLEGAL_INSTRUCTION, u64(0))


@native
def enter_floating(hart: HartState) -> None:
    """Make the host's environment the guest's."""
    hart.host_environment = enter_environment(hart.host_rounding)
    hart.is_in_environment = u64(1)


@native
def leave_floating(hart: HartState) -> None:
    """Give the host its environment back, keeping the flags that the guest has raised."""
    hart.fflags |= u64(get_flags())
    leave_environment(hart.host_environment)
    hart.is_in_environment = u64(0)


@native
def read_flags(hart: HartState) -> u64:
    """fflags: NV DZ OF UF NX, as bits 4 to 0."""
    if hart.is_in_environment != 0:
        return hart.fflags | u64(get_flags())
    return hart.fflags


@native
def write_flags(hart: HartState, value: u64) -> None:
    """Set fflags."""
    hart.fflags = value
    hart.csr[MSTATUS] |= FS
    if hart.is_in_environment != 0:
        set_flags(u32(0))


@native
def write_rounding(hart: HartState, value: u64) -> None:
    """Set frm; reserved modes are kept and make instructions illegal that use them."""
    hart.frm = u32(value)
    hart.host_rounding = u32(value) if u32(value) <= UP else TO_NEAREST
    hart.csr[MSTATUS] |= FS
    if hart.is_in_environment != 0:
        set_rounding(hart.host_rounding)
