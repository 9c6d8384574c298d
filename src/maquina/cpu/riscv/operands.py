"""From a decoded record to the arguments of an instruction's function, and back to registers."""

from __future__ import annotations

from typing import Any

from maquina.cpu.riscv.state import HartState, Record, View
from maquina.cpu.riscv.table import IN_IMMEDIATE, WIDTHS, Instruction
from maquina.jit import Native, W, Word, native, u64


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


def register_operand(name: str, kind: type[W]) -> Native[..., W]:
    """An integer register, or the raw bits of a floating-point one, as a word."""
    is_float, is_second = name.startswith("f"), name.endswith("2")

    @native(inline=True, types={"W": kind})
    def fetch(record: Record, hart: HartState, view: View) -> W:
        number = record.rs2 if is_second else record.rs1
        if is_float:
            return kind(hart.f[number])
        return kind(hart.x[number])

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
    if not issubclass(kind, Word):
        raise ValueError(f"{name}: {kind} is no word")
    if name == "uimm":
        return number_operand(kind)
    if name in {"rs1", "rs2", "frs1", "frs2"}:
        return register_operand(name, kind)
    if name == "imm" or name in IN_IMMEDIATE:
        return immediate_operand(name, kind)
    raise ValueError(f"no operand is called {name}")


def operands(line: Instruction) -> tuple[Native[..., Any], ...]:
    """How to fetch all parameters of an instruction's function."""
    return tuple(operand(name, kind) for name, kind in line.semantics.parameters.items())


def writer(line: Instruction) -> Native[..., None] | None:
    """How to write the result to its register; None if there is no result."""
    kind = line.semantics.result
    if kind is None or kind is type(None):
        return None
    is_float = "frd" in line.encoding.fields

    @native(inline=True, types={"W": kind})
    def write(record: Record, hart: HartState, value: W) -> None:
        if is_float:
            hart.f[record.rd] = u64(value)
        else:
            hart.x[record.rd] = u64(value)

    return write
