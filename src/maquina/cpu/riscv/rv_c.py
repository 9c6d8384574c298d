"""C: compressed instructions, each the 32-bit instruction that it stands for.

    @expansion("010 imm[5:3] rs1' imm[2|6] rd' 00")
    def c_lw(rd: u32, rs1: u32, imm: u32) -> u32:
        return i_type(LW, rd, rs1, imm)

A primed register has three bits and is one of x8 to x15. (Unprivileged manual, chapter 27.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from maquina.bits import mask
from maquina.cpu.riscv.rv_fd_memory import rv_fd_memory
from maquina.cpu.riscv.rv_i import rv_i
from maquina.cpu.riscv.rv_system import rv_system
from maquina.cpu.riscv.table import TOKEN, Slice
from maquina.jit import Native, gather, native, s32, u32, unrolled

MATCH = {
    line.name: line.encoding.match
    for extension in (rv_i, rv_fd_memory, rv_system)
    for line in extension.instructions
}
ADD, SUB, XOR, OR, AND = (MATCH[n] for n in ("add", "sub", "xor", "or", "and"))
ADDW, SUBW, EBREAK = MATCH["addw"], MATCH["subw"], MATCH["ebreak"]
ADDI, ADDIW, ANDI, LUI = MATCH["addi"], MATCH["addiw"], MATCH["andi"], MATCH["lui"]
SLLI, SRLI, SRAI = MATCH["slli"], MATCH["srli"], MATCH["srai"]
LW, LD, FLD, SW, SD, FSD = (MATCH[n] for n in ("lw", "ld", "fld", "sw", "sd", "fsd"))
JAL, JALR, BEQ, BNE = MATCH["jal"], MATCH["jalr"], MATCH["beq"], MATCH["bne"]
ZERO, RA, SP = u32(0), u32(1), u32(2)
ILLEGAL = u32(0)
"""No 32-bit instruction: its low bits say that it is a short one."""


@dataclass(frozen=True, slots=True)
class Expansion:
    """A 16-bit instruction `h` belongs here if `h & mask == match`."""

    name: str
    mask: int
    match: int
    operands: tuple[Native[..., Any], ...]
    expand: Native[..., Any]


EXPANSIONS: list[Expansion] = []


def parse(pattern: str) -> tuple[int, int, dict[str, tuple[Slice, ...]]]:
    """mask, match and where each operand's bits are."""
    position, bits, match = 16, 0, 0
    places: dict[str, list[Slice]] = {}
    for token in pattern.split():
        name, _, ranges = token.partition("[")
        if not TOKEN.fullmatch(token.rstrip("'")):
            raise ValueError(f"{token!r} in {pattern!r} is no token of an instruction pattern")
        if set(token) <= {"0", "1"}:
            position -= len(token)
            bits |= mask(len(token)) << position
            match |= int(token, 2) << position
        elif ranges:
            for part in ranges[:-1].split("|"):
                high, _, low = part.partition(":")
                width = int(high) - int(low or high) + 1
                position -= width
                places.setdefault(name, []).append((position, width, int(low or high)))
        else:
            position -= 3 if name.endswith("'") else 5
            places.setdefault(name, []).append((position, 3 if name.endswith("'") else 5, 0))
    if position:
        raise ValueError(f"{pattern!r} has {16 - position} bits, not 16")
    return bits, match, {name: tuple(slices) for name, slices in places.items()}


def extractor(slices: tuple[Slice, ...], is_primed: bool, sign: int) -> Native[[u32], u32]:
    """The operand in these bits; x8 is the first primed register; `sign` is its width or 0."""

    @native(inline=True)
    def extract(half: u32) -> u32:
        value = u32(0)
        for at, width, start in unrolled(slices):
            value |= (half >> at & (1 << width) - 1) << start
        if is_primed:
            return value + 8
        if sign != 0:
            return u32(s32(value << 32 - sign) >> 32 - sign)
        return value

    return extract


def expansion(
    pattern: str, signed: bool = False
) -> Callable[[Callable[..., u32]], Native[..., u32]]:
    """Add a compressed instruction; `signed` tells about its immediate."""

    def add(python: Callable[..., u32]) -> Native[..., u32]:
        bits, match, places = parse(pattern)
        expand = native(name=f"riscv.{python.__name__}", inline=True)(python)
        operands = []
        for name in expand.parameters:
            primed = name + "'"
            slices = places.get(name) or places[primed]
            top = max(start + width for _, width, start in slices)
            operands.append(
                extractor(slices, primed in places, top if name == "imm" and signed else 0)
            )
        name = python.__name__.replace("_", ".")
        EXPANSIONS.append(Expansion(name, bits, match, tuple(operands), expand))
        return expand

    return add


