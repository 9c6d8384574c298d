"""RV64I: the base integer instructions (unprivileged manual, chapters 2 and 4)."""

from __future__ import annotations

from maquina.cpu.riscv.memory import (
    load8,
    load16,
    load32,
    load64,
    store8,
    store16,
    store32,
    store64,
)  # fmt: skip
from maquina.cpu.riscv.state import View
from maquina.cpu.riscv.table import Extension, Kind
from maquina.jit import fence as memory_fence
from maquina.jit import s8, s16, s32, s64, u8, u16, u32, u64

rv_i = Extension("i")


@rv_i.instruction("imm[31:12] rd 0110111")
def lui(imm: u64) -> u64:
    return imm


@rv_i.instruction("imm[31:12] rd 0010111")
def auipc(pc: u64, imm: u64) -> u64:
    return pc + imm


@rv_i.instruction("imm[20|10:1|11|19:12] rd 1101111", Kind.JUMP)
def jal(pc: u64, imm: u64) -> u64:
    return pc + imm


@rv_i.instruction("imm[11:0] rs1 000 rd 1100111", Kind.JUMP)
def jalr(rs1: u64, imm: u64) -> u64:
    return rs1 + imm & ~u64(1)


@rv_i.instruction("imm[12|10:5] rs2 rs1 000 imm[4:1|11] 1100011", Kind.BRANCH)
def beq(rs1: u64, rs2: u64) -> bool:
    return rs1 == rs2


@rv_i.instruction("imm[12|10:5] rs2 rs1 001 imm[4:1|11] 1100011", Kind.BRANCH)
def bne(rs1: u64, rs2: u64) -> bool:
    return rs1 != rs2


@rv_i.instruction("imm[12|10:5] rs2 rs1 100 imm[4:1|11] 1100011", Kind.BRANCH)
def blt(rs1: s64, rs2: s64) -> bool:
    return rs1 < rs2


@rv_i.instruction("imm[12|10:5] rs2 rs1 101 imm[4:1|11] 1100011", Kind.BRANCH)
def bge(rs1: s64, rs2: s64) -> bool:
    return rs1 >= rs2


@rv_i.instruction("imm[12|10:5] rs2 rs1 110 imm[4:1|11] 1100011", Kind.BRANCH)
def bltu(rs1: u64, rs2: u64) -> bool:
    return rs1 < rs2


@rv_i.instruction("imm[12|10:5] rs2 rs1 111 imm[4:1|11] 1100011", Kind.BRANCH)
def bgeu(rs1: u64, rs2: u64) -> bool:
    return rs1 >= rs2


@rv_i.instruction("imm[11:0] rs1 000 rd 0000011")
def lb(mem: View, rs1: u64, imm: u64) -> s8:
    return s8(load8(mem, rs1 + imm))


@rv_i.instruction("imm[11:0] rs1 001 rd 0000011")
def lh(mem: View, rs1: u64, imm: u64) -> s16:
    return s16(load16(mem, rs1 + imm))


@rv_i.instruction("imm[11:0] rs1 010 rd 0000011")
def lw(mem: View, rs1: u64, imm: u64) -> s32:
    return s32(load32(mem, rs1 + imm))


@rv_i.instruction("imm[11:0] rs1 011 rd 0000011")
def ld(mem: View, rs1: u64, imm: u64) -> u64:
    return load64(mem, rs1 + imm)


@rv_i.instruction("imm[11:0] rs1 100 rd 0000011")
def lbu(mem: View, rs1: u64, imm: u64) -> u8:
    return load8(mem, rs1 + imm)


@rv_i.instruction("imm[11:0] rs1 101 rd 0000011")
def lhu(mem: View, rs1: u64, imm: u64) -> u16:
    return load16(mem, rs1 + imm)


@rv_i.instruction("imm[11:0] rs1 110 rd 0000011")
def lwu(mem: View, rs1: u64, imm: u64) -> u32:
    return load32(mem, rs1 + imm)


@rv_i.instruction("imm[11:5] rs2 rs1 000 imm[4:0] 0100011")
def sb(mem: View, rs1: u64, rs2: u64, imm: u64) -> None:
    store8(mem, rs1 + imm, u8(rs2))


@rv_i.instruction("imm[11:5] rs2 rs1 001 imm[4:0] 0100011")
def sh(mem: View, rs1: u64, rs2: u64, imm: u64) -> None:
    store16(mem, rs1 + imm, u16(rs2))


@rv_i.instruction("imm[11:5] rs2 rs1 010 imm[4:0] 0100011")
def sw(mem: View, rs1: u64, rs2: u64, imm: u64) -> None:
    store32(mem, rs1 + imm, u32(rs2))


@rv_i.instruction("imm[11:5] rs2 rs1 011 imm[4:0] 0100011")
def sd(mem: View, rs1: u64, rs2: u64, imm: u64) -> None:
    store64(mem, rs1 + imm, rs2)


