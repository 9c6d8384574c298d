"""Control and status registers: what reading and writing each of them means.

A register is a word of `HartState.csr`, indexed by its address, of which `WRITABLE` bits can be
written, unless it has a case of its own in `read_csr` or `write_csr`. Registers that are not in
`WRITABLE` do not exist. (Privileged manual, chapters 2 to 4; unprivileged manual, Zicntr.)
"""

from __future__ import annotations

from maquina.cpu.riscv.causes import (
    ADUE,
    FIOM,
    FS,
    ILLEGAL_INSTRUCTION,
    MACHINE,
    MACHINE_INTERRUPTS,
    MPP,
    MPP_SHIFT,
    MPRV,
    MXR,
    SD,
    SSI,
    STATUS_MIE,
    STATUS_MPIE,
    STATUS_SIE,
    STATUS_SPIE,
    STATUS_SPP,
    STCE,
    STI,
    SUM,
    SUPERVISOR,
    SUPERVISOR_INTERRUPTS,
    SXL,
    TSR,
    TVM,
    TW,
    USER,
    UXL,
)  # fmt: skip
from maquina.cpu.riscv.csr_numbers import (
    CYCLE,
    FCSR,
    FFLAGS,
    FRM,
    HPMCOUNTER3,
    INSTRET,
    MARCHID,
    MCAUSE,
    MCONFIGPTR,
    MCOUNTEREN,
    MCOUNTINHIBIT,
    MCYCLE,
    MEDELEG,
    MENVCFG,
    MEPC,
    MHARTID,
    MHPMCOUNTER3,
    MHPMEVENT3,
    MIDELEG,
    MIE,
    MIMPID,
    MINSTRET,
    MIP,
    MISA,
    MSCRATCH,
    MSTATUS,
    MTVAL,
    MTVEC,
    MVENDORID,
    PMPADDR0,
    PMPCFG0,
    SATP,
    SCAUSE,
    SCOUNTEREN,
    SENVCFG,
    SEPC,
    SIE,
    SIP,
    SSCRATCH,
    SSTATUS,
    STIMECMP,
    STVAL,
    STVEC,
    TDATA1,
    TDATA2,
    TDATA3,
    TIME,
    TSELECT,
)  # fmt: skip
from maquina.cpu.riscv.floating import read_flags, write_flags, write_rounding
from maquina.cpu.riscv.mmu import BARE, SV39, SV48
from maquina.cpu.riscv.pmp import PMP_ENTRIES, read_pmp_address, write_pmp
from maquina.cpu.riscv.state import HartState
from maquina.cpu.riscv.time import read_time
from maquina.cpu.riscv.traps import pending_now
from maquina.jit import Table, Trap, native, u8, u64

ALL = (1 << 64) - 1
ISA = 2 << 62 | sum(1 << ord(letter) - ord("A") for letter in "ABCDFIMSU")
DELEGABLE_EXCEPTIONS = 0xB3FF  # all but calls from M-mode and the reserved ones
COUNTERS = 7  # cycle, time, instret: the others read as zero and are not given to lower modes

STATUS_OF_SUPERVISOR = STATUS_SIE | STATUS_SPIE | STATUS_SPP | FS | SUM | MXR
STATUS_WRITABLE = STATUS_OF_SUPERVISOR | STATUS_MIE | STATUS_MPIE | MPRV | TVM | TW | TSR
STATUS_DECIDES_VIEW = MPP | MPRV | SUM | MXR

