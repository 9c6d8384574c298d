"""Zba: address generation (unprivileged manual, chapter 28.4.1)."""

from __future__ import annotations

from maquina.cpu.riscv.table import Extension
from maquina.jit import u32, u64

rv_zba = Extension("zba")


@rv_zba.instruction("0010000 rs2 rs1 010 rd 0110011")
def sh1add(rs1: u64, rs2: u64) -> u64:
    return (rs1 << 1) + rs2


@rv_zba.instruction("0010000 rs2 rs1 100 rd 0110011")
def sh2add(rs1: u64, rs2: u64) -> u64:
    return (rs1 << 2) + rs2


@rv_zba.instruction("0010000 rs2 rs1 110 rd 0110011")
def sh3add(rs1: u64, rs2: u64) -> u64:
    return (rs1 << 3) + rs2


@rv_zba.instruction("0000100 rs2 rs1 000 rd 0111011")
def add_uw(rs1: u32, rs2: u64) -> u64:
    return u64(rs1) + rs2


@rv_zba.instruction("0010000 rs2 rs1 010 rd 0111011")
def sh1add_uw(rs1: u32, rs2: u64) -> u64:
    return (u64(rs1) << 1) + rs2


@rv_zba.instruction("0010000 rs2 rs1 100 rd 0111011")
def sh2add_uw(rs1: u32, rs2: u64) -> u64:
    return (u64(rs1) << 2) + rs2


@rv_zba.instruction("0010000 rs2 rs1 110 rd 0111011")
def sh3add_uw(rs1: u32, rs2: u64) -> u64:
    return (u64(rs1) << 3) + rs2


@rv_zba.instruction("000010 shamt rs1 001 rd 0011011")
def slli_uw(rs1: u32, shamt: u64) -> u64:
    return u64(rs1) << (shamt & 63)
