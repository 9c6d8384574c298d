"""Exceptions: their causes and values, who takes them, and the way back."""

from __future__ import annotations

import pytest
from tests.cpu.riscv.bench_machine import CODE, MEMORY, assemble
from tests.cpu.riscv.guest import (
    FS_ON,
    M_HANDLER,
    MACHINE,
    MIE,
    MPIE,
    MPP,
    MPRV,
    S_HANDLER,
    SIE,
    SPIE,
    SPP,
    SUPERVISOR,
    TSR,
    TVM,
    TW,
    USER,
    Guest,
)

from maquina.cpu.riscv import csr_numbers as csr
from maquina.machine.vcpu import Exit

MODES = (USER, SUPERVISOR, MACHINE)
A0, A1 = 10, 11
OUTSIDE = CODE + MEMORY
NOTHING = 0x1000
UNIMPLEMENTED = (0).to_bytes(2, "little")
"""The 16 zero bits that the manual keeps illegal."""


@pytest.fixture(params=["interp", "reference"])
def guest(request: pytest.FixtureRequest) -> Guest:
    return Guest(request.param)


def word(code: bytes) -> int:
    return int.from_bytes(code, "little")


@pytest.mark.parametrize("privilege", MODES)
@pytest.mark.parametrize(
    ("code", "address", "cause"),
    [
        (assemble("lw", rd=1, rs1=A0, imm=0), NOTHING, 5),
        (assemble("ld", rd=1, rs1=A0, imm=1), NOTHING, 5),
        (assemble("fld", frd=1, rs1=A0, imm=0), OUTSIDE, 5),
        (assemble("lr.w", rd=1, rs1=A0), NOTHING, 5),
        (assemble("sb", rs1=A0, rs2=1, imm=0), NOTHING, 7),
        (assemble("fsw", rs1=A0, frs2=1, imm=0), NOTHING, 7),
        (assemble("amoadd.w", rd=1, rs1=A0, rs2=1), NOTHING, 7),
        (assemble("lr.w", rd=1, rs1=A0), CODE + 0x102, 4),
        (assemble("lr.d", rd=1, rs1=A0), CODE + 0x104, 4),
        (assemble("sc.w", rd=1, rs1=A0, rs2=1), CODE + 0x101, 6),
        (assemble("sc.d", rd=1, rs1=A0, rs2=1), CODE + 0x104, 6),
        (assemble("amoswap.w", rd=1, rs1=A0, rs2=1), CODE + 0x103, 6),
        (assemble("amomaxu.d", rd=1, rs1=A0, rs2=1), CODE + 0x104, 6),
    ],
    ids=lambda x: x.hex() if isinstance(x, bytes) else None,
)
def test_an_access_that_fails_tells_its_address(
    guest: Guest, privilege: int, code: bytes, address: int, cause: int
) -> None:
    imm = code == assemble("ld", rd=1, rs1=A0, imm=1)
    guest.hart.x[A0], guest.hart.x[1] = address, 77
    guest.execute(code, privilege=privilege)
    assert guest.trap() == (cause, address + imm, CODE)
    assert guest.hart.x[1] == 77
    assert guest.get("MSTATUS") & MPP == privilege << 11


def test_misaligned_accesses_are_done(guest: Guest) -> None:
    guest.hart.x[A0], guest.hart.x[A1] = CODE + 0x101, 0x0102030405060708
    guest.execute(
        assemble("sd", rs1=A0, rs2=A1, imm=0),
        assemble("lw", rd=1, rs1=A0, imm=1),
        assemble("lhu", rd=2, rs1=A0, imm=4),
    )
    assert (guest.hart.x[1], guest.hart.x[2]) == (0x04050607, 0x0304)


@pytest.mark.parametrize("address", [NOTHING, OUTSIDE, (1 << 64) - 4096])
def test_fetches_fail_where_there_is_no_memory(guest: Guest, address: int) -> None:
    guest.hart.x[A0] = address
    guest.execute(assemble("jalr", rd=1, rs1=A0, imm=0), steps=2)
    assert guest.trap() == (1, address, address)
    assert guest.hart.x[1] == CODE + 4


def test_a_fetch_may_run_off_the_end_of_memory(guest: Guest) -> None:
    guest.memory.write(OUTSIDE - 2, assemble("addi", rd=1, imm=1)[:2])
    guest.hart.pc = OUTSIDE - 2
    guest.hart.step()
    assert guest.trap() == (1, OUTSIDE, OUTSIDE - 2)