WRITABLE = {
    FFLAGS: 0x1F, FRM: 7, FCSR: 0xFF,
    SSTATUS: STATUS_OF_SUPERVISOR, SIE: SUPERVISOR_INTERRUPTS, STVEC: ~2, SCOUNTEREN: COUNTERS,
    SENVCFG: FIOM, SSCRATCH: ALL, SEPC: ~1, SCAUSE: ALL, STVAL: ALL, SIP: 1 << SSI,
    STIMECMP: ALL, SATP: ALL,
    MSTATUS: STATUS_WRITABLE, MISA: 0, MEDELEG: DELEGABLE_EXCEPTIONS,
    MIDELEG: SUPERVISOR_INTERRUPTS, MIE: SUPERVISOR_INTERRUPTS | MACHINE_INTERRUPTS, MTVEC: ~2,
    MCOUNTEREN: COUNTERS, MENVCFG: FIOM | ADUE | STCE, MCOUNTINHIBIT: 0, MSCRATCH: ALL, MEPC: ~1,
    MCAUSE: ALL, MTVAL: ALL, MIP: SUPERVISOR_INTERRUPTS,
    MCYCLE: ALL, MINSTRET: ALL, CYCLE: 0, TIME: 0, INSTRET: 0,
    MVENDORID: 0, MARCHID: 0, MIMPID: 0, MHARTID: 0, MCONFIGPTR: 0,
    TSELECT: 0, TDATA1: 0, TDATA2: 0, TDATA3: 0,  # type 0 in tdata1: there is no trigger
    **{MHPMEVENT3 + n: 0 for n in range(29)},
    **{MHPMCOUNTER3 + n: 0 for n in range(29)},
    **{HPMCOUNTER3 + n: 0 for n in range(29)},
    **{PMPCFG0 + n: ALL if n < PMP_ENTRIES // 4 else 0 for n in range(0, 16, 2)},
    **{PMPADDR0 + n: ALL if n < PMP_ENTRIES else 0 for n in range(64)},
}  # fmt: skip

EXISTS = Table(u8, [int(number in WRITABLE) for number in range(4096)], "riscv.csr_exists")
MASKS = Table(u64, [WRITABLE.get(n, 0) & ALL for n in range(4096)], "riscv.csr_masks")


@native
def check_counter(hart: HartState, number: u64) -> None:
    """Counters are open to lower modes as far as mcounteren and scounteren allow."""
    bit = u64(1) << (number & 31)
    if hart.privilege != MACHINE and hart.csr[MCOUNTEREN] & bit == 0:
        raise Trap(ILLEGAL_INSTRUCTION, u64(0))
    if hart.privilege == USER and hart.csr[SCOUNTEREN] & bit == 0:
        raise Trap(ILLEGAL_INSTRUCTION, u64(0))


@native
def check_access(hart: HartState, number: u64, writes: bool) -> None:
    """An illegal-instruction trap unless the hart may access the register now."""
    if EXISTS[number] == 0 or hart.privilege < (number >> 8 & 3):
        raise Trap(ILLEGAL_INSTRUCTION, u64(0))
    if writes and number >> 10 == 3:
        raise Trap(ILLEGAL_INSTRUCTION, u64(0))
    if number <= FCSR:
        if hart.csr[MSTATUS] & FS == 0:
            raise Trap(ILLEGAL_INSTRUCTION, u64(0))
    elif number >= CYCLE and number < CYCLE + 32:
        check_counter(hart, number)
    elif number == SATP:
        if hart.privilege == SUPERVISOR and hart.csr[MSTATUS] & TVM != 0:
            raise Trap(ILLEGAL_INSTRUCTION, u64(0))
    elif number == STIMECMP and hart.privilege != MACHINE:
        if hart.csr[MENVCFG] & STCE == 0:
            raise Trap(ILLEGAL_INSTRUCTION, u64(0))
        check_counter(hart, u64(TIME))


@native
def retired_now(hart: HartState) -> u64:
    """Instructions retired before the one that reads a counter."""
    return hart.retired + u64(hart.slice - hart.budget) - hart.uncounted


@native
def read_status(hart: HartState) -> u64:
    """mstatus, with the bit that summarises the floating-point state."""
    status = hart.csr[MSTATUS] | UXL | SXL
    return status | SD if status & FS == FS else status


@native
def read_csr(hart: HartState, number: u64) -> u64:  # noqa: C901, PLR0912  a case a register
    """The value of a register that may be accessed. `hart.budget` is up to date."""
    match number:
        case 0x001:
            return read_flags(hart)
        case 0x002:
            return u64(hart.frm)
        case 0x003:
            return u64(hart.frm) << 5 | read_flags(hart)
        case 0x100:
            return read_status(hart) & (STATUS_OF_SUPERVISOR | UXL | SD)
        case 0x104:
            return hart.csr[MIE] & hart.csr[MIDELEG]
        case 0x144:
            return pending_now(hart) & hart.csr[MIDELEG]
        case 0x300:
            return read_status(hart)
        case 0x301:
            return u64(ISA)
        case 0x344:
            return pending_now(hart)
        case 0xB00 | 0xC00:
            return hart.csr[MCYCLE] + retired_now(hart)
        case 0xB02 | 0xC02:
            return hart.csr[MINSTRET] + retired_now(hart)
        case 0xC01:
            return read_time(hart)
        case 0xF14:
            return hart.hart_id
        case _:
            if number >= PMPADDR0 and number < PMPADDR0 + PMP_ENTRIES:
                return read_pmp_address(hart, number)
            return hart.csr[number]


@native
def write_status(hart: HartState, value: u64, mask: u64) -> None:
    """mstatus or a part of it. MPP keeps its value if the new one is no mode."""
    old = hart.csr[MSTATUS]
    new = old & ~mask | value & mask
    if mask & STATUS_MIE != 0 and (value & MPP) >> MPP_SHIFT != 2:
        new = new & ~u64(MPP) | value & MPP
    hart.csr[MSTATUS] = new
    enabled = new & ~old & (STATUS_SIE | STATUS_MIE)
    if (old ^ new) & STATUS_DECIDES_VIEW != 0 or enabled != 0:
        hart.changed = u64(1)


@native
def write_address_space(hart: HartState, value: u64) -> None:
    """satp. A mode that does not exist makes the whole write have no effect."""
    mode = value >> 60
    if mode == BARE or mode == SV39 or mode == SV48:
        hart.csr[SATP] = value
        hart.changed = u64(1)


@native
def write_csr(  # noqa: C901, PLR0912  a case a register
    hart: HartState, number: u64, value: u64
) -> None:
    """Write a register that may be written. `hart.budget` is up to date."""
    mask = MASKS[number]
    match number:
        case 0x001:
            write_flags(hart, value & 0x1F)
        case 0x002:
            write_rounding(hart, value & 7)
        case 0x003:
            write_flags(hart, value & 0x1F)
            write_rounding(hart, value >> 5 & 7)
        case 0x100 | 0x300:
            write_status(hart, value, mask)
        case 0x104:
            visible = hart.csr[MIDELEG] & mask
            hart.csr[MIE] = hart.csr[MIE] & ~visible | value & visible
            hart.changed = u64(1)
        case 0x144:
            visible = hart.csr[MIDELEG] & mask
            hart.csr[MIP] = hart.csr[MIP] & ~visible | value & visible
            hart.changed = u64(1)
        case 0x180:
            write_address_space(hart, value)
        case 0x344:
            if hart.csr[MENVCFG] & STCE != 0:
                mask &= ~u64(1 << STI)
            hart.csr[MIP] = hart.csr[MIP] & ~mask | value & mask
            hart.changed = u64(1)
        case 0xB00 | 0xB02:
            hart.csr[number] = value - retired_now(hart) - 1
        case _:
            if number >= PMPCFG0 and number < PMPADDR0 + PMP_ENTRIES:
                write_pmp(hart, number, value)
            elif mask != 0:
                hart.csr[number] = hart.csr[number] & ~mask | value & mask
                hart.changed = u64(1)
