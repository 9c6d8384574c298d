"""Code pages: where decoded instructions live, and how they stay true to memory.

Records are kept per *physical* page, so all processes that map a page share them. While a page of
RAM has records, stores to it take the slow path, which resets the records they overwrite: a hart
sees its own stores to code at once. Stores by other harts and devices raise the page's version;
`fence.i` compares versions and resets the pages that have fallen behind (unprivileged manual,
chapter 5: a hart need only see them then).
"""

from __future__ import annotations

from maquina.cpu.riscv.causes import INSTRUCTION_ACCESS_FAULT
from maquina.cpu.riscv.mmu import is_ram, translate_fetch
from maquina.cpu.riscv.state import (
    CODE_PAGE_STRIDE,
    DROP_CODE_STORES,
    NO_TAG,
    PAGE_BITS,
    PAGE_MASK,
    RECORDS_PER_PAGE,
    TLB_ENTRIES,
    VIEWS,
    CodePage,
    HartState,
    Record,
    View,
)  # fmt: skip
from maquina.jit import (
    Trap,
    atomic_add,
    atomic_load,
    atomic_or,
    likely,
    native,
    span,
    u8,
    u64,
    unlikely,
)

MIXED_PAGE_STORES = 64
"""After so many stores a page of code is treated as data until it is executed again: a guest that
keeps variables beside its code would otherwise pay for a slow store each time."""


@native(inline=True)
def page_of(record: Record) -> CodePage:
    return CodePage.at(record.address & ~u64(CODE_PAGE_STRIDE - 1))


@native
def reset_records(hart: HartState, page: CodePage, first: u64, stop: u64) -> None:
    """Have the records [first, stop) decoded anew when they are next executed."""
    for i in span(first, stop):
        page.records[i].handler = hart.decode_handler


@native
def forget_stores(hart: HartState, host: u64) -> None:
    """Drop all TLB entries through which this hart stores to the page at `host`."""
    for v in span(u64(0), u64(VIEWS)):
        view = hart.views[v]
        for i in span(u64(0), u64(TLB_ENTRIES)):
            entry = view.store[i]
            if unlikely(entry.tag + entry.offset == host) and entry.tag != NO_TAG:
                entry.tag = u64(NO_TAG)


@native(cold=True, convention="preserve_most")
def mark_code(hart: HartState, page: CodePage) -> None:
    """Have stores to this page noticed: by this hart from now on, by others once they answer."""
    page.is_marked = u64(1)
    page.stores = u64(0)
    if atomic_add(hart.code_pages + page.physical_page, u8(1)) == 0:
        forget_stores(hart, page.host)
        for i in span(u64(0), hart.peer_count):
            peer = HartState.at(hart.peers[i])
            atomic_or(peer.requests, u64(DROP_CODE_STORES))
    page.version = hart.code_versions[page.physical_page]


@native(inline=True)
def unmark(hart: HartState, page: CodePage) -> None:
    if page.is_marked != 0:
        page.is_marked = u64(0)
        atomic_add(hart.code_pages + page.physical_page, u8(255))


@native(cold=True, convention="preserve_most")
def unmark_code(hart: HartState, page: CodePage) -> None:
    """Forget what was decoded from this page and let stores to it be fast again."""
    reset_records(hart, page, u64(0), u64(RECORDS_PER_PAGE))
    unmark(hart, page)


@native(cold=True, convention="preserve_most")
def code_written(hart: HartState, offset: u64, size: u64) -> None:
    """`size` bytes at `offset` in RAM, in a page with decoded code, were stored by this hart."""
    number = offset >> PAGE_BITS
    version = atomic_add(hart.code_versions + number, u64(1))
    changes = atomic_add(hart.code_changes, u64(1))
    if hart.seen_changes == changes:
        hart.seen_changes = changes + 1
    mine = hart.code_index[number]
    if mine == 0:
        return
    page = CodePage.at(mine)
    if page.version == version:
        page.version = version + 1
    page.stores += 1
    if page.stores > MIXED_PAGE_STORES:
        unmark_code(hart, page)
        return
    first = (offset & PAGE_MASK) >> 1
    last = (offset & PAGE_MASK) + size - 1 >> 1
    reset_records(hart, page, first - u64(first != 0), last + 1)


