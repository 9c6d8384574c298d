"""The functions that run instructions: one for each, made from its line in the table."""

from __future__ import annotations

from typing import Any

from maquina.cpu.riscv.causes import (
    EXIT_NONE,
)
from maquina.cpu.riscv.decoder import VARIANTS
from maquina.cpu.riscv.dispatch import go_near, go_to, resume, trap_here
from maquina.cpu.riscv.floating import (
    check_rounding,
    effective_rounding,
    use_floating,
)
from maquina.cpu.riscv.isa import TABLE
from maquina.cpu.riscv.operands import operands, pc_of, writer
from maquina.cpu.riscv.state import (
    HartState,
    Record,
    View,
)
from maquina.cpu.riscv.table import Instruction, Kind
from maquina.jit import (
    Native,
    Table,
    Trap,
    gather,
    likely,
    native,
    s64,
    tail_call,
    u32,
    u64,
    unlikely,
)
from maquina.jit.fenv import TO_NEAREST_AWAY, set_rounding


@native(inline=True)
def nothing(record: Record, hart: HartState, value: u64) -> None:
    """The writer of an instruction without a result, which is never called."""


def value_handler(line: Instruction, length: int) -> Native[..., None]:
    """Kinds VALUE and CONTROL."""
    semantics, fetch, write = line.semantics, operands(line), writer(line) or nothing
    is_floating, is_control, has_result = (
        line.is_floating,
        line.kind is Kind.CONTROL,
        write is not nothing,
    )
    steps = length // 2

    @native(name=f"riscv.run.{line.name}.{length}", convention="preserve_none")
    def handler(record: Record, hart: HartState, view: View, budget: s64) -> None:
        try:
            if is_control:
                hart.budget = budget
            if is_floating:
                use_floating(hart)
            if has_result:
                write(record, hart, semantics(*gather(fetch, record, hart, view)))
            else:
                semantics(*gather(fetch, record, hart, view))
        except Trap as trap:
            hart.cause = trap.cause
            hart.value = trap.value
            return tail_call(trap_here, record, hart, view, budget)
        following = record.shifted(steps)
        if is_control and unlikely(hart.changed != 0):
            hart.pc = pc_of(following, hart)
            return tail_call(resume, following, hart, view, budget - 1)
        return tail_call(following.handler, following, hart, view, budget - 1)

    return handler


def rounding_handler(line: Instruction, length: int) -> Native[..., None]:
    """Kind VALUE with a twin for the rounding mode that no host has."""
    semantics, fetch, twin = line.semantics, operands(line), line.rounding or line.semantics
    write = writer(line) or nothing
    steps = length // 2

    @native(name=f"riscv.round.{line.name}.{length}", cold=True)
    def round_otherwise(record: Record, hart: HartState, view: View, rounding: u32) -> None:
        """Compute in a rounding mode other than the one of the host's environment."""
        check_rounding(rounding)
        if rounding == TO_NEAREST_AWAY:
            write(record, hart, twin(*gather(fetch, record, hart, view)))
        else:
            set_rounding(rounding)
            write(record, hart, semantics(*gather(fetch, record, hart, view)))
            set_rounding(hart.host_rounding)

    @native(name=f"riscv.run.{line.name}.{length}", convention="preserve_none")
    def handler(record: Record, hart: HartState, view: View, budget: s64) -> None:
        try:
            use_floating(hart)
            rounding = effective_rounding(hart, u32(record.immediate) & 7)
            if likely(rounding == hart.host_rounding):
                write(record, hart, semantics(*gather(fetch, record, hart, view)))
            else:
                round_otherwise(record, hart, view, rounding)
        except Trap as trap:
            hart.cause = trap.cause
            hart.value = trap.value
            return tail_call(trap_here, record, hart, view, budget)
        following = record.shifted(steps)
        return tail_call(following.handler, following, hart, view, budget - 1)

    return handler


