"""Each CSR: who may access it, what can be written to it, what it reads as."""

from __future__ import annotations

import random

import pytest
from tests.cpu.riscv.bench_machine import CODE, assemble
from tests.cpu.riscv.guest import FS_ON, MACHINE, SUPERVISOR, TVM, USER, Guest

from maquina.cpu.riscv import csr_numbers as csr

ALL = (1 << 64) - 1
SEED = 20210101
XL = 2 << 32  # UXL: 64 bits; SXL stands two bits higher
DIRTY = 1 << 63 | 3 << 13
COUNTERS, NO_COUNTERS = (csr.CYCLE, csr.TIME, csr.INSTRET), range(csr.HPMCOUNTER3, 0xC20)

WRITTEN: dict[int, tuple[int, int]] = {
    csr.SSTATUS: (DIRTY | XL | 1 << 19 | 1 << 18 | 1 << 8 | 1 << 5 | 1 << 1, XL),
    csr.SIE: (0x222, 0),
    csr.STVEC: (ALL & ~2, 0),
    csr.SCOUNTEREN: (7, 0),
    csr.SENVCFG: (1, 0),
    csr.SSCRATCH: (ALL, 0),
    csr.SEPC: (ALL & ~1, 0),
    csr.SCAUSE: (ALL, 0),
    csr.STVAL: (ALL, 0),
    csr.SATP: (8 << 60 | 1 << 44, 0),
    csr.MSTATUS: (DIRTY | XL | XL << 2 | 0x7E19AA, XL | XL << 2),
    csr.MEDELEG: (0xB3FF, 0),
    csr.MIDELEG: (0x222, 0),
    csr.MIE: (0xAAA, 0),
    csr.MTVEC: (ALL & ~2, 0),
    csr.MCOUNTEREN: (7, 0),
    csr.MENVCFG: (1 << 63 | 1 << 61 | 1, 0),
    csr.MSCRATCH: (ALL, 0),
    csr.MEPC: (ALL & ~1, 0),
    csr.MCAUSE: (ALL, 0),
    csr.MTVAL: (ALL, 0),
    csr.STIMECMP: (ALL, 0),
    csr.FFLAGS: (31, 0),
    csr.FRM: (7, 0),
    csr.FCSR: (255, 0),
}
"""What all ones and all zeros read back as, from the manual and from what there is."""
CONSTANT = {
    csr.MISA: 2 << 62 | sum(1 << ord(c) - ord("A") for c in "ACDFIMSU") | 2,  # B is Zba, Zbb, Zbs
    csr.MCOUNTINHIBIT: 0,
    csr.TSELECT: 0,
    csr.TDATA1: 0,
    csr.TDATA2: 0,
    csr.TDATA3: 0,
    **{csr.MHPMCOUNTER3 + n: 0 for n in range(29)},
    **{csr.MHPMEVENT3 + n: 0 for n in range(29)},
    **{csr.PMPCFG0 + n: 0 for n in range(4, 16, 2)},
    **{csr.PMPADDR0 + n: 0 for n in range(16, 64)},
}
READ_ONLY = {csr.MVENDORID, csr.MARCHID, csr.MIMPID, csr.MHARTID, csr.MCONFIGPTR}
COUNTING = {csr.MCYCLE, csr.MINSTRET}
OTHERS = {csr.MIP, csr.SIP}
PROTECTION = {csr.PMPCFG0, csr.PMPCFG0 + 2, *range(csr.PMPADDR0, csr.PMPADDR0 + 16)}
EXISTING = {
    *WRITTEN, *CONSTANT, *READ_ONLY, *COUNTING, *OTHERS, *PROTECTION, *COUNTERS, *NO_COUNTERS,
}  # fmt: skip


@pytest.fixture
def guest() -> Guest:
    guest = Guest()
    guest.set(MCOUNTEREN=7, SCOUNTEREN=7, MENVCFG=1 << 63)
    return guest


def swap(guest: Guest, number: int, value: int) -> int:
    """Write a register as a guest in M-mode would, then read it."""
    guest.hart.x[1] = value
    guest.execute(assemble("csrrw", rd=2, rs1=1, csr=number), assemble("csrrs", rd=3, csr=number))
    assert guest.trap() is None
    return guest.hart.x[3]


@pytest.mark.parametrize("number", WRITTEN, ids=hex)
def test_what_can_be_written(guest: Guest, number: int) -> None:
    ones, zeros = WRITTEN[number]
    if number == csr.SIE:
        guest.set(MIDELEG=ALL)
    if number == csr.SATP:
        assert swap(guest, number, ones) == ones
    else:
        assert swap(guest, number, ALL) == ones
    if number in (csr.FFLAGS, csr.FRM, csr.FCSR):
        assert swap(guest, number, 0) == 0
        return
    assert swap(guest, number, 0) & ~(3 << 13) == zeros


