"""Views: the TLBs of a hart, one for each address space and privilege it was in lately.

A view belongs to a value of satp (address space with its ASID) and to what decides permissions
besides the page table: the privilege of fetches and of data, SUM and MXR. Going from user to
kernel and back, or to another process, therefore selects another view and flushes nothing.
"""

from __future__ import annotations

from maquina.cpu.riscv.causes import MACHINE, MPP, MPP_SHIFT, MPRV, MXR, SUM
from maquina.cpu.riscv.code import forget_fetches
from maquina.cpu.riscv.csr_numbers import MSTATUS, SATP
from maquina.cpu.riscv.state import NO_TAG, PAGE_BITS, TLB_ENTRIES, VIEWS, HartState, View
from maquina.jit import native, span, u64

ASID_SHIFT, ASID_MASK = 44, 0xFFFF
UNUSED = (1 << 64) - 1
"""A `mode` that no view in use has."""


@native
def clear_view(view: View) -> None:
    """Forget all translations of a view."""
    for i in span(u64(0), u64(TLB_ENTRIES)):
        view.load[i].tag = u64(NO_TAG)
        view.store[i].tag = u64(NO_TAG)
    forget_fetches(view)
    view.large_low = u64(0)
    view.large_high = u64(0)


@native
def select_view(hart: HartState) -> None:
    """Make the view for the present privilege, status and address space the current one."""
    status = hart.csr[MSTATUS]
    fetch = hart.privilege
    data = fetch
    if status & MPRV != 0:
        data = (status & MPP) >> MPP_SHIFT
    satp = hart.csr[SATP]
    mode = fetch | data << 2 | status & (SUM | MXR)
    if satp >> 60 == 0 or (fetch == MACHINE and data == MACHINE):
        satp = u64(0)
        mode &= 15
    hart.fetch_privilege = fetch
    hart.data_privilege = data
    for v in span(u64(0), u64(VIEWS)):
        view = hart.views[v]
        if view.mode == mode and view.satp == satp:
            hart.view = view.address
            return
    view = hart.views[hart.next_view]
    hart.next_view = (hart.next_view + 1) % VIEWS
    clear_view(view)
    view.hart = hart.address
    view.satp = satp
    view.mode = mode
    hart.view = view.address


@native
def forget_views(hart: HartState) -> None:
    """Forget all translations."""
    for v in span(u64(0), u64(VIEWS)):
        hart.views[v].mode = u64(UNUSED)
    hart.view = u64(0)


@native
def forget_address_space(hart: HartState, asid: u64) -> None:
    """Forget the translations of one address space; global ones may stay or go."""
    for v in span(u64(0), u64(VIEWS)):
        view = hart.views[v]
        if view.satp >> ASID_SHIFT & ASID_MASK == asid:
            view.mode = u64(UNUSED)
    hart.view = u64(0)


@native
def forget_page(hart: HartState, address: u64) -> None:
    """Forget the translation of one address in all address spaces.

    Superpages are entered as single pages: if one may hold the address, the whole view goes.
    """
    tag = address >> PAGE_BITS << PAGE_BITS
    index = address >> PAGE_BITS & (TLB_ENTRIES - 1)
    for v in span(u64(0), u64(VIEWS)):
        view = hart.views[v]
        if address >= view.large_low and address <= view.large_high and view.large_high != 0:
            clear_view(view)
        else:
            if view.load[index].tag == tag:
                view.load[index].tag = u64(NO_TAG)
            if view.store[index].tag == tag:
                view.store[index].tag = u64(NO_TAG)
            if view.fetch[index].tag == tag:
                view.fetch[index].tag = u64(NO_TAG)
