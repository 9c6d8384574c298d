"""Zbs: single-bit instructions (unprivileged manual, chapter 28.4.4)."""

from __future__ import annotations

from maquina.cpu.riscv.table import Extension
from maquina.jit import u64

rv_zbs = Extension("zbs")


@rv_zbs.instruction("0100100 rs2 rs1 001 rd 0110011")
def bclr(rs1: u64, rs2: u64) -> u64:
    return rs1 & ~(u64(1) << (rs2 & 63))


@rv_zbs.instruction("010010 shamt rs1 001 rd 0010011")
def bclri(rs1: u64, shamt: u64) -> u64:
    return rs1 & ~(u64(1) << (shamt & 63))


@rv_zbs.instruction("0100100 rs2 rs1 101 rd 0110011")
def bext(rs1: u64, rs2: u64) -> u64:
    return rs1 >> (rs2 & 63) & 1


@rv_zbs.instruction("010010 shamt rs1 101 rd 0010011")
def bexti(rs1: u64, shamt: u64) -> u64:
    return rs1 >> (shamt & 63) & 1


@rv_zbs.instruction("0110100 rs2 rs1 001 rd 0110011")
def binv(rs1: u64, rs2: u64) -> u64:
    return rs1 ^ u64(1) << (rs2 & 63)


@rv_zbs.instruction("011010 shamt rs1 001 rd 0010011")
def binvi(rs1: u64, shamt: u64) -> u64:
    return rs1 ^ u64(1) << (shamt & 63)


@rv_zbs.instruction("0010100 rs2 rs1 001 rd 0110011")
def bset(rs1: u64, rs2: u64) -> u64:
    return rs1 | u64(1) << (rs2 & 63)


@rv_zbs.instruction("001010 shamt rs1 001 rd 0010011")
def bseti(rs1: u64, shamt: u64) -> u64:
    return rs1 | u64(1) << (shamt & 63)
