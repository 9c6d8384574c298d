"""Interrupts: when they are taken, by whom, in which order; timers; `wfi`."""

from __future__ import annotations

import itertools
import time

import pytest
from tests.cpu.riscv.bench_machine import CODE, assemble
from tests.cpu.riscv.guest import (
    FS_ON,
    M_HANDLER,
    MACHINE,
    MIE,
    S_HANDLER,
    SIE,
    STCE,
    SUPERVISOR,
    USER,
    Guest,
)

from maquina.cpu.riscv import csr_numbers as csr
from maquina.jit import u64
from maquina.machine.vcpu import Exit

SSI, MSI, STI, MTI, SEI, MEI = 1, 3, 5, 7, 9, 11
BY_PRIORITY = (MEI, MSI, MTI, SEI, SSI, STI)
ALL = sum(1 << n for n in BY_PRIORITY)
OF_SUPERVISOR = (SSI, STI, SEI)
INTERRUPT = 1 << 63
NEVER = (1 << 64) - 1
LONG = {"interp": 9000, "reference": 40}
"""More than what is executed one step at a time, where that is quick."""
NOP, WFI, FOREVER = assemble("addi"), assemble("wfi"), assemble("jal", imm=0)


@pytest.fixture(params=["interp", "reference"])
def guest(request: pytest.FixtureRequest) -> Guest:
    return Guest(request.param)


def pend(guest: Guest, bits: int) -> None:
    """By the lines of devices for M-mode, by mip for S-mode."""
    for number in (MSI, MEI):
        guest.hart.set_interrupt(number, bits >> number & 1 != 0)
    guest.hart.set_timer(0 if bits >> MTI & 1 else NEVER)
    guest.set(MIP=bits)


@pytest.mark.parametrize("privilege", [USER, SUPERVISOR, MACHINE])
@pytest.mark.parametrize("number", BY_PRIORITY)
@pytest.mark.parametrize("delegated", [False, True])
@pytest.mark.parametrize("enabled", [0, SIE, MIE, SIE | MIE])
def test_who_takes_an_interrupt(
    guest: Guest, privilege: int, number: int, delegated: bool, enabled: int
) -> None:
    guest.set(MSTATUS=FS_ON | enabled, MIE=1 << number, MIDELEG=ALL * delegated)
    pend(guest, 1 << number)
    guest.execute(NOP, privilege=privilege)
    if delegated and number in OF_SUPERVISOR:
        taken = privilege == USER or (privilege == SUPERVISOR and enabled & SIE)
        handler, level, pc = S_HANDLER, SUPERVISOR, guest.get("SEPC")
    else:
        taken = privilege < MACHINE or enabled & MIE
        handler, level, pc = M_HANDLER, MACHINE, guest.get("MEPC")
    if taken:
        assert (guest.hart.pc, guest.hart.privilege, pc) == (handler, level, CODE)
        assert guest.trap() == (INTERRUPT | number, 0, CODE)
    else:
        assert (guest.hart.pc, guest.hart.privilege) == (CODE + 4, privilege)


@pytest.mark.parametrize("pair", list(itertools.combinations(BY_PRIORITY, 2)))
def test_the_more_urgent_is_taken_first(guest: Guest, pair: tuple[int, int]) -> None:
    guest.set(MSTATUS=FS_ON | MIE, MIE=ALL)
    pend(guest, 1 << pair[0] | 1 << pair[1])
    guest.execute(NOP)
    assert guest.get("MCAUSE") == INTERRUPT | pair[0]


@pytest.mark.parametrize("pair", list(itertools.combinations((SEI, SSI, STI), 2)))
def test_the_more_urgent_is_taken_first_by_supervisors(
    guest: Guest, pair: tuple[int, int]
) -> None:
    guest.set(MIDELEG=ALL, MIE=ALL)
    pend(guest, 1 << pair[0] | 1 << pair[1])
    guest.execute(NOP, privilege=USER)
    assert guest.get("SCAUSE") == INTERRUPT | pair[0]


def test_interrupts_for_machine_mode_come_before_delegated_ones(guest: Guest) -> None:
    guest.set(MIDELEG=1 << SEI | 1 << SSI, MIE=ALL)
    pend(guest, 1 << SEI | 1 << STI)
    guest.execute(NOP, privilege=USER)
    assert guest.trap() == (INTERRUPT | STI, 0, CODE)
    assert guest.hart.privilege == MACHINE


@pytest.mark.parametrize("number", BY_PRIORITY)
def test_vectored_mode(guest: Guest, number: int) -> None:
    guest.set(MTVEC=M_HANDLER | 1, STVEC=S_HANDLER | 1, MIE=ALL)
    pend(guest, 1 << number)
    guest.memory.write(CODE, NOP)
    guest.hart.pc, guest.hart.privilege = CODE, USER
    guest.hart.run(1)
    assert guest.get("MEPC") == CODE
    assert guest.hart.pc == M_HANDLER + 4 * number


