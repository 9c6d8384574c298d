"""The threaded interpreter: one small function per instruction, each jumping to the next.

A handler gets the current record, the hart, its view and the budget of instructions left, all in
host registers, and ends in a jump to the handler of the record that follows. The budget is looked
at where control goes backwards or to another page; running out of it ends the slice.

Order of reading: `go_to` (find the record of an address), the handlers that are no instruction
(`decode`, `cross`, `go_on`, `go_slowly`, `take_trap`, `resume`), the makers of handlers by kind of
instruction, the table of handlers, `run`.
"""

from __future__ import annotations

from typing import Any

from maquina.cpu.riscv.causes import (
    EXIT_LIMIT,
    EXIT_NONE,
    EXIT_SLICE,
    EXIT_STOP,
    ILLEGAL_INSTRUCTION,
)
from maquina.cpu.riscv.code import (
    DROP_CODE_STORES,
    answer_code_stores,
    locate,
    mark_code,
    page_of,
)
from maquina.cpu.riscv.decoder import VARIANTS, fill
from maquina.cpu.riscv.floating import (
    check_rounding,
    effective_rounding,
    enter_floating,
    leave_floating,
    use_floating,
)
from maquina.cpu.riscv.isa import TABLE
from maquina.cpu.riscv.operands import operands, pc_of, writer
from maquina.cpu.riscv.rv_c import expand_compressed
from maquina.cpu.riscv.state import (
    PAGE_BITS,
    PAGE_MASK,
    TLB_ENTRIES,
    CodePage,
    HartState,
    Record,
    View,
)
from maquina.cpu.riscv.table import Instruction, Kind
from maquina.cpu.riscv.traps import enter_trap, take_interrupt
from maquina.cpu.riscv.views import forget_views, select_view
from maquina.jit import (
    Native,
    Ptr,
    Table,
    Trap,
    address_of,
    atomic_or,
    atomic_swap,
    call_address,
    gather,
    likely,
    native,
    s64,
    tail_call,
    u8,
    u16,
    u32,
    u64,
    unlikely,
)
from maquina.jit.fenv import TO_NEAREST_AWAY, set_rounding

SLICE = 100_000
"""Instructions between looks at timers, interrupts and requests: a fraction of a millisecond."""

NO_PAGE = PAGE_MASK + 1


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


@native(convention="preserve_none", name="riscv.go_on")
def go_on(record: Record, hart: HartState, view: View, budget: s64) -> None:
    """What stands behind the last record of a page: continue in the next page."""
    return tail_call(go_to, pc_of(record, hart), hart, view, budget)


@native(inline=True)
def nothing(record: Record, hart: HartState, value: u64) -> None:
    """The writer of an instruction without a result, which is never called."""


def value_handler(line: Instruction, length: int) -> Native[..., None]:
    """Kinds VALUE and CONTROL."""
    semantics, fetch, write = line.semantics, operands(line), writer(line) or nothing
    is_floating, is_control, has_result = (
        line.is_floating,
        line.kind is Kind.CONTROL,
        write is not nothing,
    )
    steps = length // 2

    @native(name=f"riscv.run.{line.name}.{length}", convention="preserve_none")
    def handler(record: Record, hart: HartState, view: View, budget: s64) -> None:
        try:
            if is_control:
                hart.budget = budget
            if is_floating:
                use_floating(hart)
            if has_result:
                write(record, hart, semantics(*gather(fetch, record, hart, view)))
            else:
                semantics(*gather(fetch, record, hart, view))
        except Trap as trap:
            hart.cause = trap.cause
            hart.value = trap.value
            return tail_call(trap_here, record, hart, view, budget)
        following = record.shifted(steps)
        if is_control and unlikely(hart.changed != 0):
            hart.pc = pc_of(following, hart)
            return tail_call(resume, following, hart, view, budget - 1)
        return tail_call(following.handler, following, hart, view, budget - 1)

    return handler


