"""Virtual memory: the page walk of Sv39 and Sv48, and physical memory protection.

Privileged manual, sections 4.3.2 (translation), 4.4, 4.5 and 3.7 (PMP). PMP regions have a grain
of one page, so that a translation is allowed or refused as a whole.
"""

from __future__ import annotations

from maquina.cpu.riscv.causes import (
    ADUE,
    INSTRUCTION_ACCESS_FAULT,
    INSTRUCTION_PAGE_FAULT,
    LOAD_ACCESS_FAULT,
    LOAD_PAGE_FAULT,
    MACHINE,
    MXR,
    STORE_ACCESS_FAULT,
    STORE_PAGE_FAULT,
    SUM,
    SUPERVISOR,
    USER,
)  # fmt: skip
from maquina.cpu.riscv.csr_numbers import MENVCFG, MSTATUS, SATP
from maquina.cpu.riscv.state import PAGE_BITS, HartState, View
from maquina.jit import Native, Ptr, Trap, compare_exchange, likely, native, s64, span, u64

FETCH, LOAD, STORE = 0, 1, 2
PAGE_FAULT = (INSTRUCTION_PAGE_FAULT, LOAD_PAGE_FAULT, STORE_PAGE_FAULT)
ACCESS_FAULT = (INSTRUCTION_ACCESS_FAULT, LOAD_ACCESS_FAULT, STORE_ACCESS_FAULT)

# Page-table entry (privileged manual, figure "Sv39 page table entry").
V, R, W, X, U, A, D = (1 << n for n in (0, 1, 2, 3, 4, 6, 7))
RESERVED = 0x3FF << 54  # PBMT and N without their extensions, and the reserved bits
NEEDED = (X, R, W)
PPN_MASK = (1 << 44) - 1
BARE, SV39, SV48 = 0, 8, 9

PMP_R, PMP_W, PMP_X, PMP_LOCKED = 1, 2, 4, 0x80
PMP_NEEDED = (PMP_X, PMP_R, PMP_W)
ADDRESS_LIMIT = 1 << 56
"""Physical addresses have 56 bits."""


@native
def pmp_allows(hart: HartState, physical: u64, needed: u64, privilege: u64) -> bool:
    """Whether an access within one page is allowed: the first region that matches decides."""
    for i in span(hart.pmp_count):
        if physical >= hart.pmp_low[i] and physical < hart.pmp_high[i]:
            flags = hart.pmp_flags[i]
            return (privilege == MACHINE and flags & PMP_LOCKED == 0) or flags & needed != 0
    return privilege == MACHINE


@native(inline=True)
def is_ram(hart: HartState, physical: u64) -> bool:
    return physical - hart.memory_base < hart.memory_size


@native(inline=True)
def note_large_page(view: View, address: u64, size: u64) -> None:
    """Remember that translations of a superpage are in this view as single pages."""
    first = address & ~(size - 1)
    if view.large_high == 0 or first < view.large_low:
        view.large_low = first
    if first + size - 1 > view.large_high:
        view.large_high = first + size - 1


def permission(access: int) -> Native[[HartState, u64, u64], bool]:
    """Whether a leaf entry allows an access (privileged manual, section 4.3.1)."""
    needed, is_fetch, is_load = NEEDED[access], access == FETCH, access == LOAD

    @native(name=f"riscv.permits.{access}", inline=True)
    def permits(hart: HartState, privilege: u64, entry: u64) -> bool:
        status = hart.csr[MSTATUS]
        allowed = entry & needed != 0
        if is_load:
            allowed = allowed or (status & MXR != 0 and entry & X != 0)
        if privilege == USER:
            return allowed and entry & U != 0
        if is_fetch:
            return allowed and entry & U == 0
        return allowed and (entry & U == 0 or status & SUM != 0)

    return permits


def marker(access: int) -> Native[[HartState, u64, u64, u64], bool]:
    """Setting the accessed and dirty bits of a leaf entry (Svadu), or trapping (Svade)."""
    page_fault, access_fault = PAGE_FAULT[access], ACCESS_FAULT[access]
    marks = A | D if access == STORE else A

    @native(name=f"riscv.mark.{access}", inline=True)
    def mark(hart: HartState, where: u64, entry: u64, address: u64) -> bool:
        """False if the entry, which is at `where` in RAM, has changed meanwhile."""
        if likely(entry & marks == marks):
            return True
        if hart.csr[MENVCFG] & ADUE == 0:
            raise Trap(page_fault, address)
        if not pmp_allows(hart, where, u64(PMP_W), u64(SUPERVISOR)):
            raise Trap(access_fault, address)
        place = Ptr[u64](hart.memory + (where - hart.memory_base))
        return compare_exchange(place, entry, entry | marks) == entry

    return mark