WAYS_TO_ENABLE = {
    "mstatus": (assemble("csrrsi", csr=csr.MSTATUS, uimm=8), 0, ALL, 1 << SSI),
    "mie": (assemble("csrrw", csr=csr.MIE, rs1=1), MIE, 0, 1 << SSI),
    "mip": (assemble("csrrw", csr=csr.MIP, rs1=1), MIE, ALL, 0),
    "sip": (assemble("csrrsi", csr=csr.SIP, uimm=2), MIE, ALL, 0),
}


@pytest.mark.parametrize("way", WAYS_TO_ENABLE)
def test_an_interrupt_that_becomes_possible_is_taken_at_once(guest: Guest, way: str) -> None:
    """In the middle of a long run, too: the next instruction is not executed."""
    code, status, enabled, pending = WAYS_TO_ENABLE[way]
    if way == "sip":
        guest.set(MIDELEG=1 << SSI)
    guest.set(MSTATUS=FS_ON | status | SIE, MIE=enabled, MIP=pending)
    guest.memory.write(CODE, NOP * 8 + code + assemble("addi", rd=5, imm=1))
    guest.memory.write(M_HANDLER, FOREVER)
    guest.memory.write(S_HANDLER, FOREVER)
    guest.hart.x[1], guest.hart.pc = 1 << SSI, CODE
    guest.hart.privilege = MACHINE
    if way == "sip":
        guest.hart.privilege = SUPERVISOR
    guest.hart.run(LONG[guest.hart.accel])
    assert guest.hart.x[5] == 0
    epc = guest.get("SEPC") if way == "sip" else guest.get("MEPC")
    assert epc == CODE + 36


@pytest.mark.parametrize("way", ["mret", "sret"])
def test_a_return_may_end_in_an_interrupt(guest: Guest, way: str) -> None:
    guest.set(MIE=1 << SSI, MIP=1 << SSI, MEPC=CODE + 0x40, SEPC=CODE + 0x40)
    guest.set(MSTATUS=FS_ON)
    guest.memory.write(CODE, assemble(way))
    guest.memory.write(CODE + 0x40, assemble("addi", rd=5, imm=1))
    guest.memory.write(M_HANDLER, FOREVER)
    guest.hart.pc = CODE
    guest.hart.run(LONG[guest.hart.accel])
    assert guest.hart.x[5] == 0
    assert (guest.get("MCAUSE"), guest.get("MEPC")) == (INTERRUPT | SSI, CODE + 0x40)


def test_what_supervisors_see_of_pending_and_enabled(guest: Guest) -> None:
    """Only what is delegated; only the software interrupt can be written."""
    guest.set(MIDELEG=1 << SSI | 1 << SEI, MIE=ALL, MIP=0xFFFF)
    assert guest.get("SIE") == 1 << SSI | 1 << SEI
    assert guest.get("SIP") == 1 << SSI | 1 << SEI
    guest.set(SIP=0, SIE=0)
    assert guest.get("SIP") == 1 << SEI
    assert guest.get("MIE") == ALL & ~(1 << SSI | 1 << SEI)
    assert guest.get("MIP") & 0xFFF == 1 << SEI | 1 << STI


def test_a_devices_line_is_not_written_back(guest: Guest) -> None:
    """csrrs of mip with an asserted line must not leave the bit behind."""
    guest.hart.set_interrupt(SEI, True)
    guest.execute(assemble("csrrsi", rd=1, csr=csr.MIP, uimm=2))
    assert guest.hart.x[1] & 1 << SEI
    guest.hart.set_interrupt(SEI, False)
    assert guest.get("MIP") == 1 << SSI


def test_a_posted_software_interrupt_stays_until_cleared(guest: Guest) -> None:
    guest.set(MIDELEG=1 << SSI, MIE=1 << SSI)
    guest.hart.set_interrupt(SSI, True)
    guest.execute(NOP, privilege=USER)
    assert guest.trap() == (INTERRUPT | SSI, 0, CODE)
    guest.execute(assemble("csrrci", rd=1, csr=csr.SIP, uimm=2), privilege=SUPERVISOR)
    assert guest.hart.x[1] == 1 << SSI
    assert guest.get("SIP") == 0


# -- timers ------------------------------------------------------------------------------------


def counting_time(guest: Guest) -> None:
    """100 instructions are a tick."""
    guest.hart.state.counts_time = u64(1)


@pytest.mark.parametrize("enabled", [0, ALL])
def test_pending_timers_are_seen_without_being_enabled(guest: Guest, enabled: int) -> None:
    guest.set(MENVCFG=STCE, MIE=enabled, STIMECMP=0)
    guest.hart.set_timer(0)
    assert guest.get("MIP") == 1 << STI | 1 << MTI
    guest.set(STIMECMP=NEVER)
    guest.hart.set_timer(NEVER)
    assert guest.get("MIP") == 0


def test_the_supervisors_timer_bit_is_the_comparison(guest: Guest) -> None:
    """With Sstc mip.STIP cannot be written; without it it is software's."""
    guest.set(MENVCFG=STCE, STIMECMP=NEVER, MIP=1 << STI)
    assert guest.get("MIP") == 0
    guest.set(MENVCFG=0, STIMECMP=0)
    assert guest.get("MIP") == 0
    guest.set(MIP=1 << STI)
    assert guest.get("MIP") == 1 << STI