@rv_i.instruction("imm[11:0] rs1 000 rd 0010011")
def addi(rs1: u64, imm: u64) -> u64:
    return rs1 + imm


@rv_i.instruction("imm[11:0] rs1 010 rd 0010011")
def slti(rs1: s64, imm: s64) -> bool:
    return rs1 < imm


@rv_i.instruction("imm[11:0] rs1 011 rd 0010011")
def sltiu(rs1: u64, imm: u64) -> bool:
    return rs1 < imm


@rv_i.instruction("imm[11:0] rs1 100 rd 0010011")
def xori(rs1: u64, imm: u64) -> u64:
    return rs1 ^ imm


@rv_i.instruction("imm[11:0] rs1 110 rd 0010011")
def ori(rs1: u64, imm: u64) -> u64:
    return rs1 | imm


@rv_i.instruction("imm[11:0] rs1 111 rd 0010011")
def andi(rs1: u64, imm: u64) -> u64:
    return rs1 & imm


@rv_i.instruction("000000 shamt rs1 001 rd 0010011")
def slli(rs1: u64, shamt: u64) -> u64:
    return rs1 << (shamt & 63)


@rv_i.instruction("000000 shamt rs1 101 rd 0010011")
def srli(rs1: u64, shamt: u64) -> u64:
    return rs1 >> (shamt & 63)


@rv_i.instruction("010000 shamt rs1 101 rd 0010011")
def srai(rs1: s64, shamt: u64) -> s64:
    return rs1 >> (shamt & 63)


@rv_i.instruction("imm[11:0] rs1 000 rd 0011011")
def addiw(rs1: s32, imm: s32) -> s32:
    return rs1 + imm


@rv_i.instruction("0000000 shamtw rs1 001 rd 0011011")
def slliw(rs1: s32, shamtw: u32) -> s32:
    return rs1 << (shamtw & 31)


@rv_i.instruction("0000000 shamtw rs1 101 rd 0011011")
def srliw(rs1: u32, shamtw: u32) -> s32:
    return s32(rs1 >> (shamtw & 31))


@rv_i.instruction("0100000 shamtw rs1 101 rd 0011011")
def sraiw(rs1: s32, shamtw: u32) -> s32:
    return rs1 >> (shamtw & 31)


@rv_i.instruction("0000000 rs2 rs1 000 rd 0110011")
def add(rs1: u64, rs2: u64) -> u64:
    return rs1 + rs2


@rv_i.instruction("0100000 rs2 rs1 000 rd 0110011")
def sub(rs1: u64, rs2: u64) -> u64:
    return rs1 - rs2


@rv_i.instruction("0000000 rs2 rs1 001 rd 0110011")
def sll(rs1: u64, rs2: u64) -> u64:
    return rs1 << (rs2 & 63)


@rv_i.instruction("0000000 rs2 rs1 010 rd 0110011")
def slt(rs1: s64, rs2: s64) -> bool:
    return rs1 < rs2


@rv_i.instruction("0000000 rs2 rs1 011 rd 0110011")
def sltu(rs1: u64, rs2: u64) -> bool:
    return rs1 < rs2


@rv_i.instruction("0000000 rs2 rs1 100 rd 0110011")
def xor(rs1: u64, rs2: u64) -> u64:
    return rs1 ^ rs2


@rv_i.instruction("0000000 rs2 rs1 101 rd 0110011")
def srl(rs1: u64, rs2: u64) -> u64:
    return rs1 >> (rs2 & 63)


@rv_i.instruction("0100000 rs2 rs1 101 rd 0110011")
def sra(rs1: s64, rs2: u64) -> s64:
    return rs1 >> (rs2 & 63)


@rv_i.instruction("0000000 rs2 rs1 110 rd 0110011")
def or_(rs1: u64, rs2: u64) -> u64:
    return rs1 | rs2


@rv_i.instruction("0000000 rs2 rs1 111 rd 0110011")
def and_(rs1: u64, rs2: u64) -> u64:
    return rs1 & rs2


@rv_i.instruction("0000000 rs2 rs1 000 rd 0111011")
def addw(rs1: s32, rs2: s32) -> s32:
    return rs1 + rs2


@rv_i.instruction("0100000 rs2 rs1 000 rd 0111011")
def subw(rs1: s32, rs2: s32) -> s32:
    return rs1 - rs2


@rv_i.instruction("0000000 rs2 rs1 001 rd 0111011")
def sllw(rs1: s32, rs2: u32) -> s32:
    return rs1 << (rs2 & 31)


@rv_i.instruction("0000000 rs2 rs1 101 rd 0111011")
def srlw(rs1: u32, rs2: u32) -> s32:
    return s32(rs1 >> (rs2 & 31))


@rv_i.instruction("0100000 rs2 rs1 101 rd 0111011")
def sraw(rs1: s32, rs2: u32) -> s32:
    return rs1 >> (rs2 & 31)


@rv_i.instruction("------------ ----- 000 ----- 0001111")
def fence() -> None:
    memory_fence()
