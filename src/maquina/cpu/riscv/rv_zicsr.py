"""Zicsr: access to control and status registers (unprivileged manual, chapter 6)."""

from __future__ import annotations

from maquina.cpu.riscv.csr import check_access, read_csr, write_csr
from maquina.cpu.riscv.csr_numbers import MIP
from maquina.cpu.riscv.state import HartState
from maquina.cpu.riscv.table import Extension, Kind
from maquina.jit import native, u64

rv_zicsr = Extension("zicsr")


@native
def exchange(hart: HartState, csr: u64, value: u64) -> u64:
    check_access(hart, csr, True)
    old = read_csr(hart, csr)
    write_csr(hart, csr, value)
    return old


@native
def update(hart: HartState, csr: u64, ones: u64, zeros: u64, writes: bool) -> u64:
    """Set and clear bits. What a device asserts in mip is read but not written back."""
    check_access(hart, csr, writes)
    old = read_csr(hart, csr)
    if writes:
        kept = hart.csr[MIP] if csr == MIP else old
        write_csr(hart, csr, (kept | ones) & ~zeros)
    return old


@rv_zicsr.instruction("csr rs1 001 rd 1110011", Kind.CONTROL)
def csrrw(hart: HartState, csr: u64, rs1: u64) -> u64:
    return exchange(hart, csr, rs1)


@rv_zicsr.instruction("csr rs1 010 rd 1110011", Kind.CONTROL)
def csrrs(hart: HartState, csr: u64, rs1: u64, uimm: u64) -> u64:
    return update(hart, csr, rs1, u64(0), uimm != 0)


@rv_zicsr.instruction("csr rs1 011 rd 1110011", Kind.CONTROL)
def csrrc(hart: HartState, csr: u64, rs1: u64, uimm: u64) -> u64:
    return update(hart, csr, u64(0), rs1, uimm != 0)


@rv_zicsr.instruction("csr uimm 101 rd 1110011", Kind.CONTROL)
def csrrwi(hart: HartState, csr: u64, uimm: u64) -> u64:
    return exchange(hart, csr, uimm)


@rv_zicsr.instruction("csr uimm 110 rd 1110011", Kind.CONTROL)
def csrrsi(hart: HartState, csr: u64, uimm: u64) -> u64:
    return update(hart, csr, uimm, u64(0), uimm != 0)


@rv_zicsr.instruction("csr uimm 111 rd 1110011", Kind.CONTROL)
def csrrci(hart: HartState, csr: u64, uimm: u64) -> u64:
    return update(hart, csr, u64(0), uimm, uimm != 0)
