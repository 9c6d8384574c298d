"""Privileged instructions and Zifencei (privileged manual, chapters 3.3 and 4.2.1)."""

from __future__ import annotations

from maquina.cpu.riscv.border import await_answers
from maquina.cpu.riscv.causes import (
    BREAKPOINT,
    ECALL_FROM_U,
    EXIT_CALL,
    EXIT_IDLE,
    EXIT_NONE,
    ILLEGAL_INSTRUCTION,
    MACHINE,
    SUPERVISOR,
    TSR,
    TVM,
    TW,
)  # fmt: skip
from maquina.cpu.riscv.code import catch_up
from maquina.cpu.riscv.csr_numbers import MSTATUS
from maquina.cpu.riscv.state import HartState
from maquina.cpu.riscv.table import Extension, Kind
from maquina.cpu.riscv.traps import (
    pending_interrupts,
    return_from_machine,
    return_from_supervisor,
)  # fmt: skip
from maquina.cpu.riscv.views import forget_address_space, forget_page, forget_views
from maquina.jit import Trap, fence, native, u64

rv_system = Extension("system")


@native(inline=True)
def require(hart: HartState, privilege: u64, forbidding: u64) -> None:
    """An illegal-instruction trap below a privilege, and in S-mode if mstatus forbids it."""
    if hart.privilege < privilege:
        raise Trap(ILLEGAL_INSTRUCTION, u64(0))
    if hart.privilege == SUPERVISOR and hart.csr[MSTATUS] & forbidding != 0:
        raise Trap(ILLEGAL_INSTRUCTION, u64(0))


@rv_system.instruction("000000000000 00000 000 00000 1110011", Kind.EXIT)
def ecall(hart: HartState) -> u64:
    if hart.is_sbi != 0 and hart.privilege == SUPERVISOR:
        return EXIT_CALL
    raise Trap(ECALL_FROM_U + hart.privilege, u64(0))


@rv_system.instruction("000000000001 00000 000 00000 1110011")
def ebreak(pc: u64) -> None:
    raise Trap(BREAKPOINT, pc)


@rv_system.instruction("000100000010 00000 000 00000 1110011", Kind.RETURN)
def sret(hart: HartState) -> u64:
    require(hart, u64(SUPERVISOR), u64(TSR))
    return return_from_supervisor(hart)


@rv_system.instruction("001100000010 00000 000 00000 1110011", Kind.RETURN)
def mret(hart: HartState) -> u64:
    require(hart, u64(MACHINE), u64(0))
    return return_from_machine(hart)


@rv_system.instruction("000100000101 00000 000 00000 1110011", Kind.EXIT)
def wfi(hart: HartState) -> u64:
    require(hart, u64(SUPERVISOR), u64(TW))
    if pending_interrupts(hart) != 0:
        return EXIT_NONE
    return EXIT_IDLE


@rv_system.instruction("0001001 rs2 rs1 000 00000 1110011", Kind.CONTROL)
def sfence_vma(hart: HartState, rs1: u64, rs2: u64) -> None:
    """Address or ASID 0 counts as all of them, which is more than asked for at most."""
    require(hart, u64(SUPERVISOR), u64(TVM))
    fence()
    if rs1 != 0:
        forget_page(hart, rs1)
    elif rs2 != 0:
        forget_address_space(hart, rs2 & 0xFFFF)
        hart.changed = u64(1)
    else:
        forget_views(hart)
        hart.changed = u64(1)


@rv_system.instruction("------------ ----- 001 ----- 0001111", Kind.CONTROL)
def fence_i(hart: HartState) -> None:
    await_answers(hart)
    catch_up(hart)


@native
def illegal() -> None:
    """What an instruction word does that is none."""
    raise Trap(ILLEGAL_INSTRUCTION, u64(0))