def branch_handler(line: Instruction, length: int, is_near: bool) -> Native[..., None]:
    """Kind BRANCH; near if the target is in the same page."""
    semantics, fetch = line.semantics, operands(line)
    steps = length // 2
    name = f"riscv.run.{line.name}.{length}.{'near' if is_near else 'far'}"

    @native(name=name, convention="preserve_none")
    def handler(record: Record, hart: HartState, view: View, budget: s64) -> None:
        if semantics(*gather(fetch, record, hart, view)):
            if is_near:
                target = Record.at(record.address + (u64(record.immediate) << 3))
                return tail_call(go_near, target, hart, view, budget - 1)
            pc = pc_of(record, hart) + u64(record.immediate)
            return tail_call(go_to, pc, hart, view, budget - 1)
        following = record.shifted(steps)
        return tail_call(following.handler, following, hart, view, budget - 1)

    return handler


def jump_handler(line: Instruction, length: int, is_near: bool) -> Native[..., None]:
    """Kind JUMP; near if it is relative and the target is in the same page."""
    semantics, fetch = line.semantics, operands(line)
    name = f"riscv.run.{line.name}.{length}.{'near' if is_near else 'far'}"

    @native(name=name, convention="preserve_none")
    def handler(record: Record, hart: HartState, view: View, budget: s64) -> None:
        if is_near:
            hart.x[record.rd] = pc_of(record, hart) + length
            target = Record.at(record.address + (u64(record.immediate) << 3))
            return tail_call(go_near, target, hart, view, budget - 1)
        pc = semantics(*gather(fetch, record, hart, view))
        hart.x[record.rd] = pc_of(record, hart) + length
        return tail_call(go_to, pc, hart, view, budget - 1)

    return handler


def return_handler(line: Instruction) -> Native[..., None]:
    """Kind RETURN."""
    semantics, fetch = line.semantics, operands(line)

    @native(name=f"riscv.run.{line.name}", convention="preserve_none")
    def handler(record: Record, hart: HartState, view: View, budget: s64) -> None:
        try:
            pc = semantics(*gather(fetch, record, hart, view))
        except Trap as trap:
            hart.cause = trap.cause
            hart.value = trap.value
            return tail_call(trap_here, record, hart, view, budget)
        hart.pc = pc
        return tail_call(resume, record, hart, view, budget - 1)

    return handler


def exit_handler(line: Instruction, length: int) -> Native[..., None]:
    """Kind EXIT."""
    semantics, fetch = line.semantics, operands(line)
    steps = length // 2

    @native(name=f"riscv.run.{line.name}.{length}", convention="preserve_none")
    def handler(record: Record, hart: HartState, view: View, budget: s64) -> None:
        hart.budget = budget
        try:
            reason = semantics(*gather(fetch, record, hart, view))
        except Trap as trap:
            hart.cause = trap.cause
            hart.value = trap.value
            return tail_call(trap_here, record, hart, view, budget)
        following = record.shifted(steps)
        if reason == EXIT_NONE:
            return tail_call(following.handler, following, hart, view, budget - 1)
        hart.pc = pc_of(following, hart)
        hart.budget = budget - 1
        hart.exit = reason
        return None

    return handler


def handlers_of(line: Instruction) -> tuple[Native[..., Any], ...]:
    """The functions that run an instruction, by variant (`decoder.VARIANTS`)."""
    lengths = (4, 2)
    match line.kind:
        case Kind.BRANCH:
            return tuple(branch_handler(line, n, near) for near in (False, True) for n in lengths)
        case Kind.JUMP if "rs1" not in line.encoding.fields:
            return tuple(jump_handler(line, n, near) for near in (False, True) for n in lengths)
        case Kind.JUMP:
            return tuple(jump_handler(line, n, False) for n in lengths) * 2
        case Kind.RETURN:
            return (return_handler(line),) * VARIANTS
        case Kind.EXIT:
            return (exit_handler(line, 4),) * VARIANTS
        case _ if line.rounding is not None:
            return (rounding_handler(line, 4),) * VARIANTS
        case _:
            return tuple(value_handler(line, n) for n in lengths) * 2


HANDLERS = Table(u64, [h for line in TABLE for h in handlers_of(line)], "riscv.handlers")
