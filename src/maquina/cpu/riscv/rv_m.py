"""M: multiplication and division (unprivileged manual, chapter 12)."""

from __future__ import annotations

from maquina.cpu.riscv.table import Extension
from maquina.jit import quotient, remainder, s32, s64, s128, u32, u64, u128

rv_m = Extension("m")

S64_MIN = s64(s64.minimum)
S32_MIN = s32(s32.minimum)


@rv_m.instruction("0000001 rs2 rs1 000 rd 0110011")
def mul(rs1: u64, rs2: u64) -> u64:
    return rs1 * rs2


@rv_m.instruction("0000001 rs2 rs1 001 rd 0110011")
def mulh(rs1: s64, rs2: s64) -> s64:
    return s64(s128(rs1) * s128(rs2) >> 64)


@rv_m.instruction("0000001 rs2 rs1 010 rd 0110011")
def mulhsu(rs1: s64, rs2: u64) -> s64:
    return s64(s128(rs1) * s128(rs2) >> 64)


@rv_m.instruction("0000001 rs2 rs1 011 rd 0110011")
def mulhu(rs1: u64, rs2: u64) -> u64:
    return u64(u128(rs1) * u128(rs2) >> 64)


@rv_m.instruction("0000001 rs2 rs1 100 rd 0110011")
def div(rs1: s64, rs2: s64) -> s64:
    if rs2 == 0:
        return s64(-1)
    if rs1 == S64_MIN and rs2 == -1:
        return rs1
    return quotient(rs1, rs2)


@rv_m.instruction("0000001 rs2 rs1 101 rd 0110011")
def divu(rs1: u64, rs2: u64) -> u64:
    return ~u64(0) if rs2 == 0 else rs1 // rs2


@rv_m.instruction("0000001 rs2 rs1 110 rd 0110011")
def rem(rs1: s64, rs2: s64) -> s64:
    if rs2 == 0:
        return rs1
    if rs1 == S64_MIN and rs2 == -1:
        return s64(0)
    return remainder(rs1, rs2)


@rv_m.instruction("0000001 rs2 rs1 111 rd 0110011")
def remu(rs1: u64, rs2: u64) -> u64:
    return rs1 if rs2 == 0 else rs1 % rs2


@rv_m.instruction("0000001 rs2 rs1 000 rd 0111011")
def mulw(rs1: s32, rs2: s32) -> s32:
    return rs1 * rs2


@rv_m.instruction("0000001 rs2 rs1 100 rd 0111011")
def divw(rs1: s32, rs2: s32) -> s32:
    if rs2 == 0:
        return s32(-1)
    if rs1 == S32_MIN and rs2 == -1:
        return rs1
    return quotient(rs1, rs2)


@rv_m.instruction("0000001 rs2 rs1 101 rd 0111011")
def divuw(rs1: u32, rs2: u32) -> s32:
    return s32(-1) if rs2 == 0 else s32(rs1 // rs2)


@rv_m.instruction("0000001 rs2 rs1 110 rd 0111011")
def remw(rs1: s32, rs2: s32) -> s32:
    if rs2 == 0:
        return rs1
    if rs1 == S32_MIN and rs2 == -1:
        return s32(0)
    return remainder(rs1, rs2)


@rv_m.instruction("0000001 rs2 rs1 111 rd 0111011")
def remuw(rs1: u32, rs2: u32) -> s32:
    return s32(rs1) if rs2 == 0 else s32(rs1 % rs2)
