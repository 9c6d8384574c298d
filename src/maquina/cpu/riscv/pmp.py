"""Physical memory protection registers (privileged manual, section 3.7).

Sixteen regions with a grain of one page: the low bits of an address register read as the manual
prescribes for that grain, and a region always holds whole pages.
"""

from __future__ import annotations

from maquina.cpu.riscv.csr_numbers import PMPADDR0, PMPCFG0
from maquina.cpu.riscv.state import HartState
from maquina.jit import native, span, trailing_zeros, u64

PMP_ENTRIES = 16
LOCKED, OFF, TOR, NA4, NAPOT = 0x80, 0, 1, 2, 3
GRAIN_MASK = (1 << 10) - 1
"""Bits of an address register below one page: it holds address bits 55..2."""
ADDRESS_MASK = (1 << 54) - 1


@native(inline=True)
def configuration(hart: HartState, entry: u64) -> u64:
    """The configuration byte of a region."""
    return hart.csr[PMPCFG0 + (entry >> 3 << 1)] >> 8 * (entry & 7) & 255


@native
def write_configuration(hart: HartState, number: u64, value: u64) -> None:
    """pmpcfg0 or pmpcfg2: locked bytes and impossible combinations keep their value."""
    old = hart.csr[number]
    new = u64(0)
    for i in span(u64(0), u64(8)):
        byte = value >> 8 * i & 0x9F
        kept = old >> 8 * i & 255
        if kept & LOCKED != 0 or byte & 3 == 2:
            byte = kept
        elif byte >> 3 & 3 == NA4:
            byte = byte & ~u64(0x18) | kept & 0x18
        new |= byte << 8 * i
    hart.csr[number] = new


@native
def write_pmp(hart: HartState, number: u64, value: u64) -> None:
    """Write a register of this unit and derive the regions anew."""
    if number >= PMPADDR0:
        entry = number - PMPADDR0
        locked = configuration(hart, entry) & LOCKED != 0
        if entry + 1 < PMP_ENTRIES:
            following = configuration(hart, entry + 1)
            if following & LOCKED != 0 and following >> 3 & 3 == TOR:
                locked = True
        if not locked:
            hart.csr[number] = value & ADDRESS_MASK
    elif number - PMPCFG0 < PMP_ENTRIES // 4:
        write_configuration(hart, number, value)
    derive_regions(hart)
    hart.changed = u64(2)


@native
def derive_regions(hart: HartState) -> None:
    """The regions that are on, as address ranges in order of precedence."""
    count = u64(0)
    for entry in span(u64(0), u64(PMP_ENTRIES)):
        flags = configuration(hart, entry)
        mode = flags >> 3 & 3
        address = hart.csr[PMPADDR0 + entry]
        low = u64(0)
        high = (address & ~u64(GRAIN_MASK)) << 2
        if mode == TOR:
            if entry != 0:
                low = (hart.csr[PMPADDR0 + entry - 1] & ~u64(GRAIN_MASK)) << 2
        elif mode == NAPOT:
            ones = trailing_zeros(~(address | GRAIN_MASK >> 1))
            size = u64(8) << ones
            low = (address << 2) & ~(size - 1)
            high = low + size
        if mode != OFF and low < high:
            hart.pmp_low[count] = low
            hart.pmp_high[count] = high
            hart.pmp_flags[count] = flags
            count += 1
    hart.pmp_count = count


@native
def read_pmp_address(hart: HartState, number: u64) -> u64:
    """pmpaddr as the grain makes it read: ones below a NAPOT region's grain, else zeros."""
    value = hart.csr[number]
    if configuration(hart, number - PMPADDR0) & 0x10 != 0:
        return value | GRAIN_MASK >> 1
    return value & ~u64(GRAIN_MASK)