@pytest.mark.parametrize(
    "code",
    [
        UNIMPLEMENTED,
        bytes(4),
        b"\xff\xff\xff\xff",
        (0x9C41).to_bytes(2, "little"),  # reserved among c.subw and its like
        assemble("csrrw", csr=0x7FF, rs1=1),
        assemble("csrrw", csr=csr.CYCLE, rs1=1),
        assemble("csrrsi", csr=csr.MHARTID, uimm=1),
        assemble("fadd.s", frd=1, frs1=2, frs2=3, rm=5),
    ],
    ids=lambda code: code.hex(),
)
def test_an_illegal_instruction_tells_its_bits(guest: Guest, code: bytes) -> None:
    guest.execute(code)
    bits = word(code) if word(code) & 3 == 3 else word(code) & 0xFFFF
    assert guest.trap() == (2, bits, CODE)


def test_a_long_illegal_instruction_across_pages_tells_its_bits(guest: Guest) -> None:
    start = CODE + 0x1FFE
    code = assemble("csrrw", csr=0x7FF, rs1=1)
    guest.memory.write(start, code)
    for limit in (1, 9000):  # step by step, and by the page's records
        guest.hart.pc = start
        guest.memory.write(M_HANDLER, assemble("wfi"))
        guest.hart.fence_i()
        guest.hart.run(limit)
        assert guest.get("MTVAL") == word(code)
        assert guest.get("MEPC") == start


@pytest.mark.parametrize("privilege", MODES)
def test_calls_and_breakpoints(guest: Guest, privilege: int) -> None:
    guest.execute(assemble("ecall"), privilege=privilege)
    assert guest.trap() == (8 + privilege, 0, CODE)
    guest.execute(assemble("ebreak"), privilege=privilege)
    assert guest.trap() == (3, CODE, CODE)
    guest.execute(b"\x02\x90", privilege=privilege)  # c.ebreak
    assert guest.trap() == (3, CODE, CODE)


@pytest.mark.parametrize("privilege", MODES)
@pytest.mark.parametrize("cause", [2, 3, 4, 5, 6, 7])
def test_delegation(guest: Guest, privilege: int, cause: int) -> None:
    code, address = {
        2: (UNIMPLEMENTED, 0),
        3: (assemble("ebreak"), CODE),
        4: (assemble("lr.w", rd=1, rs1=A0), CODE + 1),
        5: (assemble("lw", rd=1, rs1=A0), NOTHING),
        6: (assemble("sc.w", rd=1, rs1=A0), CODE + 1),
        7: (assemble("sw", rs1=A0), NOTHING),
    }[cause]
    guest.set(MEDELEG=1 << cause)
    guest.hart.x[A0] = address
    guest.execute(code, privilege=privilege)
    assert guest.trap() == (cause, address, CODE)
    status = guest.get("MSTATUS")
    if privilege == MACHINE:
        assert guest.hart.pc == M_HANDLER
        assert status & MPP == MPP
    else:
        assert guest.hart.pc == S_HANDLER
        assert guest.hart.privilege == SUPERVISOR
        assert bool(status & SPP) == (privilege == SUPERVISOR)
        assert guest.get("MCAUSE") == 0
    guest.set(MEDELEG=0xFFFF & ~(1 << cause))
    guest.execute(code, privilege=privilege)
    assert guest.hart.pc == M_HANDLER


def test_calls_are_delegated_by_the_caller(guest: Guest) -> None:
    guest.set(MEDELEG=1 << 8)
    guest.execute(assemble("ecall"), privilege=USER)
    assert guest.trap() == (8, 0, CODE)
    assert guest.hart.privilege == SUPERVISOR
    guest.execute(assemble("ecall"), privilege=SUPERVISOR)
    assert guest.trap() == (9, 0, CODE)
    assert guest.hart.privilege == MACHINE


def test_the_board_answers_calls_from_supervisors_only(guest: Guest) -> None:
    guest.hart.answers_sbi = True
    guest.memory.write(CODE, assemble("ecall"))
    for privilege in MODES:
        guest.hart.pc, guest.hart.privilege = CODE, privilege
        reason = guest.hart.run(1)
        if privilege == SUPERVISOR:
            assert (reason, guest.hart.pc) == (Exit.CALL, CODE + 4)
        else:
            assert (reason, guest.hart.pc) == (Exit.LIMIT, M_HANDLER)