@native(inline=True)
def is_canonical(address: u64, mode: u64) -> bool:
    """Whether the bits above the virtual address repeat its highest one."""
    unused = u64(25) if mode == SV39 else u64(16)
    return s64(address << unused) >> unused == s64(address)


def leaf_reader(access: int) -> Native[[HartState, u64, u64, u64], u64]:
    """What a leaf entry says of an address: the guest-physical one, or a trap."""
    page_fault, is_fetch, permits = PAGE_FAULT[access], access == FETCH, permission(access)

    @native(name=f"riscv.leaf.{access}", inline=True)
    def leaf(hart: HartState, address: u64, entry: u64, shift: u64) -> u64:
        below = (u64(1) << shift) - 1
        frame = (entry >> 10 & PPN_MASK) << 12
        privilege = hart.fetch_privilege if is_fetch else hart.data_privilege
        if not permits(hart, privilege, entry) or frame & below != 0:
            raise Trap(page_fault, address)
        if shift != PAGE_BITS:
            note_large_page(View.at(hart.view), address, below + 1)
        return frame | address & below

    return leaf


def descender(access: int) -> Native[[HartState, u64, u64], u64]:
    """The walk through the levels of a page table."""
    page_fault, access_fault = PAGE_FAULT[access], ACCESS_FAULT[access]
    leaf, mark = leaf_reader(access), marker(access)

    @native(name=f"riscv.descend.{access}")
    def descend(hart: HartState, address: u64, levels: u64) -> u64:
        table = (hart.csr[SATP] & PPN_MASK) << 12
        while levels != 0:
            levels -= 1
            shift = PAGE_BITS + 9 * levels
            where = table + ((address >> shift & 511) << 3)
            if not is_ram(hart, where):
                raise Trap(access_fault, address)
            if not pmp_allows(hart, where, u64(PMP_R), u64(SUPERVISOR)):
                raise Trap(access_fault, address)
            entry = Ptr[u64](hart.memory + (where - hart.memory_base))[0]
            if entry & V == 0 or entry & (R | W) == W or entry & RESERVED != 0:
                raise Trap(page_fault, address)
            if entry & (R | X) != 0:
                physical = leaf(hart, address, entry, shift)
                if mark(hart, where, entry, address):
                    return physical
                levels += 1  # another hart has changed the entry: look at it again
            else:
                if entry & (U | A | D) != 0:
                    raise Trap(page_fault, address)
                table = (entry >> 10 & PPN_MASK) << 12
        raise Trap(page_fault, address)

    return descend


def walker(access: int) -> Native[[HartState, u64], u64]:
    """The guest-physical address of a guest-virtual one, or a trap; one per kind of access."""
    page_fault, access_fault, is_fetch = PAGE_FAULT[access], ACCESS_FAULT[access], access == FETCH
    descend = descender(access)

    @native(name=f"riscv.walk.{access}")
    def walk(hart: HartState, address: u64) -> u64:
        privilege = hart.fetch_privilege if is_fetch else hart.data_privilege
        mode = hart.csr[SATP] >> 60
        if privilege == MACHINE or mode == BARE:
            if address >= ADDRESS_LIMIT:
                raise Trap(access_fault, address)
            return address
        if not is_canonical(address, mode):
            raise Trap(page_fault, address)
        return descend(hart, address, u64(3) if mode == SV39 else u64(4))

    return walk


WALKS = tuple(walker(access) for access in (FETCH, LOAD, STORE))


def translator(access: int) -> Native[[HartState, u64], u64]:
    """A page walk followed by the check of physical memory protection."""
    walk, access_fault, needed = WALKS[access], ACCESS_FAULT[access], PMP_NEEDED[access]
    is_fetch = access == FETCH

    @native(name=f"riscv.translate.{access}")
    def translate(hart: HartState, address: u64) -> u64:
        physical = walk(hart, address)
        privilege = hart.fetch_privilege if is_fetch else hart.data_privilege
        if not pmp_allows(hart, physical, u64(needed), privilege):
            raise Trap(access_fault, address)
        return physical

    return translate


translate_fetch, translate_load, translate_store = map(translator, (FETCH, LOAD, STORE))
