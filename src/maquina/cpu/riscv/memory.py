"""Loads and stores: the TLB check that instructions carry, and what happens when it fails.

The fast path compares a virtual page, and the address bits that must be zero for alignment, with
a TLB entry. Everything else comes here: the page walk, misaligned accesses (done as hardware that
supports them does), accesses that span two pages, device registers, stores into decoded code.
"""

from __future__ import annotations

from maquina.cpu.riscv.border import enter_native, leave_native
from maquina.cpu.riscv.causes import LOAD_ACCESS_FAULT, STORE_ACCESS_FAULT
from maquina.cpu.riscv.code import code_written
from maquina.cpu.riscv.mmu import is_ram, translate_load, translate_store
from maquina.cpu.riscv.state import PAGE_BITS, PAGE_MASK, TLB_ENTRIES, HartState, View
from maquina.jit import (
    Native,
    Ptr,
    Trap,
    W,
    call_address,
    likely,
    native,
    pointer,
    s64,
    span,
    u8,
    u16,
    u32,
    u64,
)  # fmt: skip


@native(external=True)
def mmio_read(address: u64, size: u64) -> u64:  # type: ignore[empty-body]
    """What `HartState.mmio_read` points to: a device answers; `mmio_fault` is set if none does."""


@native(external=True)
def mmio_write(address: u64, size: u64, value: u64) -> None:
    """What `HartState.mmio_write` points to."""


@native
def load_physical(hart: HartState, physical: u64, size: u64, address: u64) -> u64:
    """Read RAM or a device register; an access fault if neither is there."""
    if likely(is_ram(hart, physical)):
        host = hart.memory + (physical - hart.memory_base)
        match size:
            case 1:
                return u64(Ptr[u8](host)[0])
            case 2:
                return u64(Ptr[u16](host)[0])
            case 4:
                return u64(Ptr[u32](host)[0])
            case _:
                return Ptr[u64](host)[0]
    leave_native(hart)
    value = call_address(mmio_read, hart.mmio_read, physical, size)
    enter_native(hart)
    if hart.mmio_fault != 0:
        hart.mmio_fault = u64(0)
        raise Trap(LOAD_ACCESS_FAULT, address)
    return value


@native
def store_physical(hart: HartState, physical: u64, size: u64, value: u64, address: u64) -> None:
    """Write RAM or a device register; an access fault if neither is there."""
    if likely(is_ram(hart, physical)):
        offset = physical - hart.memory_base
        host = hart.memory + offset
        match size:
            case 1:
                Ptr[u8](host)[0] = u8(value)
            case 2:
                Ptr[u16](host)[0] = u16(value)
            case 4:
                Ptr[u32](host)[0] = u32(value)
            case _:
                Ptr[u64](host)[0] = value
        if hart.code_pages[offset >> PAGE_BITS] != 0:
            code_written(hart, offset, size)
        return
    leave_native(hart)
    call_address(mmio_write, hart.mmio_write, physical, size, value)
    enter_native(hart)
    if hart.mmio_fault != 0:
        hart.mmio_fault = u64(0)
        raise Trap(STORE_ACCESS_FAULT, address)


@native
def load_across(hart: HartState, address: u64, size: u64) -> u64:
    """A load that spans two pages: both are translated before anything is read."""
    second = (address | PAGE_MASK) + 1
    low = translate_load(hart, address)
    high = translate_load(hart, second)
    value = u64(0)
    for i in span(u64(0), size):
        at = address + i
        physical = low + i if at < second else high + (at - second)
        value |= load_physical(hart, physical, u64(1), address) << 8 * i
    return value


@native
def store_across(hart: HartState, address: u64, size: u64, value: u64) -> None:
    """A store that spans two pages: both are translated before anything is written."""
    second = (address | PAGE_MASK) + 1
    low = translate_store(hart, address)
    high = translate_store(hart, second)
    for i in span(u64(0), size):
        at = address + i
        physical = low + i if at < second else high + (at - second)
        store_physical(hart, physical, u64(1), value >> 8 * i & 255, address)


@native(cold=True, convention="preserve_most")
def load_slow(view: View, address: u64, size: u64) -> u64:
    """A load that missed the TLB; enters the page if it is RAM."""
    hart = HartState.at(view.hart)
    if (address & PAGE_MASK) + size > PAGE_MASK + 1:
        return load_across(hart, address, size)
    physical = translate_load(hart, address)
    hart.misses += 1
    if likely(is_ram(hart, physical)):
        entry = view.load[address >> PAGE_BITS & (TLB_ENTRIES - 1)]
        entry.tag = address & ~u64(PAGE_MASK)
        entry.offset = hart.memory + (physical - hart.memory_base) - address
    return load_physical(hart, physical, size, address)


@native(cold=True, convention="preserve_most")
def store_slow(view: View, address: u64, size: u64, value: u64) -> None:
    """A store that missed the TLB; enters the page if it is RAM without decoded code."""
    hart = HartState.at(view.hart)
    if (address & PAGE_MASK) + size > PAGE_MASK + 1:
        store_across(hart, address, size, value)
        return
    physical = translate_store(hart, address)
    hart.misses += 1
    store_physical(hart, physical, size, value, address)
    if likely(is_ram(hart, physical)):
        offset = physical - hart.memory_base
        if likely(hart.code_pages[offset >> PAGE_BITS] == 0):
            entry = view.store[address >> PAGE_BITS & (TLB_ENTRIES - 1)]
            entry.tag = address & ~u64(PAGE_MASK)
            entry.offset = hart.memory + offset - address


def accessors(kind: type[W]) -> tuple[Native[[View, u64], W], Native[[View, u64, W], None]]:
    """load and store of one size."""
    size = u64(kind.bits // 8)
    compared = u64(s64(~PAGE_MASK | kind.bits // 8 - 1))

    @native(name=f"riscv.load.{kind.__name__}", inline=True, types={"W": kind})
    def load(mem: View, address: u64) -> W:
        entry = mem.load[address >> PAGE_BITS & (TLB_ENTRIES - 1)]
        if likely(address & compared == entry.tag):
            return pointer(kind, address + entry.offset)[0]
        return kind(load_slow(mem, address, size))

    @native(name=f"riscv.store.{kind.__name__}", inline=True, types={"W": kind})
    def store(mem: View, address: u64, value: W) -> None:
        entry = mem.store[address >> PAGE_BITS & (TLB_ENTRIES - 1)]
        if likely(address & compared == entry.tag):
            pointer(kind, address + entry.offset)[0] = value
        else:
            store_slow(mem, address, size, u64(value))

    return load, store


load8, store8 = accessors(u8)
load16, store16 = accessors(u16)
load32, store32 = accessors(u32)
load64, store64 = accessors(u64)


@native
def host_for_atomic(mem: View, address: u64) -> u64:
    """The host address of a word of RAM for a read-modify-write; a trap unless it is writable.

    Decoded code in the page is dropped beforehand: what the instruction writes is code then only
    if it runs later.
    """
    entry = mem.store[address >> PAGE_BITS & (TLB_ENTRIES - 1)]
    if likely(address & ~u64(PAGE_MASK) == entry.tag):
        return address + entry.offset
    hart = HartState.at(mem.hart)
    physical = translate_store(hart, address)
    if not is_ram(hart, physical):
        raise Trap(STORE_ACCESS_FAULT, address)
    offset = physical - hart.memory_base
    if hart.code_pages[offset >> PAGE_BITS] != 0:
        code_written(hart, offset, u64(8))
    else:
        entry.tag = address & ~u64(PAGE_MASK)
        entry.offset = hart.memory + offset - address
    return hart.memory + offset