@pytest.mark.parametrize("enabled", [False, True])
def test_status_is_stacked_and_restored(guest: Guest, enabled: bool) -> None:
    guest.set(MSTATUS=FS_ON | MIE * enabled | SIE * enabled)
    guest.execute(assemble("ecall"), privilege=USER)
    status = guest.get("MSTATUS")
    assert (status & MIE, bool(status & MPIE), status & MPP) == (0, enabled, 0)
    assert bool(status & SIE) == enabled
    guest.execute(assemble("mret"))
    status = guest.get("MSTATUS")
    assert (bool(status & MIE), bool(status & MPIE), status & MPP) == (enabled, True, 0)
    assert (guest.hart.pc, guest.hart.privilege) == (CODE, USER)
    guest.set(MEDELEG=1 << 8)
    guest.execute(assemble("ecall"), privilege=USER)
    status = guest.get("SSTATUS")
    assert (status & SIE, bool(status & SPIE), status & SPP) == (0, enabled, 0)
    guest.execute(assemble("sret"), privilege=SUPERVISOR)
    status = guest.get("SSTATUS")
    assert (bool(status & SIE), bool(status & SPIE), status & SPP) == (enabled, True, 0)


@pytest.mark.parametrize("previous", MODES)
def test_mret_goes_back_and_drops_mprv_below_m(guest: Guest, previous: int) -> None:
    guest.set(MSTATUS=FS_ON | MPRV | previous << 11, MEPC=CODE + 0x101)
    guest.execute(assemble("mret"))
    assert (guest.hart.pc, guest.hart.privilege) == (CODE + 0x100, previous)
    assert bool(guest.get("MSTATUS") & MPRV) == (previous == MACHINE)
    assert guest.get("MSTATUS") & MPP == 0


@pytest.mark.parametrize("privilege", [SUPERVISOR, MACHINE])
@pytest.mark.parametrize("previous", [USER, SUPERVISOR])
def test_sret_goes_back_and_drops_mprv(guest: Guest, privilege: int, previous: int) -> None:
    guest.set(MSTATUS=FS_ON | MPRV | MPP | SPP * previous, SEPC=CODE + 0x100)
    guest.execute(assemble("sret"), privilege=privilege)
    assert (guest.hart.pc, guest.hart.privilege) == (CODE + 0x100, previous)
    assert guest.get("MSTATUS") & (MPRV | SPP) == 0


FENCE, READ_SATP, WRITE_SATP = (
    assemble("sfence.vma"),
    assemble("csrrs", rd=1, csr=csr.SATP),
    assemble("csrrw", rs1=0, csr=csr.SATP),
)


@pytest.mark.parametrize(
    ("code", "trapping", "allowed"),
    [
        (assemble("mret"), 0, (MACHINE,)),
        (assemble("sret"), 0, (SUPERVISOR, MACHINE)),
        (assemble("sret"), TSR, (MACHINE,)),
        (assemble("wfi"), 0, (SUPERVISOR, MACHINE)),
        (assemble("wfi"), TW, (MACHINE,)),
        (FENCE, 0, (SUPERVISOR, MACHINE)),
        (FENCE, TVM, (MACHINE,)),
        (READ_SATP, 0, (SUPERVISOR, MACHINE)),
        (READ_SATP, TVM, (MACHINE,)),
        (WRITE_SATP, TVM | TW | TSR, (MACHINE,)),
        (assemble("fence.i"), TVM | TW | TSR, MODES),
        (assemble("fence"), TVM | TW | TSR, MODES),
    ],
)
def test_who_may_execute_what(
    guest: Guest, code: bytes, trapping: int, allowed: tuple[int, ...]
) -> None:
    for privilege in MODES:
        guest.set(MSTATUS=trapping | MPP, MEPC=CODE + 4, SEPC=CODE + 4, MCAUSE=0)
        guest.execute(code, privilege=privilege)
        if privilege in allowed:
            assert guest.hart.pc == CODE + 4
        else:
            assert guest.trap() == (2, word(code), CODE)