def rounding_handler(line: Instruction, length: int) -> Native[..., None]:
    """Kind VALUE with a twin for the rounding mode that no host has."""
    semantics, fetch, twin = line.semantics, operands(line), line.rounding or line.semantics
    write = writer(line) or nothing
    steps = length // 2

    @native(name=f"riscv.round.{line.name}.{length}", cold=True)
    def round_otherwise(record: Record, hart: HartState, view: View, rounding: u32) -> None:
        """Compute in a rounding mode other than the one of the host's environment."""
        check_rounding(rounding)
        if rounding == TO_NEAREST_AWAY:
            write(record, hart, twin(*gather(fetch, record, hart, view)))
        else:
            set_rounding(rounding)
            write(record, hart, semantics(*gather(fetch, record, hart, view)))
            set_rounding(hart.host_rounding)

    @native(name=f"riscv.run.{line.name}.{length}", convention="preserve_none")
    def handler(record: Record, hart: HartState, view: View, budget: s64) -> None:
        try:
            use_floating(hart)
            rounding = effective_rounding(hart, u32(record.immediate) & 7)
            if likely(rounding == hart.host_rounding):
                write(record, hart, semantics(*gather(fetch, record, hart, view)))
            else:
                round_otherwise(record, hart, view, rounding)
        except Trap as trap:
            hart.cause = trap.cause
            hart.value = trap.value
            return tail_call(trap_here, record, hart, view, budget)
        following = record.shifted(steps)
        return tail_call(following.handler, following, hart, view, budget - 1)

    return handler


def branch_handler(line: Instruction, length: int, is_near: bool) -> Native[..., None]:
    """Kind BRANCH; near if the target is in the same page."""
    semantics, fetch = line.semantics, operands(line)
    steps = length // 2
    name = f"riscv.run.{line.name}.{length}.{'near' if is_near else 'far'}"

    @native(name=name, convention="preserve_none")
    def handler(record: Record, hart: HartState, view: View, budget: s64) -> None:
        if semantics(*gather(fetch, record, hart, view)):
            if is_near:
                target = Record.at(record.address + (u64(record.immediate) << 3))
                return tail_call(go_near, target, hart, view, budget - 1)
            pc = pc_of(record, hart) + u64(record.immediate)
            return tail_call(go_to, pc, hart, view, budget - 1)
        following = record.shifted(steps)
        return tail_call(following.handler, following, hart, view, budget - 1)

    return handler


@native(inline=True)
def go_near(record: Record, hart: HartState, view: View, budget: s64) -> None:
    """Continue at a record of the same page unless the budget is used up."""
    if likely(budget > 0):
        return tail_call(record.handler, record, hart, view, budget)
    hart.pc = pc_of(record, hart)
    return tail_call(go_slowly, record, hart, view, budget)


def jump_handler(line: Instruction, length: int, is_near: bool) -> Native[..., None]:
    """Kind JUMP; near if it is relative and the target is in the same page."""
    semantics, fetch = line.semantics, operands(line)
    name = f"riscv.run.{line.name}.{length}.{'near' if is_near else 'far'}"

    @native(name=name, convention="preserve_none")
    def handler(record: Record, hart: HartState, view: View, budget: s64) -> None:
        if is_near:
            hart.x[record.rd] = pc_of(record, hart) + length
            target = Record.at(record.address + (u64(record.immediate) << 3))
            return tail_call(go_near, target, hart, view, budget - 1)
        pc = semantics(*gather(fetch, record, hart, view))
        hart.x[record.rd] = pc_of(record, hart) + length
        return tail_call(go_to, pc, hart, view, budget - 1)

    return handler