@pytest.mark.parametrize("is_supervisors", [False, True])
def test_a_timer_ends_a_loop(guest: Guest, is_supervisors: bool) -> None:
    counting_time(guest)
    ticks, limit = (50, 13_400) if guest.hart.accel == "interp" else (5, 700)
    guest.memory.write(CODE, assemble("addi", rd=5, rs1=5, imm=1) + assemble("jal", imm=-4))
    guest.memory.write(M_HANDLER, FOREVER)
    guest.set(MSTATUS=FS_ON | MIE, MENVCFG=STCE, MIE=1 << STI | 1 << MTI)
    if is_supervisors:
        guest.set(STIMECMP=ticks)
    else:
        guest.hart.set_timer(ticks)
    guest.hart.pc = CODE
    guest.hart.run(limit)
    number = STI if is_supervisors else MTI
    assert guest.get("MCAUSE") == INTERRUPT | number
    assert guest.hart.x[5] >= 50 * ticks


def test_counted_time_never_goes_back(guest: Guest) -> None:
    """Traps retire nothing, but take time."""
    counting_time(guest)
    loop = (
        assemble("csrrs", rd=6, csr=csr.TIME),
        assemble("bltu", rs1=6, rs2=5, imm=16),
        assemble("addi", rd=5, rs1=6),
        assemble("ecall"),
        assemble("jal", imm=-16),
        WFI,
    )
    skip = (
        assemble("csrrs", rd=7, csr=csr.MEPC),
        assemble("addi", rd=7, rs1=7, imm=4),
        assemble("csrrw", rs1=7, csr=csr.MEPC),
        assemble("mret"),
    )
    guest.memory.write(CODE, b"".join(loop))
    guest.memory.write(M_HANDLER, b"".join(skip))
    guest.hart.pc = CODE
    for _ in range(3):
        assert guest.hart.run(997) is Exit.LIMIT
    assert guest.hart.x[5] >= 25


def test_time_is_the_hosts(guest: Guest) -> None:
    """In ticks of 100 ns."""
    first = guest.get("TIME")
    time.sleep(0.02)
    assert 200_000 <= guest.get("TIME") - first < 50_000_000


@pytest.mark.parametrize(
    ("machine", "enabled", "privilege", "is_allowed"),
    [
        (2, STCE, SUPERVISOR, True),
        (0, STCE, SUPERVISOR, False),
        (2, 0, SUPERVISOR, False),
        (0, 0, MACHINE, True),
        (7, STCE, USER, False),
    ],
)
def test_who_may_set_the_supervisors_timer(
    guest: Guest, machine: int, enabled: int, privilege: int, is_allowed: bool
) -> None:
    guest.set(MCOUNTEREN=machine, SCOUNTEREN=7, MENVCFG=enabled)
    guest.execute(assemble("csrrw", rs1=0, csr=csr.STIMECMP), privilege=privilege)
    assert (guest.trap() is None) == is_allowed


def test_the_next_timer_is_told_to_who_waits(guest: Guest) -> None:
    assert guest.hart.timer_deadline() is None
    guest.set(MENVCFG=STCE, MIE=1 << STI, STIMECMP=guest.get("TIME") + 10_000_000)
    assert 0.5 < (guest.hart.timer_deadline() or 0) - time.monotonic() < 1.1
    guest.set(MIE=1 << STI | 1 << MTI)
    guest.hart.set_timer(0)
    assert 0 < (guest.hart.timer_deadline() or 0) <= time.monotonic()


# -- waiting -----------------------------------------------------------------------------------


def test_wfi_leaves_until_something_is_pending(guest: Guest) -> None:
    """Enabled in mie is enough; what is enabled globally or delegated does not matter."""
    guest.memory.write(CODE, WFI + NOP * 4)
    guest.hart.pc = CODE
    guest.set(MIE=1 << SEI, MSTATUS=FS_ON, MIDELEG=1 << SEI)
    assert guest.hart.run(3) is Exit.IDLE
    assert guest.hart.pc == CODE + 4
    seen = [guest.hart.has_pending_interrupt]
    guest.hart.set_interrupt(SEI, True)
    assert [*seen, guest.hart.has_pending_interrupt] == [False, True]
    guest.hart.pc = CODE
    assert guest.hart.run(3) is Exit.LIMIT
    assert guest.hart.pc == CODE + 12


def test_waiting_ends_by_an_interrupt_a_stop_or_the_time(guest: Guest) -> None:
    guest.set(MIE=1 << SEI)
    begun = time.monotonic()
    guest.hart.wait(0.01)
    guest.hart.set_interrupt(SEI, True)
    guest.hart.wait(60)
    guest.hart.set_interrupt(SEI, False)
    guest.hart.stop()
    guest.hart.wait(60)
    assert 0.01 <= time.monotonic() - begun < 30


def test_stop_ends_the_next_run_once(guest: Guest) -> None:
    guest.memory.write(CODE, assemble("jal", imm=0))
    guest.hart.pc = CODE
    guest.hart.stop()
    assert guest.hart.run(10) is Exit.STOPPED
    assert guest.hart.run(10) is Exit.LIMIT