@native(inline=True)
def r_type(match: u32, rd: u32, rs1: u32, rs2: u32) -> u32:
    return match | rd << 7 | rs1 << 15 | rs2 << 20


@native(inline=True)
def i_type(match: u32, rd: u32, rs1: u32, imm: u32) -> u32:
    return match | rd << 7 | rs1 << 15 | imm << 20


@native(inline=True)
def s_type(match: u32, rs1: u32, rs2: u32, imm: u32) -> u32:
    return match | rs1 << 15 | rs2 << 20 | (imm & 31) << 7 | imm >> 5 << 25


@native(inline=True)
def b_type(match: u32, rs1: u32, rs2: u32, imm: u32) -> u32:
    low = (imm >> 1 & 15) << 8 | (imm >> 11 & 1) << 7
    return match | rs1 << 15 | rs2 << 20 | low | (imm >> 5 & 63) << 25 | (imm >> 12 & 1) << 31


@native(inline=True)
def j_type(match: u32, rd: u32, imm: u32) -> u32:
    low = (imm >> 12 & 255) << 12 | (imm >> 11 & 1) << 20
    return match | rd << 7 | low | (imm >> 1 & 1023) << 21 | (imm >> 20 & 1) << 31


@expansion("000 imm[5:4|9:6|2|3] rd' 00")
def c_addi4spn(rd: u32, imm: u32) -> u32:
    return ILLEGAL if imm == 0 else i_type(u32(ADDI), rd, SP, imm)


@expansion("001 imm[5:3] rs1' imm[7:6] rd' 00")
def c_fld(rd: u32, rs1: u32, imm: u32) -> u32:
    return i_type(u32(FLD), rd, rs1, imm)


@expansion("010 imm[5:3] rs1' imm[2|6] rd' 00")
def c_lw(rd: u32, rs1: u32, imm: u32) -> u32:
    return i_type(u32(LW), rd, rs1, imm)


@expansion("011 imm[5:3] rs1' imm[7:6] rd' 00")
def c_ld(rd: u32, rs1: u32, imm: u32) -> u32:
    return i_type(u32(LD), rd, rs1, imm)


@expansion("101 imm[5:3] rs1' imm[7:6] rs2' 00")
def c_fsd(rs1: u32, rs2: u32, imm: u32) -> u32:
    return s_type(u32(FSD), rs1, rs2, imm)


@expansion("110 imm[5:3] rs1' imm[2|6] rs2' 00")
def c_sw(rs1: u32, rs2: u32, imm: u32) -> u32:
    return s_type(u32(SW), rs1, rs2, imm)


@expansion("111 imm[5:3] rs1' imm[7:6] rs2' 00")
def c_sd(rs1: u32, rs2: u32, imm: u32) -> u32:
    return s_type(u32(SD), rs1, rs2, imm)


@expansion("000 imm[5] rd imm[4:0] 01", signed=True)
def c_addi(rd: u32, imm: u32) -> u32:
    return i_type(u32(ADDI), rd, rd, imm)


@expansion("001 imm[5] rd imm[4:0] 01", signed=True)
def c_addiw(rd: u32, imm: u32) -> u32:
    return ILLEGAL if rd == 0 else i_type(u32(ADDIW), rd, rd, imm)


@expansion("010 imm[5] rd imm[4:0] 01", signed=True)
def c_li(rd: u32, imm: u32) -> u32:
    return i_type(u32(ADDI), rd, ZERO, imm)


@expansion("011 imm[9] 00010 imm[4|6|8:7|5] 01", signed=True)
def c_addi16sp(imm: u32) -> u32:
    return ILLEGAL if imm == 0 else i_type(u32(ADDI), SP, SP, imm)


@expansion("011 imm[17] rd imm[16:12] 01", signed=True)
def c_lui(rd: u32, imm: u32) -> u32:
    return ILLEGAL if imm == 0 else imm | rd << 7 | LUI


@expansion("100 imm[5] 00 rd' imm[4:0] 01")
def c_srli(rd: u32, imm: u32) -> u32:
    return i_type(u32(SRLI), rd, rd, imm)


@expansion("100 imm[5] 01 rd' imm[4:0] 01")
def c_srai(rd: u32, imm: u32) -> u32:
    return i_type(u32(SRAI), rd, rd, imm)


@expansion("100 imm[5] 10 rd' imm[4:0] 01", signed=True)
def c_andi(rd: u32, imm: u32) -> u32:
    return i_type(u32(ANDI), rd, rd, imm)


