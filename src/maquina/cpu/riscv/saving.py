"""Saving and restoring a hart as plain data.

What is saved is what a guest can tell: registers, the program counter, privilege, CSRs as they are
stored, the reservation, how much was executed, and the time. Decoded code and translations are
found again. A hart that is restored continues its saved time from now on; a board whose harts
share a clock gives them one `clock_origin` afterwards.
"""

from __future__ import annotations

import time

from maquina.cpu.riscv import csr_numbers as numbers
from maquina.cpu.riscv.causes import (
    MACHINE,
    MACHINE_INTERRUPTS,
    MPP,
    MPP_SHIFT,
    SUPERVISOR,
    SUPERVISOR_INTERRUPTS,
    USER,
)
from maquina.cpu.riscv.csr import WRITABLE
from maquina.cpu.riscv.hart import Hart
from maquina.cpu.riscv.mmu import BARE, SV39, SV48
from maquina.cpu.riscv.pmp import ADDRESS_MASK, LOCKED, NA4, PMP_ENTRIES
from maquina.cpu.riscv.registers import CSR_NAMES
from maquina.cpu.riscv.time import NANOSECONDS_PER_TICK
from maquina.jit import u64
from maquina.machine.state import Fields, State

WORD = (1 << 64) - 1
NOWHERE = 0
"""Saved in place of the address of a reservation that there is not."""
VIEWS_OF_OTHERS = (
    *(numbers.FFLAGS, numbers.FRM, numbers.FCSR),
    *(numbers.SSTATUS, numbers.SIE, numbers.SIP),
)
PMP = range(numbers.PMPCFG0, numbers.PMPADDR0 + 64)
PMP_CONFIGURATIONS = tuple(numbers.PMPCFG0 + 2 * n for n in range(PMP_ENTRIES // 8))
PMP_ADDRESSES = tuple(numbers.PMPADDR0 + n for n in range(PMP_ENTRIES))
STORED = {
    number: mask & WORD
    for number, mask in WRITABLE.items()
    if mask and number not in VIEWS_OF_OTHERS and number not in PMP
}
"""CSRs with a word of their own, and the bits that it can have."""
STORED[numbers.MSTATUS] |= MPP


def save(hart: Hart) -> dict[str, State]:
    """The state of a hart that does not run."""
    state = hart.state
    reservation = state.reservation.value
    if reservation:
        reservation += state.memory_base.value - state.memory.value
    words = {CSR_NAMES[n]: state.csr[n].value for n in STORED}
    words["mip"] |= state.posted[0].value
    return {
        "x": list(hart.x),
        "f": list(hart.f),
        "pc": hart.pc,
        "privilege": hart.privilege,
        "csr": dict(words),
        "fcsr": hart.read_csr(numbers.FCSR),
        "pmpcfg": [state.csr[n].value for n in PMP_CONFIGURATIONS],
        "pmpaddr": [state.csr[n].value for n in PMP_ADDRESSES],
        "lines": state.lines.value,
        "mtimecmp": state.mtimecmp.value,
        "time": hart.read_csr(numbers.TIME),
        "reservation": reservation,
        "reserved": state.reserved.value,
        "retired": state.retired.value,
        "spent": state.spent.value,
    }


def restore(hart: Hart, saved: object) -> None:
    """Take over a saved state; StateError, and nothing changed, if no hart can be in it."""
    fields = Fields(saved, "a hart")
    x = fields.integers("x", 32, 0, WORD)
    if x[0]:
        raise fields.error("x", "has another x0 than zero")
    f = fields.integers("f", 32, 0, WORD)
    pc = fields.integer("pc", 0, WORD)
    if pc & 1:
        raise fields.error("pc", "is odd")
    words = _words(fields) | _protection(fields)
    privilege = _privilege(fields)
    fcsr = fields.integer("fcsr", 0, WRITABLE[numbers.FCSR])
    reservation = _reservation(fields, hart)
    plain = {
        name: fields.integer(name, 0, WORD)
        for name in ("mtimecmp", "reserved", "retired", "spent")
    }
    lines = fields.integer("lines", 0, SUPERVISOR_INTERRUPTS | MACHINE_INTERRUPTS)
    now = fields.integer("time", 0, WORD)

    for number in range(32):
        hart.x[number], hart.f[number] = x[number], f[number]
    hart.pc, hart.privilege = pc, privilege
    hart.write_csr(numbers.FCSR, fcsr)
    for number, word in words.items():
        hart.state.csr[number] = u64(word)
    hart.write_csr(numbers.PMPCFG0, words[numbers.PMPCFG0])  # derives the regions
    for name, value in plain.items():
        setattr(hart.state, name, u64(value))
    hart.state.lines, hart.state.reservation = u64(lines), u64(reservation)
    hart.state.posted[0] = u64(0)
    hart.state.clock_origin = u64(time.monotonic_ns() - now * NANOSECONDS_PER_TICK & WORD)
    hart.flush_tlb(None, None, None)
    hart.fence_i()


def _privilege(fields: Fields) -> int:
    privilege = fields.integer("privilege", USER, MACHINE)
    if privilege not in (USER, SUPERVISOR, MACHINE):
        raise fields.error("privilege", "is no privilege mode")
    return privilege


def _words(fields: Fields) -> dict[int, int]:
    """CSRs by number, with no bit that cannot be set."""
    registers = Fields(fields.group("csr"), "a hart's CSRs")
    words = {number: registers.integer(CSR_NAMES[number], 0, WORD) for number in STORED}
    for number, word in words.items():
        if word & ~STORED[number]:
            raise registers.error(CSR_NAMES[number], "has bits that cannot be set")
    if words[numbers.MSTATUS] >> MPP_SHIFT & 3 not in (USER, SUPERVISOR, MACHINE):
        raise registers.error("mstatus", "comes from no privilege mode")
    if words[numbers.SATP] >> 60 not in (BARE, SV39, SV48):
        raise registers.error("satp", "has an unknown mode")
    return words


def _protection(fields: Fields) -> dict[int, int]:
    """The registers of physical memory protection, without reserved combinations."""
    configurations = fields.integers("pmpcfg", len(PMP_CONFIGURATIONS), 0, WORD)
    addresses = fields.integers("pmpaddr", PMP_ENTRIES, 0, ADDRESS_MASK)
    for word in configurations:
        for byte in word.to_bytes(8, "little"):
            if byte & ~(LOCKED | 0x1F) or byte & 3 == 2 or byte >> 3 & 3 == NA4:
                raise fields.error("pmpcfg", "has a reserved configuration")
    return dict(zip(PMP_CONFIGURATIONS, configurations, strict=True)) | dict(
        zip(PMP_ADDRESSES, addresses, strict=True)
    )


def _reservation(fields: Fields, hart: Hart) -> int:
    """Its host address. It must lie in RAM, where a store-conditional will write."""
    physical = fields.integer("reservation", 0, WORD)
    if physical == NOWHERE:
        return 0
    offset = physical - hart.state.memory_base.value
    if not 0 <= offset < hart.state.memory_size.value or physical & 3:
        raise fields.error("reservation", "is no word of memory")
    return hart.state.memory.value + offset
