"""A CPU as a table of instructions: each one its encoding and what it does, side by side.

    @rv_i.instruction("0000000 rs2 rs1 000 rd 0110011")
    def add(rs1: u64, rs2: u64) -> u64:
        return rs1 + rs2

A pattern lists the bits from 31 down to 0 as the manuals do: `0`, `1` and `-`
(ignored) stand for themselves, a name for an operand of `WIDTHS`, `imm[12|10:5]` for those bits of
the immediate. The function's parameters name what it reads, their types how it is read:

    rs1 rs2        an integer register, as the word type of the parameter
    frs1 frs2 frs3 a floating-point register: f32 and f64 as numbers, u64 as raw bits
    imm            the immediate, sign-extended; `shamt` is unsigned
    uimm           the number in the rs1 field; `csr` the one in the CSR field; `rm` the rounding
    pc             the instruction's own address
    hart, mem      the hart's state; memory as the hart sees it now

Its result is written to `rd` or `frd`; what else it means depends on the instruction's `kind`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeAlias

from maquina.bits import mask
from maquina.jit import Native, native


class Kind(Enum):
    """What the result of an instruction's function means."""

    VALUE = "written to the destination register, if there is one"
    BRANCH = "whether to go to pc + imm"
    JUMP = "where to go; the destination register gets the address of the following instruction"
    CONTROL = (
        "as VALUE; may have changed the state that execution depends on, if `changed` says so"
    )
    RETURN = "where to go, in a privilege mode that may be another"
    EXIT = "why to leave native code, or 0; the following instruction is next in either case"


Slice: TypeAlias = tuple[int, int, int]
"""(lowest bit in the instruction, width, lowest bit in the immediate)"""

WIDTHS = {
    "rd": 5, "rs1": 5, "rs2": 5, "frd": 5, "frs1": 5, "frs2": 5, "frs3": 5,
    "shamt": 6, "shamtw": 5, "csr": 12, "uimm": 5, "rm": 3,
}  # fmt: skip
IN_IMMEDIATE = {"shamt": 0, "shamtw": 0, "csr": 0, "rm": 0, "frs3": 8}
"""Operands that a decoded record keeps in its immediate, and from which bit on."""

TOKEN = re.compile(r"[01-]+|[a-z]+[0-9]?(\[[0-9|:]+\])?")


@dataclass(frozen=True, slots=True)
class Encoding:
    """A parsed pattern: an instruction word `w` belongs to it if `w & mask == match`."""

    mask: int
    match: int
    slices: tuple[Slice, ...]
    fields: tuple[str, ...]

    @property
    def is_signed(self) -> bool:
        """Whether the immediate's highest bit is its sign."""
        return "imm" in self.fields

    def encode(self, **operands: int) -> int:
        """The instruction word for these operands (`imm` may be negative)."""
        word = self.match
        immediate = operands.get("imm", 0) if self.is_signed else 0
        for name, start in IN_IMMEDIATE.items():
            if name in self.fields:
                immediate |= operands.get(name, 0) << start
        for at, width, start in self.slices:
            word |= (immediate >> start & mask(width)) << at
        for name in self.fields:
            if name in PLACES:
                word |= (operands.get(name, 0) & mask(WIDTHS[name])) << PLACES[name]
        return word

    def decode(self, word: int) -> dict[str, int]:
        """The operands in an instruction word, immediates sign-extended where the manual does."""
        operands = {n: word >> PLACES[n] & mask(WIDTHS[n]) for n in self.fields if n in PLACES}
        immediate = 0
        for at, width, start in self.slices:
            immediate |= (word >> at & mask(width)) << start
        if self.is_signed:
            sign = 1 << max(start + width for _, width, start in self.slices) - 1
            operands["imm"] = (immediate ^ sign) - sign
        for name in self.fields:
            if name in IN_IMMEDIATE:
                operands[name] = immediate >> IN_IMMEDIATE[name] & mask(WIDTHS[name])
        return operands


PLACES = {"rd": 7, "frd": 7, "rs1": 15, "frs1": 15, "uimm": 15, "rs2": 20, "frs2": 20}
"""Operands that stand at the same place in every instruction that has them."""


def parse(pattern: str) -> Encoding:
    """An encoding from its pattern. ValueError if the pattern is not 32 bits of known tokens."""
    position, bits, match, slices, fields = 32, 0, 0, [], []
    for token in pattern.split():
        if not TOKEN.fullmatch(token):
            raise ValueError(f"{token!r} in {pattern!r} is no token of an instruction pattern")
        name, _, ranges = token.partition("[")
        if set(token) <= set("01-"):
            position -= len(token)
            fixed = int(token.replace("0", "1").replace("-", "0"), 2)
            bits |= fixed << position
            match |= int(token.replace("-", "0"), 2) << position
        elif ranges:
            for part in ranges[:-1].split("|"):
                high, _, low = part.partition(":")
                start = int(low or high)
                position -= int(high) - start + 1
                slices.append((position, int(high) - start + 1, start))
            fields.append(name)
        else:
            position -= WIDTHS[name]
            fields.append(name)
            if name in IN_IMMEDIATE:
                slices.append((position, WIDTHS[name], IN_IMMEDIATE[name]))
    if position != 0:
        raise ValueError(f"{pattern!r} has {32 - position} bits, not 32")
    return Encoding(bits, match, tuple(slices), tuple(dict.fromkeys(fields)))


@dataclass(frozen=True, slots=True)
class Instruction:
    """One line of the table."""

    name: str
    encoding: Encoding
    semantics: Native[..., Any]
    kind: Kind
    rounding: Native[..., Any] | None = None
    """What it does when it rounds to nearest with ties away from zero, which no host does."""

    @property
    def is_floating(self) -> bool:
        """Whether it needs mstatus.FS to be on."""
        return any(name.startswith("frs") or name == "frd" for name in self.encoding.fields)


@dataclass(slots=True)
class Extension:
    """The instructions of one extension of the manual, in the order they are written."""

    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def instruction(
        self, pattern: str, kind: Kind = Kind.VALUE, rounding: Native[..., Any] | None = None
    ) -> Callable[[Callable[..., Any]], Native[..., Any]]:
        """Add the decorated function to the table. Its name is the mnemonic, `_` for `.`."""

        def add(python: Callable[..., Any]) -> Native[..., Any]:
            name = python.__name__.rstrip("_").replace("_", ".")
            semantics = native(name=f"{self.name}.{name}", inline=True)(python)
            line = Instruction(name, parse(pattern), semantics, kind, rounding)
            self.instructions.append(line)
            return semantics

        return add
