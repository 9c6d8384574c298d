"""Zbb: basic bit manipulation (unprivileged manual, chapter 28.4.2)."""

from __future__ import annotations

from maquina.cpu.riscv.table import Extension
from maquina.jit import (
    byte_swap,
    leading_zeros,
    population,
    rotate_left,
    rotate_right,
    s8,
    s16,
    s32,
    s64,
    trailing_zeros,
    u16,
    u32,
    u64,
)  # fmt: skip

rv_zbb = Extension("zbb")


@rv_zbb.instruction("0100000 rs2 rs1 111 rd 0110011")
def andn(rs1: u64, rs2: u64) -> u64:
    return rs1 & ~rs2


@rv_zbb.instruction("0100000 rs2 rs1 110 rd 0110011")
def orn(rs1: u64, rs2: u64) -> u64:
    return rs1 | ~rs2


@rv_zbb.instruction("0100000 rs2 rs1 100 rd 0110011")
def xnor(rs1: u64, rs2: u64) -> u64:
    return ~(rs1 ^ rs2)


@rv_zbb.instruction("0110000 00000 rs1 001 rd 0010011")
def clz(rs1: u64) -> u64:
    return leading_zeros(rs1)


@rv_zbb.instruction("0110000 00001 rs1 001 rd 0010011")
def ctz(rs1: u64) -> u64:
    return trailing_zeros(rs1)


@rv_zbb.instruction("0110000 00010 rs1 001 rd 0010011")
def cpop(rs1: u64) -> u64:
    return population(rs1)


@rv_zbb.instruction("0110000 00000 rs1 001 rd 0011011")
def clzw(rs1: u32) -> u32:
    return leading_zeros(rs1)


@rv_zbb.instruction("0110000 00001 rs1 001 rd 0011011")
def ctzw(rs1: u32) -> u32:
    return trailing_zeros(rs1)


@rv_zbb.instruction("0110000 00010 rs1 001 rd 0011011")
def cpopw(rs1: u32) -> u32:
    return population(rs1)


@rv_zbb.instruction("0000101 rs2 rs1 110 rd 0110011")
def max_(rs1: s64, rs2: s64) -> s64:
    return rs1 if rs1 > rs2 else rs2


@rv_zbb.instruction("0000101 rs2 rs1 111 rd 0110011")
def maxu(rs1: u64, rs2: u64) -> u64:
    return rs1 if rs1 > rs2 else rs2


@rv_zbb.instruction("0000101 rs2 rs1 100 rd 0110011")
def min_(rs1: s64, rs2: s64) -> s64:
    return rs1 if rs1 < rs2 else rs2


@rv_zbb.instruction("0000101 rs2 rs1 101 rd 0110011")
def minu(rs1: u64, rs2: u64) -> u64:
    return rs1 if rs1 < rs2 else rs2


@rv_zbb.instruction("0110000 00100 rs1 001 rd 0010011")
def sext_b(rs1: s8) -> s8:
    return rs1


@rv_zbb.instruction("0110000 00101 rs1 001 rd 0010011")
def sext_h(rs1: s16) -> s16:
    return rs1


@rv_zbb.instruction("0000100 00000 rs1 100 rd 0111011")
def zext_h(rs1: u16) -> u16:
    return rs1


@rv_zbb.instruction("0110000 rs2 rs1 001 rd 0110011")
def rol(rs1: u64, rs2: u64) -> u64:
    return rotate_left(rs1, rs2 & 63)


@rv_zbb.instruction("0110000 rs2 rs1 001 rd 0111011")
def rolw(rs1: u32, rs2: u32) -> s32:
    return s32(rotate_left(rs1, rs2 & 31))


@rv_zbb.instruction("0110000 rs2 rs1 101 rd 0110011")
def ror(rs1: u64, rs2: u64) -> u64:
    return rotate_right(rs1, rs2 & 63)


@rv_zbb.instruction("011000 shamt rs1 101 rd 0010011")
def rori(rs1: u64, shamt: u64) -> u64:
    return rotate_right(rs1, shamt & 63)


@rv_zbb.instruction("0110000 shamtw rs1 101 rd 0011011")
def roriw(rs1: u32, shamtw: u32) -> s32:
    return s32(rotate_right(rs1, shamtw & 31))


@rv_zbb.instruction("0110000 rs2 rs1 101 rd 0111011")
def rorw(rs1: u32, rs2: u32) -> s32:
    return s32(rotate_right(rs1, rs2 & 31))


@rv_zbb.instruction("0010100 00111 rs1 101 rd 0010011")
def orc_b(rs1: u64) -> u64:
    any_bit = rs1 | (rs1 >> 1 & 0x7F7F7F7F7F7F7F7F)
    any_bit |= any_bit >> 2 & 0x3F3F3F3F3F3F3F3F
    any_bit |= any_bit >> 4 & 0x0F0F0F0F0F0F0F0F
    return (any_bit & 0x0101010101010101) * 0xFF


@rv_zbb.instruction("0110101 11000 rs1 101 rd 0010011")
def rev8(rs1: u64) -> u64:
    return byte_swap(rs1)
