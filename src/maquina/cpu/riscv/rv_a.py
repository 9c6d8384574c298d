"""A: atomic instructions (unprivileged manual, chapter 13).

A store-conditional succeeds if the word still has the value that the load-reserved saw: it is a
compare-and-exchange of the host. Words that went from one value to another and back are not told
apart, which no guest that follows the manual's constrained loops can observe.
"""

from __future__ import annotations

from maquina.cpu.riscv.causes import LOAD_MISALIGNED, STORE_MISALIGNED
from maquina.cpu.riscv.memory import host_for_atomic, load32, load64
from maquina.cpu.riscv.state import PAGE_BITS, PAGE_MASK, TLB_ENTRIES, HartState, View
from maquina.cpu.riscv.table import Extension
from maquina.jit import (
    Ptr,
    Trap,
    atomic_add,
    atomic_and,
    atomic_max,
    atomic_min,
    atomic_or,
    atomic_swap,
    atomic_xor,
    compare_exchange,
    native,
    s32,
    s64,
    u32,
    u64,
)  # fmt: skip

rv_a = Extension("a")


@native(inline=True)
def aligned(mem: View, address: u64, size: u64) -> u64:
    """The host address for a read-modify-write."""
    if address & size - 1 != 0:
        raise Trap(STORE_MISALIGNED, address)
    return host_for_atomic(mem, address)


@native(inline=True)
def reserve(mem: View, address: u64, value: u64) -> None:
    """Remember what was loaded; device registers cannot be reserved."""
    hart = HartState.at(mem.hart)
    entry = mem.load[address >> PAGE_BITS & (TLB_ENTRIES - 1)]
    hart.reservation = u64(0)
    if entry.tag == address & ~u64(PAGE_MASK):
        hart.reservation = address + entry.offset
    hart.reserved = value


@rv_a.instruction("00010 -- 00000 rs1 010 rd 0101111")
def lr_w(mem: View, rs1: u64) -> s32:
    if rs1 & 3 != 0:
        raise Trap(LOAD_MISALIGNED, rs1)
    value = load32(mem, rs1)
    reserve(mem, rs1, u64(value))
    return s32(value)


@rv_a.instruction("00010 -- 00000 rs1 011 rd 0101111")
def lr_d(mem: View, rs1: u64) -> u64:
    if rs1 & 7 != 0:
        raise Trap(LOAD_MISALIGNED, rs1)
    value = load64(mem, rs1)
    reserve(mem, rs1, value)
    return value


@rv_a.instruction("00011 -- rs2 rs1 010 rd 0101111")
def sc_w(mem: View, rs1: u64, rs2: u32) -> bool:
    host = aligned(mem, rs1, u64(4))
    hart = HartState.at(mem.hart)
    is_reserved = host == hart.reservation
    hart.reservation = u64(0)
    if not is_reserved:
        return True
    return compare_exchange(Ptr[u32](host), u32(hart.reserved), rs2) != u32(hart.reserved)


@rv_a.instruction("00011 -- rs2 rs1 011 rd 0101111")
def sc_d(mem: View, rs1: u64, rs2: u64) -> bool:
    host = aligned(mem, rs1, u64(8))
    hart = HartState.at(mem.hart)
    is_reserved = host == hart.reservation
    hart.reservation = u64(0)
    if not is_reserved:
        return True
    return compare_exchange(Ptr[u64](host), hart.reserved, rs2) != hart.reserved


@rv_a.instruction("00001 -- rs2 rs1 010 rd 0101111")
def amoswap_w(mem: View, rs1: u64, rs2: u32) -> s32:
    return s32(atomic_swap(Ptr[u32](aligned(mem, rs1, u64(4))), rs2))


@rv_a.instruction("00001 -- rs2 rs1 011 rd 0101111")
def amoswap_d(mem: View, rs1: u64, rs2: u64) -> u64:
    return atomic_swap(Ptr[u64](aligned(mem, rs1, u64(8))), rs2)


@rv_a.instruction("00000 -- rs2 rs1 010 rd 0101111")
def amoadd_w(mem: View, rs1: u64, rs2: u32) -> s32:
    return s32(atomic_add(Ptr[u32](aligned(mem, rs1, u64(4))), rs2))


