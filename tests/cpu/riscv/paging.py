"""A hart with page tables made by hand, and single accesses through them.

Every page of RAM is filled with the instruction `lui x0, NUMBER` of its own number, so that what a
load gets, or a fetch executes, tells where it came from.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.cpu.riscv.bench_machine import LINES, assemble
from tests.cpu.riscv.page_walk import FETCH, LOAD, STORE, A, D, R, U, V, W, X

from maquina.cpu.riscv.csr_numbers import (
    MCAUSE,
    MENVCFG,
    MSTATUS,
    MTVAL,
    MTVEC,
    PMPADDR0,
    PMPCFG0,
    SATP,
)
from maquina.cpu.riscv.entry_points import Accel
from maquina.cpu.riscv.hart import Hart
from maquina.machine.bus import AddressSpace
from maquina.machine.memory import GuestMemory

RAM, PAGE = 0x8000_0000, 4096
PAGES, FIRST_TABLE = 1024, 960
SIZE = PAGES * PAGE
SNIPPETS, HANDLER = RAM + SIZE - PAGE, RAM + SIZE - 2 * PAGE
ROOT = RAM + FIRST_TABLE * PAGE
USER_CODE, SUPERVISOR_CODE = 255 << 30, 254 << 30
"""Where the snippets are mapped, in an upper corner of the positive half."""
SV39, SV48 = 8, 9
LEVELS = {SV39: 3, SV48: 4}
POINTER, VALUE, RESULT = 10, 11, 12
FS_ON, MPRV, SUM, MXR, MPP_SHIFT = 3 << 13, 1 << 17, 1 << 18, 1 << 19, 11
ADUE = 1 << 61
USER, SUPERVISOR, MACHINE = 0, 1, 3
RWX = V | R | W | X | A | D
RWXU = RWX | U
EVERYWHERE = (1 << 54) - 1

LOADS = {"lb": 1, "lhu": 2, "lw": 4, "ld": 8, "lr.w": 4, "lr.d": 8, "fld": 8}
STORES = {"sb": 1, "sh": 2, "sw": 4, "sd": 8, "amoswap.w": 4, "amoswap.d": 8, "fsd": 8}
NAMES = [*LOADS, *STORES, "sfence.vma"]


def kind_of(name: str) -> str:
    return FETCH if name == FETCH else LOAD if name in LOADS else STORE


def mark_of(page: int) -> int:
    """The word that fills a page of RAM."""
    return LINES["lui"].encoding.encode(rd=0, imm=page << 12)


FILLED = b"".join(mark_of(page).to_bytes(4, "little") * (PAGE // 4) for page in range(PAGES))


@dataclass(frozen=True)
class Seen:
    """How an access ended: with a trap (its cause and value), or with what it got."""

    cause: int | None
    value: int


class Paging:
    """One hart, its tables in the last pages of RAM."""

    def __init__(self, accel: Accel = "interp") -> None:
        self.memory = GuestMemory(RAM, SIZE)
        self.hart = Hart(0, self.memory, AddressSpace(), accel)
        self.hart.write_csr(MTVEC, HANDLER)
        self.hart.write_csr(PMPADDR0, EVERYWHERE)
        self.hart.write_csr(PMPCFG0, 0x1F)
        self.clear()

    def clear(self) -> None:
        """As at first, with empty tables."""
        self.memory.write(RAM, FILLED)
        self.memory.write(ROOT, bytes((PAGES - FIRST_TABLE - 2) * PAGE))
        code = (assemble(n, rd=RESULT, frd=0, rs1=POINTER, rs2=VALUE, frs2=0) for n in NAMES)
        self.memory.write(SNIPPETS, b"".join(code))
        self.hart.fence_i()
        self.hart.flush_tlb(None, None, None)
        self.tables = 1

    def read(self, address: int) -> int:
        return int.from_bytes(self.memory.read(address, 8), "little")

    def write(self, address: int, value: int) -> None:
        self.memory.write(address, value.to_bytes(8, "little"))

    def new_table(self) -> int:
        self.tables += 1
        assert self.tables < PAGES - FIRST_TABLE - 2
        return ROOT + (self.tables - 1) * PAGE

    def entry_of(self, mode: int, address: int, level: int) -> int:
        """Where the entry for an address is at a level, tables made as needed."""
        table = ROOT
        for above in range(LEVELS[mode] - 1, level, -1):
            where = table + (address >> 12 + 9 * above & 511) * 8
            if self.read(where) & V == 0:
                self.write(where, self.new_table() >> 12 << 10 | V)
            table = (self.read(where) >> 10) % (1 << 44) << 12
        return table + (address >> 12 + 9 * level & 511) * 8

    def map(self, mode: int, address: int, physical: int, flags: int, level: int = 0) -> int:
        """Enter a page; the address of its entry."""
        where = self.entry_of(mode, address, level)
        self.write(where, physical >> 12 << 10 | flags)
        return where

    def map_code(self, mode: int) -> None:
        self.map(mode, USER_CODE, SNIPPETS, RWXU)
        self.map(mode, SUPERVISOR_CODE, SNIPPETS, RWX)

    def use(self, mode: int, asid: int = 0, root: int = ROOT) -> int:
        """Set satp."""
        satp = mode << 60 | asid << 44 | root >> 12
        self.hart.write_csr(SATP, satp)
        return satp

    def set_adue(self, is_on: bool) -> None:
        self.hart.write_csr(MENVCFG, ADUE if is_on else 0)

    def access(
        self,
        name: str,
        address: int,
        privilege: int = SUPERVISOR,
        status: int = 0,
        value: int = 0,
        by_mprv: bool = False,
    ) -> Seen:
        """Execute one instruction at a privilege, or in M-mode on behalf of it, or fetch."""
        hart = self.hart
        status |= FS_ON
        if name == FETCH:
            hart.pc, hart.privilege = address, privilege
        elif by_mprv:
            status |= MPRV | privilege << MPP_SHIFT
            hart.pc, hart.privilege = SNIPPETS, MACHINE
        else:
            hart.pc = {USER: USER_CODE, SUPERVISOR: SUPERVISOR_CODE, MACHINE: SNIPPETS}[privilege]
            hart.privilege = privilege
        if name != FETCH:
            hart.pc += 4 * NAMES.index(name)
        hart.write_csr(MSTATUS, status)
        hart.x[POINTER], hart.x[VALUE], hart.f[0] = address, value, value
        before = hart.instructions
        hart.run(1)
        if hart.instructions == before:
            assert hart.pc == HANDLER
            return Seen(hart.read_csr(MCAUSE), hart.read_csr(MTVAL))
        if name == FETCH:
            return Seen(None, hart.last_word)
        return Seen(None, hart.f[0] if name == "fld" else hart.x[RESULT])

    def load(self, address: int, privilege: int = SUPERVISOR, status: int = 0) -> int | None:
        """The number of the page that a load reads, or None if it traps."""
        seen = self.access("lw", address, privilege, status)
        return None if seen.cause is not None else seen.value >> 12 & 0xFFFFF

    def fence(self, address: int = 0, asid: int = 0) -> None:
        """`sfence.vma` in M-mode; zeros are registers that hold 0, which means all."""
        self.access("sfence.vma", address, MACHINE, value=asid)
