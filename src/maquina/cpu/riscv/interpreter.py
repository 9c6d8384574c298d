"""The threaded interpreter: decoding what is reached, and the loop around it.

Order of reading: `dispatch` (how handlers continue), `handlers` (one for each instruction), then
here `decode` (the handler of records that are not made yet), `cross` (instructions that span two
pages), `run`, `run_slice` and `step`.
"""

from __future__ import annotations

from maquina.cpu.riscv.border import enter_native, leave_native, settle
from maquina.cpu.riscv.causes import (
    EXIT_LIMIT,
    EXIT_SLICE,
    EXIT_STOP,
)
from maquina.cpu.riscv.code import (
    locate,
    mark_code,
    page_of,
)
from maquina.cpu.riscv.decoder import fill
from maquina.cpu.riscv.dispatch import PAGE_MASK_OF_RECORDS, go_on, go_slowly, take_trap, word_at
from maquina.cpu.riscv.handlers import HANDLERS
from maquina.cpu.riscv.operands import pc_of
from maquina.cpu.riscv.rv_c import expand_compressed
from maquina.cpu.riscv.state import (
    DROP_CODE_STORES,
    PAGE_BITS,
    PAGE_MASK,
    STOP,
    TLB_ENTRIES,
    CodePage,
    HartState,
    Record,
    View,
)
from maquina.cpu.riscv.traps import take_interrupt
from maquina.cpu.riscv.views import select_view
from maquina.jit import (
    Ptr,
    Trap,
    address_of,
    atomic_and,
    atomic_load,
    atomic_or,
    call_address,
    native,
    s64,
    tail_call,
    u8,
    u16,
    u32,
    u64,
    unlikely,
)

NO_PAGE = PAGE_MASK + 1


@native
def fill_from(record: Record, word: u32, offset: u64) -> None:
    """Make a record from a short or long instruction word."""
    if word & 3 == 3:
        record.handler = HANDLERS[fill(record, word, u8(4), offset)]
    else:
        record.handler = HANDLERS[fill(record, expand_compressed(word), u8(2), offset)]


@native(convention="preserve_none", name="riscv.decode")
def decode(record: Record, hart: HartState, view: View, budget: s64) -> None:
    """What a record runs before it has been made: decode it, then run it."""
    page = page_of(record)
    if unlikely(page.is_marked == 0):
        mark_code(hart, page)
    hart.decoded += 1
    offset = (record.address & PAGE_MASK_OF_RECORDS) >> 3
    if offset == PAGE_MASK - 1 and Ptr[u16](page.host + offset)[0] & 3 == 3:
        record.handler = address_of(cross)
    else:
        fill_from(record, word_at(page.host, offset), offset)
    return tail_call(record.handler, record, hart, view, budget)


@native
def second_half(hart: HartState, address: u64) -> u16:
    """The two bytes of code at the beginning of a page."""
    entry = View.at(hart.view).fetch[address >> PAGE_BITS & (TLB_ENTRIES - 1)]
    if entry.tag != address:
        locate(hart, address)
    page = CodePage.at(address - entry.bias << 3)
    if page.is_marked == 0:
        mark_code(hart, page)
    return Ptr[u16](page.host)[0]


@native
def fill_scratch(hart: HartState, pc: u64, word: u32) -> Record:
    """Make the scratch page's record the instruction `word` at `pc`, whatever page that is in."""
    page = CodePage.at(hart.scratch)
    record = page.records[0]
    page.word = u64(word)
    fill_from(record, word, u64(NO_PAGE))
    page.records[1].handler = hart.continue_handler
    page.records[2].handler = hart.continue_handler
    hart.bias = pc - (record.address >> 3)
    return record