@native
def forget_code(hart: HartState) -> None:
    """Empty the pool of code pages. Native code must not return into one of them afterwards."""
    hart.flushes += 1
    at = hart.code_pool
    while at < hart.code_pool + hart.code_pool_used:
        page = CodePage.at(at)
        unmark(hart, page)
        hart.code_index[page.physical_page] = u64(0)
        at += CODE_PAGE_STRIDE
    hart.code_pool_used = u64(0)
    for v in span(u64(0), u64(VIEWS)):
        forget_fetches(hart.views[v])


@native(inline=True)
def forget_fetches(view: View) -> None:
    for i in span(u64(0), u64(TLB_ENTRIES)):
        view.fetch[i].tag = u64(NO_TAG)


@native
def code_page(hart: HartState, physical_page: u64) -> CodePage:
    """The code page of a page of RAM, made if there is none."""
    known = hart.code_index[physical_page]
    if likely(known != 0):
        return CodePage.at(known)
    if hart.code_pool_used == hart.code_pool_size:
        forget_code(hart)
    page = CodePage.at(hart.code_pool + hart.code_pool_used)
    hart.code_pool_used += CODE_PAGE_STRIDE
    hart.code_index[physical_page] = page.address
    page.host = hart.memory + (physical_page << PAGE_BITS)
    page.physical_page = physical_page
    page.is_marked = u64(0)
    reset_records(hart, page, u64(0), u64(RECORDS_PER_PAGE))
    page.records[RECORDS_PER_PAGE].handler = hart.continue_handler
    return page


@native
def locate(hart: HartState, pc: u64) -> None:
    """Enter the page of `pc` in the current view's fetch TLB, or trap."""
    physical = translate_fetch(hart, pc)
    if not is_ram(hart, physical):
        raise Trap(INSTRUCTION_ACCESS_FAULT, pc)
    page = code_page(hart, physical - hart.memory_base >> PAGE_BITS)
    entry = View.at(hart.view).fetch[pc >> PAGE_BITS & (TLB_ENTRIES - 1)]
    entry.tag = pc & ~u64(PAGE_MASK)
    entry.bias = (pc & ~u64(PAGE_MASK)) - (page.address >> 3)


@native(inline=True)
def raise_version(hart: HartState, number: u64) -> None:
    """Have every hart notice at its next `fence.i` that a page of code has changed."""
    atomic_add(hart.code_versions + number, u64(1))
    atomic_add(hart.code_changes, u64(1))


@native
def catch_up(hart: HartState) -> None:
    """`fence.i`: decode anew what others have overwritten."""
    changes = atomic_load(hart.code_changes)
    if changes == hart.seen_changes:
        return
    hart.seen_changes = changes
    at = hart.code_pool
    while at < hart.code_pool + hart.code_pool_used:
        page = CodePage.at(at)
        version = hart.code_versions[page.physical_page]
        if page.version != version:
            page.version = version
            reset_records(hart, page, u64(0), u64(RECORDS_PER_PAGE))
        at += CODE_PAGE_STRIDE


@native
def answer_code_stores(hart: HartState) -> None:
    """Answer DROP_CODE_STORES: what was stored until now counts as code that has changed."""
    for v in span(u64(0), u64(VIEWS)):
        view = hart.views[v]
        for i in span(u64(0), u64(TLB_ENTRIES)):
            entry = view.store[i]
            if entry.tag == NO_TAG:
                continue
            number = entry.tag + entry.offset - hart.memory >> PAGE_BITS
            if hart.code_pages[number] != 0:
                entry.tag = u64(NO_TAG)
                raise_version(hart, number)


@native
def note_write(hart: HartState, offset: u64, size: u64) -> None:
    """Somebody else, a device, has written to RAM: `fence.i` will find that code has changed."""
    for number in span(offset >> PAGE_BITS, (offset + size - 1 >> PAGE_BITS) + 1):
        if hart.code_pages[number] != 0:
            raise_version(hart, number)
