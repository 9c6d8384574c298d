"""From a decoded record to the arguments of an instruction's function, and back to registers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from maquina.cpu.riscv.floating import check_rounding, effective_rounding
from maquina.cpu.riscv.rv_fd_memory import BOX
from maquina.cpu.riscv.state import HartState, Record, View
from maquina.cpu.riscv.table import IN_IMMEDIATE, WIDTHS, Instruction
from maquina.jit import Native, W, Word, f32, likely, native, u32, u64
from maquina.jit.floats import F, canonical_nan
from maquina.jit.words import Float


@native(inline=True)
def pc_of(record: Record, hart: HartState) -> u64:
    """The address of the instruction that a record holds."""
    return hart.bias + (record.address >> 3)


@native(inline=True)
def fetch_hart(record: Record, hart: HartState, view: View) -> HartState:
    return hart


@native(inline=True)
def fetch_mem(record: Record, hart: HartState, view: View) -> View:
    return view


@native(inline=True)
def fetch_pc(record: Record, hart: HartState, view: View) -> u64:
    return pc_of(record, hart)


def register_number(name: str) -> Native[[Record], u64]:
    """Which field of a record has the number of a register operand."""
    is_second, is_third = name.endswith("2"), name.endswith("3")

    @native(inline=True)
    def number(record: Record) -> u64:
        if is_third:
            return u64(record.immediate) >> IN_IMMEDIATE["frs3"] & 31
        return u64(record.rs2) if is_second else u64(record.rs1)

    return number


def register_operand(name: str, kind: type[W]) -> Native[..., W]:
    """An integer register, or the raw bits of a floating-point one, as a word."""
    is_float = name.startswith("f")
    number_of = register_number(name)

    @native(inline=True, types={"W": kind})
    def fetch(record: Record, hart: HartState, view: View) -> W:
        number = number_of(record)
        if is_float:
            return kind(hart.f[number])
        return kind(hart.x[number])

    return fetch


def float_operand(name: str, kind: type[F]) -> Native[..., F]:
    """A floating-point register as a number; a single that is not boxed counts as a NaN."""
    number_of, is_single, nan = register_number(name), kind is f32, canonical_nan(kind)
    number: Callable[[Word], F] = kind  # of the matching width

    @native(inline=True, types={"F": kind})
    def fetch(record: Record, hart: HartState, view: View) -> F:
        bits = hart.f[number_of(record)]
        if is_single:
            return number(u32(bits)) if likely(bits >= BOX) else nan
        return number(bits)

    return fetch


def rounding_operand() -> Native[..., u32]:
    """The effective rounding mode, which must exist."""

    @native(inline=True)
    def fetch(record: Record, hart: HartState, view: View) -> u32:
        rounding = effective_rounding(hart, u32(record.immediate) & 7)
        check_rounding(rounding)
        return rounding

    return fetch


def immediate_operand(name: str, kind: type[W]) -> Native[..., W]:
    """The whole immediate, or what shares the immediate's place in the record."""
    start, width = (IN_IMMEDIATE[name], WIDTHS[name]) if name in IN_IMMEDIATE else (0, 64)
    is_part = name in IN_IMMEDIATE
    ones = (1 << width) - 1

    @native(inline=True, types={"W": kind})
    def fetch(record: Record, hart: HartState, view: View) -> W:
        if is_part:
            return kind(u64(record.immediate) >> start & ones)
        return kind(record.immediate)

    return fetch


def number_operand(kind: type[W]) -> Native[..., W]:
    """The number in the rs1 field."""

    @native(inline=True, types={"W": kind})
    def fetch(record: Record, hart: HartState, view: View) -> W:
        return kind(record.rs1)

    return fetch


def operand(name: str, kind: type[Any]) -> Native[..., Any]:
    """How to fetch one parameter of an instruction's function. ValueError for unknown names."""
    fixed: dict[str, Native[..., Any]] = {"hart": fetch_hart, "mem": fetch_mem, "pc": fetch_pc}
    if name in fixed:
        return fixed[name]
    if name == "rm":
        return rounding_operand()
    if issubclass(kind, Float):
        return float_operand(name, kind)
    if not issubclass(kind, Word):
        raise ValueError(f"{name}: {kind} is no word")
    if name == "uimm":
        return number_operand(kind)
    if name in {"rs1", "rs2", "frs1", "frs2", "frs3"}:
        return register_operand(name, kind)
    if name == "imm" or name in IN_IMMEDIATE:
        return immediate_operand(name, kind)
    raise ValueError(f"no operand is called {name}")


def operands(line: Instruction) -> tuple[Native[..., Any], ...]:
    """How to fetch all parameters of an instruction's function."""
    return tuple(operand(name, kind) for name, kind in line.semantics.parameters.items())


def float_writer(kind: type[F]) -> Native[..., None]:
    """Write a number to a floating-point register, boxing singles."""
    is_single = kind is f32

    @native(inline=True, types={"F": kind})
    def write(record: Record, hart: HartState, value: F) -> None:
        if is_single:
            hart.f[record.rd] = u64(value.pattern) | BOX
        else:
            hart.f[record.rd] = u64(value.pattern)

    return write


def writer(line: Instruction) -> Native[..., None] | None:
    """How to write the result to its register; None if there is no result."""
    kind = line.semantics.result
    if kind is None or kind is type(None):
        return None
    if issubclass(kind, Float):
        return float_writer(kind)
    is_float = "frd" in line.encoding.fields

    @native(inline=True, types={"W": kind})
    def write(record: Record, hart: HartState, value: W) -> None:
        if is_float:
            hart.f[record.rd] = u64(value)
        else:
            hart.x[record.rd] = u64(value)

    return write