@expansion("100 0 11 rd' 00 rs2' 01")
def c_sub(rd: u32, rs2: u32) -> u32:
    return r_type(u32(SUB), rd, rd, rs2)


@expansion("100 0 11 rd' 01 rs2' 01")
def c_xor(rd: u32, rs2: u32) -> u32:
    return r_type(u32(XOR), rd, rd, rs2)


@expansion("100 0 11 rd' 10 rs2' 01")
def c_or(rd: u32, rs2: u32) -> u32:
    return r_type(u32(OR), rd, rd, rs2)


@expansion("100 0 11 rd' 11 rs2' 01")
def c_and(rd: u32, rs2: u32) -> u32:
    return r_type(u32(AND), rd, rd, rs2)


@expansion("100 1 11 rd' 00 rs2' 01")
def c_subw(rd: u32, rs2: u32) -> u32:
    return r_type(u32(SUBW), rd, rd, rs2)


@expansion("100 1 11 rd' 01 rs2' 01")
def c_addw(rd: u32, rs2: u32) -> u32:
    return r_type(u32(ADDW), rd, rd, rs2)


@expansion("101 imm[11|4|9:8|10|6|7|3:1|5] 01", signed=True)
def c_j(imm: u32) -> u32:
    return j_type(u32(JAL), ZERO, imm)


@expansion("110 imm[8|4:3] rs1' imm[7:6|2:1|5] 01", signed=True)
def c_beqz(rs1: u32, imm: u32) -> u32:
    return b_type(u32(BEQ), rs1, ZERO, imm)


@expansion("111 imm[8|4:3] rs1' imm[7:6|2:1|5] 01", signed=True)
def c_bnez(rs1: u32, imm: u32) -> u32:
    return b_type(u32(BNE), rs1, ZERO, imm)


@expansion("000 imm[5] rd imm[4:0] 10")
def c_slli(rd: u32, imm: u32) -> u32:
    return i_type(u32(SLLI), rd, rd, imm)


@expansion("001 imm[5] rd imm[4:3|8:6] 10")
def c_fldsp(rd: u32, imm: u32) -> u32:
    return i_type(u32(FLD), rd, SP, imm)


@expansion("010 imm[5] rd imm[4:2|7:6] 10")
def c_lwsp(rd: u32, imm: u32) -> u32:
    return ILLEGAL if rd == 0 else i_type(u32(LW), rd, SP, imm)


@expansion("011 imm[5] rd imm[4:3|8:6] 10")
def c_ldsp(rd: u32, imm: u32) -> u32:
    return ILLEGAL if rd == 0 else i_type(u32(LD), rd, SP, imm)


@expansion("100 1 00000 00000 10")
def c_ebreak() -> u32:
    return u32(EBREAK)


@expansion("100 0 rs1 00000 10")
def c_jr(rs1: u32) -> u32:
    return ILLEGAL if rs1 == 0 else i_type(u32(JALR), ZERO, rs1, ZERO)


@expansion("100 1 rs1 00000 10")
def c_jalr(rs1: u32) -> u32:
    return i_type(u32(JALR), RA, rs1, ZERO)


@expansion("100 0 rd rs2 10")
def c_mv(rd: u32, rs2: u32) -> u32:
    return r_type(u32(ADD), rd, ZERO, rs2)


@expansion("100 1 rd rs2 10")
def c_add(rd: u32, rs2: u32) -> u32:
    return r_type(u32(ADD), rd, rd, rs2)


@expansion("101 imm[5:3|8:6] rs2 10")
def c_fsdsp(rs2: u32, imm: u32) -> u32:
    return s_type(u32(FSD), SP, rs2, imm)


@expansion("110 imm[5:2|7:6] rs2 10")
def c_swsp(rs2: u32, imm: u32) -> u32:
    return s_type(u32(SW), SP, rs2, imm)


@expansion("111 imm[5:3|8:6] rs2 10")
def c_sdsp(rs2: u32, imm: u32) -> u32:
    return s_type(u32(SD), SP, rs2, imm)


BUCKETS = tuple(
    (key, tuple(line for line in EXPANSIONS if line.match & 3 | line.match >> 13 << 2 == key))
    for key in range(32)
)


@native
def expand_compressed(half: u32) -> u32:
    """The 32-bit instruction that a 16-bit one stands for, or ILLEGAL."""
    key = half & 3 | half >> 13 << 2
    for number, lines in unrolled(BUCKETS):
        if key == number:
            for line in unrolled(lines):
                if half & line.mask == line.match:
                    word: u32 = line.expand(*gather(line.operands, half))
                    return word
    return ILLEGAL