@native(convention="preserve_none", name="riscv.cross")
def cross(record: Record, hart: HartState, view: View, budget: s64) -> None:
    """An instruction whose second half is in another page, which may change or trap each time."""
    pc = pc_of(record, hart)
    low = u32(Ptr[u16](page_of(record).host + (PAGE_MASK - 1))[0])
    try:
        word = low | u32(second_half(hart, pc + 2)) << 16
    except Trap as trap:
        hart.pc = pc
        hart.cause = trap.cause
        hart.value = trap.value
        return tail_call(take_trap, record, hart, view, budget)
    made = fill_scratch(hart, pc, word)
    return tail_call(made.handler, made, hart, view, budget)


@native(inline=True)
def end_slice(hart: HartState) -> None:
    """Count what the slice has retired."""
    used = u64(hart.slice - hart.budget)
    hart.spent += used
    hart.retired += used - hart.uncounted
    hart.slice = s64(0)
    hart.budget = s64(0)
    hart.uncounted = u64(0)


@native(inline=True)
def serve_requests(hart: HartState) -> None:
    """Do what other threads have asked for."""
    settle(hart)
    if unlikely(atomic_load(hart.requests) != 0):
        asked = atomic_and(hart.requests, u64(DROP_CODE_STORES))
        if asked & STOP != 0:
            hart.exit = EXIT_STOP


@native
def run(hart: HartState) -> None:
    """Run from `hart.pc` until something other than the end of a slice: see `hart.exit`."""
    enter_native(hart)
    hart.exit = EXIT_SLICE
    while hart.exit == EXIT_SLICE:
        run_slice(hart)
    leave_native(hart)


@native
def run_slice(hart: HartState) -> None:
    """Look at what others want, then run for a while.

    The limit is kept to the instruction: what is left of it when a slice could overshoot is run
    one instruction or interrupt at a time.
    """
    serve_requests(hart)
    if hart.exit == EXIT_STOP:
        return
    if hart.spent >= hart.limit:
        hart.exit = EXIT_LIMIT
        return
    select_view(hart)
    is_interrupted = take_interrupt(hart)
    left = hart.limit - hart.spent
    if left > OVERSHOOT:
        longest = hart.longest_slice
        hart.slice = s64(longest) if left - OVERSHOOT > longest else s64(left - OVERSHOOT)
        hart.budget = hart.slice
        go_slowly(Record.at(hart.pc), hart, View.at(hart.view), hart.budget)
    else:
        hart.slice = s64(1)
        hart.budget = hart.slice
        if is_interrupted:
            hart.uncounted = u64(1)
            hart.budget = s64(0)
        else:
            step(hart)
    end_slice(hart)


OVERSHOOT = 2 * (PAGE_MASK + 1)
"""More instructions than can be executed between two looks at the budget."""


@native
def step(hart: HartState) -> None:
    """Execute one instruction at `hart.pc`, or take one trap."""
    view = View.at(hart.view)
    pc = hart.pc
    try:
        entry = view.fetch[pc >> PAGE_BITS & (TLB_ENTRIES - 1)]
        locate(hart, pc)
        host = CodePage.at((pc & ~u64(PAGE_MASK)) - entry.bias << 3).host
        word = u32(Ptr[u16](host + (pc & PAGE_MASK))[0])
        if word & 3 == 3:
            if pc & PAGE_MASK == PAGE_MASK - 1:
                word |= u32(second_half(hart, pc + 2)) << 16
            else:
                word = word_at(host, pc & PAGE_MASK)
    except Trap as trap:
        hart.cause = trap.cause
        hart.value = trap.value
        take_trap(Record.at(pc), hart, view, s64(1))
        return
    record = fill_scratch(hart, pc, word)
    call_address(go_on, record.handler, record, hart, view, s64(1))


@native
def post(hart: HartState, bits: u64) -> None:
    """Add bits to mip from another thread."""
    atomic_or(hart.posted, bits)


@native
def ask(hart: HartState, request: u64) -> None:
    """Ask something of a hart from another thread."""
    atomic_or(hart.requests, request)