def return_handler(line: Instruction) -> Native[..., None]:
    """Kind RETURN."""
    semantics, fetch = line.semantics, operands(line)

    @native(name=f"riscv.run.{line.name}", convention="preserve_none")
    def handler(record: Record, hart: HartState, view: View, budget: s64) -> None:
        try:
            pc = semantics(*gather(fetch, record, hart, view))
        except Trap as trap:
            hart.cause = trap.cause
            hart.value = trap.value
            return tail_call(trap_here, record, hart, view, budget)
        hart.pc = pc
        return tail_call(resume, record, hart, view, budget - 1)

    return handler


def exit_handler(line: Instruction, length: int) -> Native[..., None]:
    """Kind EXIT."""
    semantics, fetch = line.semantics, operands(line)
    steps = length // 2

    @native(name=f"riscv.run.{line.name}.{length}", convention="preserve_none")
    def handler(record: Record, hart: HartState, view: View, budget: s64) -> None:
        hart.budget = budget
        try:
            reason = semantics(*gather(fetch, record, hart, view))
        except Trap as trap:
            hart.cause = trap.cause
            hart.value = trap.value
            return tail_call(trap_here, record, hart, view, budget)
        following = record.shifted(steps)
        if reason == EXIT_NONE:
            return tail_call(following.handler, following, hart, view, budget - 1)
        hart.pc = pc_of(following, hart)
        hart.budget = budget - 1
        hart.exit = reason
        return None

    return handler


def handlers_of(line: Instruction) -> tuple[Native[..., Any], ...]:
    """The functions that run an instruction, by variant (`decoder.VARIANTS`)."""
    lengths = (4, 2)
    match line.kind:
        case Kind.BRANCH:
            return tuple(branch_handler(line, n, near) for near in (False, True) for n in lengths)
        case Kind.JUMP if "rs1" not in line.encoding.fields:
            return tuple(jump_handler(line, n, near) for near in (False, True) for n in lengths)
        case Kind.JUMP:
            return tuple(jump_handler(line, n, False) for n in lengths) * 2
        case Kind.RETURN:
            return (return_handler(line),) * VARIANTS
        case Kind.EXIT:
            return (exit_handler(line, 4),) * VARIANTS
        case _ if line.rounding is not None:
            return (rounding_handler(line, 4),) * VARIANTS
        case _:
            return tuple(value_handler(line, n) for n in lengths) * 2


HANDLERS = Table(u64, [h for line in TABLE for h in handlers_of(line)], "riscv.handlers")


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
    if unlikely(hart.requests[0] != 0):
        asked = atomic_swap(hart.requests, u64(0))
        if asked & DROP_CODE_STORES != 0:
            answer_code_stores(hart)
        if asked & FORGET_VIEWS != 0:
            forget_views(hart)
        if asked & STOP != 0:
            hart.exit = EXIT_STOP


FORGET_VIEWS, STOP = 2, 4
FORGET_ALL = 2
"""What `HartState.changed` is after physical memory protection has changed."""


@native
def run(hart: HartState) -> None:
    """Run from `hart.pc` until something other than the end of a slice: see `hart.exit`."""
    enter_floating(hart)
    hart.exit = EXIT_SLICE
    while hart.exit == EXIT_SLICE:
        run_slice(hart)
    leave_floating(hart)


@native
def run_slice(hart: HartState) -> None:
    """Look at what others want, then run for a while.

    The limit is kept to the instruction: what is left of it when a slice could overshoot is run
    one instruction at a time.
    """
    serve_requests(hart)
    if hart.exit == EXIT_STOP:
        return
    if hart.spent >= hart.limit:
        hart.exit = EXIT_LIMIT
        return
    select_view(hart)
    take_interrupt(hart)
    left = hart.limit - hart.spent
    if left > OVERSHOOT:
        hart.slice = s64(SLICE) if left - OVERSHOOT > SLICE else s64(left - OVERSHOOT)
        hart.budget = hart.slice
        go_slowly(Record.at(hart.pc), hart, View.at(hart.view), hart.budget)
    else:
        hart.slice = s64(1)
        hart.budget = hart.slice
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