def test_a_trap_in_a_handler_is_taken_again(guest: Guest) -> None:
    """From U to S by delegation, from there to M."""
    guest.set(MEDELEG=1 << 8 | 1 << 3)
    guest.memory.write(S_HANDLER, assemble("ecall"))
    guest.execute(assemble("ecall"), privilege=USER, steps=2)
    assert guest.trap() == (9, 0, S_HANDLER)
    assert (guest.get("SCAUSE"), guest.get("SEPC")) == (8, CODE)
    assert guest.get("MSTATUS") & MPP == SUPERVISOR << 11


def test_exceptions_ignore_vectored_mode(guest: Guest) -> None:
    guest.set(MTVEC=M_HANDLER | 1)
    guest.execute(assemble("ecall"))
    assert guest.hart.pc == M_HANDLER


# -- counters ----------------------------------------------------------------------------------


def test_instret_is_exact(guest: Guest) -> None:
    """Read in the middle of a program, after traps, after being written."""
    read = assemble("csrrs", rd=1, csr=csr.MINSTRET)
    guest.execute(
        assemble("addi"),
        read,
        assemble("addi"),
        assemble("csrrs", rd=2, csr=csr.MINSTRET),
    )
    assert guest.hart.x[2] - guest.hart.x[1] == 2
    start = guest.hart.instructions
    guest.execute(assemble("ecall"))
    assert guest.hart.instructions == start
    guest.execute(assemble("csrrwi", csr=csr.MINSTRET, uimm=9), read)
    assert guest.hart.x[1] == 9


@pytest.mark.parametrize("limit", [2000, 12_000])
def test_instret_counts_the_same_in_long_runs(guest: Guest, limit: int) -> None:
    """A loop of four instructions, of which one traps and is skipped by the handler."""
    handler = (
        assemble("csrrs", rd=5, csr=csr.MEPC),
        assemble("addi", rd=5, rs1=5, imm=4),
        assemble("csrrw", rs1=5, csr=csr.MEPC),
        assemble("mret"),
    )
    loop = (
        assemble("ecall"),
        assemble("addi", rd=6, rs1=6, imm=1),
        assemble("csrrs", rd=7, csr=csr.MINSTRET),
        assemble("jal", imm=-12),
    )
    guest.memory.write(M_HANDLER, b"".join(handler))
    guest.memory.write(CODE, b"".join(loop))
    guest.hart.fence_i()
    guest.hart.pc = CODE
    before = guest.hart.instructions
    guest.hart.run(limit)
    passes = guest.hart.x[6]
    assert passes == -(-(limit - 5) // 8)
    assert guest.hart.x[7] - before == 7 * (passes - 1) + 5
    assert guest.hart.instructions - before == limit - -(-limit // 8)


COUNTERS = {"CYCLE": csr.CYCLE, "TIME": csr.TIME, "INSTRET": csr.INSTRET}


@pytest.mark.parametrize("bit", range(3))
@pytest.mark.parametrize("privilege", MODES)
def test_counters_are_open_as_far_as_allowed(guest: Guest, bit: int, privilege: int) -> None:
    number = csr.CYCLE + bit
    for machine in (0, 1 << bit, 7 ^ 1 << bit):
        for supervisor in (0, 1 << bit, 7 ^ 1 << bit):
            guest.set(MCOUNTEREN=machine, SCOUNTEREN=supervisor)
            guest.execute(assemble("csrrs", rd=1, csr=number), privilege=privilege)
            is_allowed = privilege == MACHINE or (
                machine >> bit & 1 and (privilege == SUPERVISOR or supervisor >> bit & 1)
            )
            assert (guest.trap() is None) == bool(is_allowed)


def test_the_other_counters_read_as_zero_in_machine_mode_only(guest: Guest) -> None:
    guest.set(MCOUNTEREN=-1 % 2**32, SCOUNTEREN=-1 % 2**32)
    for number in range(29):
        guest.hart.x[1] = 5
        guest.execute(assemble("csrrs", rd=1, csr=csr.HPMCOUNTER3 + number))
        assert guest.hart.x[1] == 0
        guest.execute(assemble("csrrs", csr=csr.HPMCOUNTER3 + number), privilege=SUPERVISOR)
        assert guest.trap() is not None


def test_what_python_writes_to_a_counter_is_what_it_reads(guest: Guest) -> None:
    guest.set(MINSTRET=1000, MCYCLE=5)
    assert (guest.get("MINSTRET"), guest.get("MCYCLE")) == (1000, 5)
    guest.execute(assemble("addi"))
    assert (guest.get("MINSTRET"), guest.get("MCYCLE")) == (1001, 6)
