"""Where a handler goes next: the jumps that all handlers share.

A handler gets the current record, the hart, its view and the budget of instructions left, all in
host registers, and ends in a jump to the handler of the record that follows. The budget is looked
at where control goes backwards or to another page; running out of it ends the slice.
"""

from __future__ import annotations

from maquina.cpu.riscv.causes import (
    EXIT_SLICE,
    ILLEGAL_INSTRUCTION,
)
from maquina.cpu.riscv.code import (
    locate,
    page_of,
)
from maquina.cpu.riscv.operands import pc_of
from maquina.cpu.riscv.state import (
    FORGET_ALL,
    PAGE_BITS,
    PAGE_MASK,
    TLB_ENTRIES,
    HartState,
    Record,
    View,
)
from maquina.cpu.riscv.traps import enter_trap, take_interrupt
from maquina.cpu.riscv.views import forget_views, select_view
from maquina.jit import (
    Ptr,
    Trap,
    likely,
    native,
    s64,
    tail_call,
    u16,
    u32,
    u64,
)


@native(inline=True)
def go_to(pc: u64, hart: HartState, view: View, budget: s64) -> None:
    """Continue at an address."""
    entry = view.fetch[pc >> PAGE_BITS & (TLB_ENTRIES - 1)]
    if likely(entry.tag == pc & ~u64(PAGE_MASK) and budget > 0):
        hart.bias = entry.bias
        record = Record.at(pc - entry.bias << 3)
        return tail_call(record.handler, record, hart, view, budget)
    hart.pc = pc
    return tail_call(go_slowly, Record.at(pc), hart, view, budget)


@native(convention="preserve_none", name="riscv.go_slowly")
def go_slowly(record: Record, hart: HartState, view: View, budget: s64) -> None:
    """Continue at `hart.pc`, which is not in the fetch TLB, or end the slice."""
    if budget <= 0:
        hart.budget = budget
        hart.exit = EXIT_SLICE
        return None
    try:
        locate(hart, hart.pc)
    except Trap as trap:
        hart.cause = trap.cause
        hart.value = trap.value
        return tail_call(take_trap, record, hart, view, budget)
    return tail_call(go_to, hart.pc, hart, view, budget)


@native(convention="preserve_none", name="riscv.trap_here")
def trap_here(record: Record, hart: HartState, view: View, budget: s64) -> None:
    """The instruction of this record has raised `hart.cause`, `hart.value`."""
    hart.pc = pc_of(record, hart)
    if hart.cause == ILLEGAL_INSTRUCTION:
        hart.value = u64(word_of(record))
    return tail_call(take_trap, record, hart, view, budget)


@native(convention="preserve_none", name="riscv.take_trap")
def take_trap(record: Record, hart: HartState, view: View, budget: s64) -> None:
    """Take a trap at `hart.pc`. It costs budget, so that a guest cannot trap forever."""
    hart.uncounted += 1
    enter_trap(hart)
    return tail_call(go_to, hart.pc, hart, View.at(hart.view), budget - 1)


@native(convention="preserve_none", name="riscv.resume")
def resume(record: Record, hart: HartState, view: View, budget: s64) -> None:
    """Continue at `hart.pc` after the view, the privilege or what interrupts it has changed."""
    if hart.changed == FORGET_ALL:
        forget_views(hart)
    hart.changed = u64(0)
    hart.budget = budget
    select_view(hart)
    take_interrupt(hart)
    return tail_call(go_to, hart.pc, hart, View.at(hart.view), budget)


@native
def word_of(record: Record) -> u32:
    """The instruction word that a record was made from."""
    page = page_of(record)
    if page.host == 0:
        return u32(page.word)
    return word_at(page.host, (record.address & PAGE_MASK_OF_RECORDS) >> 3)


PAGE_MASK_OF_RECORDS = (1 << PAGE_BITS + 3) - 1


@native
def word_at(host: u64, offset: u64) -> u32:
    """A 16-bit or 32-bit instruction that lies within a page."""
    low = u32(Ptr[u16](host + offset)[0])
    if low & 3 != 3:
        return low
    return low | u32(Ptr[u16](host + offset + 2)[0]) << 16


@native(convention="preserve_none", name="riscv.go_on")
def go_on(record: Record, hart: HartState, view: View, budget: s64) -> None:
    """What stands behind the last record of a page: continue in the next page."""
    return tail_call(go_to, pc_of(record, hart), hart, view, budget)


@native(inline=True)
def go_near(record: Record, hart: HartState, view: View, budget: s64) -> None:
    """Continue at a record of the same page unless the budget is used up."""
    if likely(budget > 0):
        return tail_call(record.handler, record, hart, view, budget)
    hart.pc = pc_of(record, hart)
    return tail_call(go_slowly, record, hart, view, budget)
