"""F and D: loads and stores, which move bits and never look at them."""

from __future__ import annotations

from maquina.cpu.riscv.memory import load32, load64, store32, store64
from maquina.cpu.riscv.state import View
from maquina.cpu.riscv.table import Extension
from maquina.jit import u32, u64

rv_fd_memory = Extension("fd")

BOX = 0xFFFFFFFF_00000000
"""A single-precision number in a register has ones above it (unprivileged manual, 21.2)."""


@rv_fd_memory.instruction("imm[11:0] rs1 010 frd 0000111")
def flw(mem: View, rs1: u64, imm: u64) -> u64:
    return u64(load32(mem, rs1 + imm)) | BOX


@rv_fd_memory.instruction("imm[11:0] rs1 011 frd 0000111")
def fld(mem: View, rs1: u64, imm: u64) -> u64:
    return load64(mem, rs1 + imm)


@rv_fd_memory.instruction("imm[11:5] frs2 rs1 010 imm[4:0] 0100111")
def fsw(mem: View, rs1: u64, frs2: u64, imm: u64) -> None:
    store32(mem, rs1 + imm, u32(frs2))


@rv_fd_memory.instruction("imm[11:5] frs2 rs1 011 imm[4:0] 0100111")
def fsd(mem: View, rs1: u64, frs2: u64, imm: u64) -> None:
    store64(mem, rs1 + imm, frs2)