@rv_a.instruction("00000 -- rs2 rs1 011 rd 0101111")
def amoadd_d(mem: View, rs1: u64, rs2: u64) -> u64:
    return atomic_add(Ptr[u64](aligned(mem, rs1, u64(8))), rs2)


@rv_a.instruction("00100 -- rs2 rs1 010 rd 0101111")
def amoxor_w(mem: View, rs1: u64, rs2: u32) -> s32:
    return s32(atomic_xor(Ptr[u32](aligned(mem, rs1, u64(4))), rs2))


@rv_a.instruction("00100 -- rs2 rs1 011 rd 0101111")
def amoxor_d(mem: View, rs1: u64, rs2: u64) -> u64:
    return atomic_xor(Ptr[u64](aligned(mem, rs1, u64(8))), rs2)


@rv_a.instruction("01100 -- rs2 rs1 010 rd 0101111")
def amoand_w(mem: View, rs1: u64, rs2: u32) -> s32:
    return s32(atomic_and(Ptr[u32](aligned(mem, rs1, u64(4))), rs2))


@rv_a.instruction("01100 -- rs2 rs1 011 rd 0101111")
def amoand_d(mem: View, rs1: u64, rs2: u64) -> u64:
    return atomic_and(Ptr[u64](aligned(mem, rs1, u64(8))), rs2)


@rv_a.instruction("01000 -- rs2 rs1 010 rd 0101111")
def amoor_w(mem: View, rs1: u64, rs2: u32) -> s32:
    return s32(atomic_or(Ptr[u32](aligned(mem, rs1, u64(4))), rs2))


@rv_a.instruction("01000 -- rs2 rs1 011 rd 0101111")
def amoor_d(mem: View, rs1: u64, rs2: u64) -> u64:
    return atomic_or(Ptr[u64](aligned(mem, rs1, u64(8))), rs2)


@rv_a.instruction("10000 -- rs2 rs1 010 rd 0101111")
def amomin_w(mem: View, rs1: u64, rs2: s32) -> s32:
    return atomic_min(Ptr[s32](aligned(mem, rs1, u64(4))), rs2)


@rv_a.instruction("10000 -- rs2 rs1 011 rd 0101111")
def amomin_d(mem: View, rs1: u64, rs2: s64) -> u64:
    return u64(atomic_min(Ptr[s64](aligned(mem, rs1, u64(8))), rs2))


@rv_a.instruction("10100 -- rs2 rs1 010 rd 0101111")
def amomax_w(mem: View, rs1: u64, rs2: s32) -> s32:
    return atomic_max(Ptr[s32](aligned(mem, rs1, u64(4))), rs2)


@rv_a.instruction("10100 -- rs2 rs1 011 rd 0101111")
def amomax_d(mem: View, rs1: u64, rs2: s64) -> u64:
    return u64(atomic_max(Ptr[s64](aligned(mem, rs1, u64(8))), rs2))


@rv_a.instruction("11000 -- rs2 rs1 010 rd 0101111")
def amominu_w(mem: View, rs1: u64, rs2: u32) -> s32:
    return s32(atomic_min(Ptr[u32](aligned(mem, rs1, u64(4))), rs2))


@rv_a.instruction("11000 -- rs2 rs1 011 rd 0101111")
def amominu_d(mem: View, rs1: u64, rs2: u64) -> u64:
    return atomic_min(Ptr[u64](aligned(mem, rs1, u64(8))), rs2)


@rv_a.instruction("11100 -- rs2 rs1 010 rd 0101111")
def amomaxu_w(mem: View, rs1: u64, rs2: u32) -> s32:
    return s32(atomic_max(Ptr[u32](aligned(mem, rs1, u64(4))), rs2))


@rv_a.instruction("11100 -- rs2 rs1 011 rd 0101111")
def amomaxu_d(mem: View, rs1: u64, rs2: u64) -> u64:
    return atomic_max(Ptr[u64](aligned(mem, rs1, u64(8))), rs2)