@pytest.mark.parametrize("number", CONSTANT, ids=hex)
def test_what_cannot(guest: Guest, number: int) -> None:
    assert swap(guest, number, ALL) == CONSTANT[number]
    assert swap(guest, number, 0) == CONSTANT[number]


def test_every_other_number_is_illegal(guest: Guest) -> None:
    """All 4096, in each mode; a register's number tells who may access it and how."""
    for privilege in (USER, SUPERVISOR, MACHINE):
        for number in range(4096):
            for writes in (False, True):
                guest.set(MSTATUS=FS_ON)
                guest.hart.x[1] = guest.hart.read_csr(number) if number in EXISTING else 0
                code = assemble("csrrw" if writes else "csrrs", rs1=writes, csr=number)
                if number in PROTECTION and writes:
                    continue
                guest.execute(code, privilege=privilege)
                is_allowed = number in EXISTING and privilege >= number >> 8 & 3
                is_allowed = is_allowed and not (writes and number >> 10 == 3)
                if number in NO_COUNTERS:
                    is_allowed = is_allowed and privilege == MACHINE
                assert (guest.trap() is None) == is_allowed, f"{number:#x} {privilege} {writes}"
                guest.set(MTVEC=CODE + 0x4000, STVEC=CODE + 0x5000)


def test_who_may_use_satp_is_told_by_tvm(guest: Guest) -> None:
    guest.set(MSTATUS=FS_ON | TVM)
    guest.execute(assemble("csrrs", rd=1, csr=csr.SATP), privilege=SUPERVISOR)
    assert guest.trap() is not None


def test_bits_are_set_and_cleared_by_registers_and_immediates(guest: Guest) -> None:
    source = random.Random(SEED)
    for _ in range(200):
        old, value = source.getrandbits(64), source.getrandbits(64)
        small = source.randrange(32)
        for name, operand, expected in (
            ("csrrw", value, value),
            ("csrrs", value, old | value),
            ("csrrc", value, old & ~value),
            ("csrrwi", small, small),
            ("csrrsi", small, old | small),
            ("csrrci", small, old & ~small),
        ):
            guest.set(MSCRATCH=old)
            guest.hart.x[5] = operand
            guest.execute(assemble(name, rd=6, rs1=5, uimm=small, csr=csr.MSCRATCH))
            assert (guest.hart.x[6], guest.get("MSCRATCH")) == (old, expected)


def test_a_destination_may_be_the_source(guest: Guest) -> None:
    guest.set(MSCRATCH=7)
    guest.hart.x[5] = 9
    guest.execute(assemble("csrrw", rd=5, rs1=5, csr=csr.MSCRATCH))
    assert (guest.hart.x[5], guest.get("MSCRATCH")) == (7, 9)


def test_mpp_keeps_its_value_if_the_new_one_is_no_mode(guest: Guest) -> None:
    for old in (USER, SUPERVISOR, MACHINE):
        guest.set(MSTATUS=old << 11)
        guest.set(MSTATUS=2 << 11 | 1 << 7)
        assert guest.get("MSTATUS") & 0x1880 == old << 11 | 1 << 7


# -- the floating-point status -----------------------------------------------------------------


def test_three_views_of_one_register(guest: Guest) -> None:
    for value in range(256):
        guest.set(FCSR=value)
        assert (guest.get("FFLAGS"), guest.get("FRM")) == (value & 31, value >> 5)
        guest.set(FFLAGS=~value & 31)
        guest.set(FRM=~value >> 5 & 7)
        assert guest.get("FCSR") == ~value & 255


FLOATS = (
    assemble("csrrs", rd=1, csr=csr.FCSR),
    assemble("csrrw", rs1=1, csr=csr.FRM),
    assemble("fadd.d", frd=1, frs1=1, frs2=1, rm=0),
    assemble("fsgnj.s", frd=1, frs1=1, frs2=1),
    assemble("flw", frd=1, rs1=10),
    assemble("fsd", frs2=1, rs1=10),
    assemble("fmv.x.d", rd=1, frs1=1),
    assemble("fmv.w.x", frd=1, rs1=1),
    b"\x08\x21",  # c.fld
)


@pytest.mark.parametrize("code", FLOATS, ids=lambda code: code.hex())
@pytest.mark.parametrize("privilege", [USER, SUPERVISOR, MACHINE])
def test_off_is_illegal_and_use_is_dirty(guest: Guest, code: bytes, privilege: int) -> None:
    for on in range(4):
        for number in (8, 10):
            guest.hart.x[number] = CODE + 0x100
        guest.set(FCSR=0, MSTATUS=on << 13)
        guest.hart.x[1] = 0
        guest.execute(code, privilege=privilege)
        assert (guest.trap() is None) == (on != 0)
        is_read = code == FLOATS[0]
        dirty = on if is_read else 3 * (on != 0)
        assert guest.get("MSTATUS") >> 13 & 3 == dirty
        assert guest.get("MSTATUS") >> 63 == (dirty == 3)
