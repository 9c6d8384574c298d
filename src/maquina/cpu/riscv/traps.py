"""Taking traps and returning from them (privileged manual, 3.1.6 to 3.1.9, 3.3.2, 4.1)."""

from __future__ import annotations

from maquina.cpu.riscv.causes import (
    BY_PRIORITY,
    INTERRUPT,
    MACHINE,
    MPP,
    MPP_SHIFT,
    MPRV,
    MTI,
    STATUS_MIE,
    STATUS_MPIE,
    STATUS_SIE,
    STATUS_SPIE,
    STATUS_SPP,
    STCE,
    STI,
    SUPERVISOR,
)  # fmt: skip
from maquina.cpu.riscv.csr_numbers import (
    MCAUSE,
    MEDELEG,
    MENVCFG,
    MEPC,
    MIDELEG,
    MIE,
    MIP,
    MSTATUS,
    MTVAL,
    MTVEC,
    SCAUSE,
    SEPC,
    STIMECMP,
    STVAL,
    STVEC,
)  # fmt: skip
from maquina.cpu.riscv.state import HartState
from maquina.cpu.riscv.time import read_time
from maquina.cpu.riscv.views import select_view
from maquina.jit import atomic_swap, native, u64, unlikely, unrolled


@native(inline=True)
def vector(base: u64, cause: u64) -> u64:
    """Where a trap goes: interrupts to a slot of their own in vectored mode."""
    if base & 1 != 0 and cause & INTERRUPT != 0:
        return (base & ~u64(3)) + (cause << 2)
    return base & ~u64(3)


@native
def enter_supervisor_trap(hart: HartState) -> None:
    status = hart.csr[MSTATUS]
    status = status & ~u64(STATUS_SPIE | STATUS_SPP) | (status & STATUS_SIE) << 4
    hart.csr[MSTATUS] = status & ~u64(STATUS_SIE) | hart.privilege << 8
    hart.csr[SCAUSE] = hart.cause
    hart.csr[SEPC] = hart.pc
    hart.csr[STVAL] = hart.value
    hart.pc = vector(hart.csr[STVEC], hart.cause)
    hart.privilege = u64(SUPERVISOR)


@native
def enter_machine_trap(hart: HartState) -> None:
    status = hart.csr[MSTATUS]
    status = status & ~u64(STATUS_MPIE | MPP) | (status & STATUS_MIE) << 4
    hart.csr[MSTATUS] = status & ~u64(STATUS_MIE) | hart.privilege << MPP_SHIFT
    hart.csr[MCAUSE] = hart.cause
    hart.csr[MEPC] = hart.pc
    hart.csr[MTVAL] = hart.value
    hart.pc = vector(hart.csr[MTVEC], hart.cause)
    hart.privilege = u64(MACHINE)


@native
def enter_trap(hart: HartState) -> None:
    """Take the trap `hart.cause`, `hart.value` that happened at `hart.pc`."""
    delegated = hart.csr[MIDELEG] if hart.cause & INTERRUPT != 0 else hart.csr[MEDELEG]
    if hart.privilege != MACHINE and delegated >> (hart.cause & 63) & 1 != 0:
        enter_supervisor_trap(hart)
    else:
        enter_machine_trap(hart)
    select_view(hart)


@native
def return_from_supervisor(hart: HartState) -> u64:
    """What `sret` does; where to go."""
    status = hart.csr[MSTATUS]
    hart.privilege = status >> 8 & 1
    status = status & ~u64(STATUS_SIE | MPRV) | (status & STATUS_SPIE) >> 4
    hart.csr[MSTATUS] = status & ~u64(STATUS_SPP) | STATUS_SPIE
    return hart.csr[SEPC]


@native
def return_from_machine(hart: HartState) -> u64:
    """What `mret` does; where to go."""
    status = hart.csr[MSTATUS]
    hart.privilege = (status & MPP) >> MPP_SHIFT
    if hart.privilege != MACHINE:
        status &= ~u64(MPRV)
    status = status & ~u64(STATUS_MIE) | (status & STATUS_MPIE) >> 4
    hart.csr[MSTATUS] = status & ~u64(MPP) | STATUS_MPIE
    return hart.csr[MEPC]


@native(inline=True)
def raised(hart: HartState) -> u64:
    """What devices assert and what software has set."""
    if unlikely(hart.posted[0] != 0):
        hart.csr[MIP] |= atomic_swap(hart.posted, u64(0))
    return hart.csr[MIP] | hart.lines


@native
def pending_now(hart: HartState) -> u64:
    """mip: what is raised, and the timers, compared now."""
    pending = raised(hart)
    now = read_time(hart)
    if hart.csr[MENVCFG] & STCE != 0:
        pending &= ~u64(1 << STI)
        if now >= hart.csr[STIMECMP]:
            pending |= 1 << STI
    if now >= hart.mtimecmp:
        pending |= 1 << MTI
    return pending


@native
def pending_interrupts(hart: HartState) -> u64:
    """The interrupts that are pending and enabled in mie; the clock is read if it matters."""
    enabled = hart.csr[MIE]
    if enabled & (1 << STI | 1 << MTI) != 0:
        return pending_now(hart) & enabled
    return raised(hart) & enabled


@native(inline=True)
def most_urgent(candidates: u64) -> u64:
    """The number of the interrupt to take first; 64 if there is none."""
    for number in unrolled(BY_PRIORITY):
        if candidates >> number & 1 != 0:
            return u64(number)
    return u64(64)


@native
def take_interrupt(hart: HartState) -> bool:
    """Take the most urgent interrupt that is pending and enabled; whether there was one."""
    pending = pending_interrupts(hart)
    if pending == 0:
        return False
    status = hart.csr[MSTATUS]
    candidates = pending & ~hart.csr[MIDELEG]
    if candidates == 0 or (hart.privilege == MACHINE and status & STATUS_MIE == 0):
        if hart.privilege == MACHINE:
            return False
        if hart.privilege == SUPERVISOR and status & STATUS_SIE == 0:
            return False
        candidates = pending & hart.csr[MIDELEG]
        if candidates == 0:
            return False
    hart.cause = most_urgent(candidates) | INTERRUPT
    hart.value = u64(0)
    enter_trap(hart)
    return True
