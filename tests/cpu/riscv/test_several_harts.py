"""Harts on threads of their own that share memory."""

from __future__ import annotations

import threading
import time

import pytest
from tests.cpu.riscv.bench_machine import CODE, DATA, MEMORY, assemble

from maquina.cpu.riscv.code_map import CodeMap
from maquina.cpu.riscv.csr_numbers import MIE
from maquina.cpu.riscv.hart import Hart, connect
from maquina.machine.bus import AddressSpace
from maquina.machine.memory import GuestMemory
from maquina.machine.vcpu import Exit

SSI = 1
FOREVER = 1 << 40
PATIENCE_S = 60
WFI = assemble("wfi")
A, B = 10, 11  # registers with the addresses of two words, in cache lines of their own
COUNT, ONE = 12, 13


class Machine:
    """Harts with their code at CODE + 0x1000 * number."""

    def __init__(self, count: int) -> None:
        self.memory, bus = GuestMemory(CODE, MEMORY), AddressSpace()
        shared = CodeMap(self.memory)
        self.harts = [Hart(n, self.memory, bus, code_map=shared) for n in range(count)]
        self.table = connect(self.harts)

    def load(self, number: int, *code: bytes, **registers: int) -> None:
        hart = self.harts[number]
        hart.pc = CODE + 0x1000 * number
        self.memory.write(hart.pc, b"".join(code) + WFI)
        hart.fence_i()
        hart.x[A], hart.x[B], hart.x[ONE] = DATA, DATA + 64, 1
        for name, value in registers.items():
            hart.x[int(name[1:])] = value

    def run(self) -> None:
        """All of them until `wfi`."""
        threads = [threading.Thread(target=hart.run, args=(FOREVER,)) for hart in self.harts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        alive = [thread.is_alive() for thread in threads]
        for hart in self.harts:
            hart.stop()
        assert not any(alive), "a hart never came to its end"

    def word(self, offset: int = 0) -> int:
        return int.from_bytes(self.memory.read(DATA + offset, 8), "little")


def loop(*body: bytes) -> tuple[bytes, ...]:
    """COUNT times."""
    size = sum(map(len, body))
    return (
        *body,
        assemble("addi", rd=COUNT, rs1=COUNT, imm=-1),
        assemble("bne", rs1=COUNT, rs2=0, imm=-size - 4),
    )


RETRY = (
    assemble("lr.d", rd=5, rs1=A),
    assemble("addi", rd=5, rs1=5, imm=1),
    assemble("sc.d", rd=6, rs1=A, rs2=5),
    assemble("bne", rs1=6, rs2=0, imm=-12),
)
SPIN_LOCK = (
    assemble("amoswap.w", rd=5, rs1=B, rs2=ONE),
    assemble("bne", rs1=5, rs2=0, imm=-4),
    assemble("ld", rd=6, rs1=A),  # an increment that is not atomic
    assemble("addi", rd=6, rs1=6, imm=1),
    assemble("sd", rs1=A, rs2=6),
    assemble("fence"),
    assemble("amoswap.w", rd=0, rs1=B, rs2=0),
)


@pytest.mark.parametrize("harts", [2, 4])
@pytest.mark.parametrize(
    ("body", "turns"),
    [
        (RETRY, 50_000),
        ((assemble("amoadd.d", rd=0, rs1=A, rs2=ONE),), 200_000),
        (SPIN_LOCK, 3_000),
    ],
    ids=["lr and sc", "amoadd", "spin lock"],
)
def test_no_increment_is_lost(harts: int, body: tuple[bytes, ...], turns: int) -> None:
    machine = Machine(harts)
    for number in range(harts):
        machine.load(number, *loop(*body), x12=turns)
    machine.run()
    assert machine.word() == harts * turns


def test_every_value_is_handed_out_once() -> None:
    """The old values that amoadd returns, summed up."""
    turns = 100_000
    machine = Machine(3)
    body = (assemble("amoadd.d", rd=5, rs1=A, rs2=ONE), assemble("add", rd=7, rs1=7, rs2=5))
    for number in range(3):
        machine.load(number, *loop(*body), x12=turns)
    machine.run()
    assert sum(hart.x[7] for hart in machine.harts) == sum(range(3 * turns))


def test_a_message_arrives_with_its_flag() -> None:
    """MP: who sees the flag of turn n sees its data, between fences."""
    turns = 30_000
    machine = Machine(2)
    machine.load(
        0,
        *loop(
            assemble("sd", rs1=A, rs2=COUNT),
            assemble("fence"),
            assemble("sd", rs1=B, rs2=COUNT),
        ),
        x12=turns,
    )
    machine.load(
        1,
        *loop(
            assemble("ld", rd=5, rs1=B),
            assemble("fence"),
            assemble("ld", rd=6, rs1=A),
            assemble("sltu", rd=8, rs1=5, rs2=6),  # counting down: data must not be older
            assemble("sltu", rd=9, rs1=0, rs2=5),  # once there is a flag at all
            assemble("and", rd=8, rs1=8, rs2=9),
            assemble("add", rd=7, rs1=7, rs2=8),
        ),
        x12=4 * turns,
    )
    machine.run()
    assert machine.harts[1].x[7] == 0


def rendezvous(machine: Machine, first: bytes, second: bytes, turns: int) -> None:
    """Two harts that run a litmus test in step, and store x5 of each turn."""
    arrive = 128
    for number, body in enumerate((first, second)):
        machine.load(
            number,
            *loop(
                assemble("addi", rd=20, rs1=20, imm=2),
                assemble("amoadd.d", rd=0, rs1=21, rs2=ONE),
                assemble("ld", rd=22, rs1=21),
                assemble("bltu", rs1=22, rs2=20, imm=-4),
                body,
                assemble("sd", rs1=23, rs2=5),
                assemble("addi", rd=23, rs1=23, imm=8),
                assemble("addi", rd=A, rs1=A, imm=16),
                assemble("addi", rd=B, rs1=B, imm=16),
            ),
            x12=turns,
            x21=DATA + arrive,
            x20=0,
            x23=DATA + 0x2000 + 0x1000 * number,
        )
        machine.harts[number].x[A], machine.harts[number].x[B] = DATA + 0x4000, DATA + 0x4008


def results(machine: Machine, turns: int) -> set[tuple[int, int]]:
    columns = [
        memoryview(machine.memory.read(DATA + 0x2000 + 0x1000 * n, 8 * turns)).cast("Q")
        for n in range(2)
    ]
    return set(zip(*columns, strict=True))


TURNS = 400


def test_with_fences_one_of_two_stores_is_seen() -> None:
    """SB: each stores its word and reads the other's; both reading zero is forbidden."""
    machine = Machine(2)

    def half(mine: int, other: int) -> bytes:
        return (
            assemble("sd", rs1=mine, rs2=ONE) + assemble("fence") + assemble("ld", rd=5, rs1=other)
        )

    rendezvous(machine, half(A, B), half(B, A), TURNS)
    machine.run()
    assert (0, 0) not in results(machine, TURNS)


def test_nobody_reads_what_is_stored_later() -> None:
    """LB: both load, then store what the other loads; with fences not both may see it."""
    machine = Machine(2)

    def half(mine: int, other: int) -> bytes:
        return (
            assemble("ld", rd=5, rs1=mine) + assemble("fence") + assemble("sd", rs1=other, rs2=ONE)
        )

    rendezvous(machine, half(A, B), half(B, A), TURNS)
    machine.run()
    assert (1, 1) not in results(machine, TURNS)


# -- asking another hart for something ---------------------------------------------------------


def test_a_posted_interrupt_reaches_a_hart_that_runs() -> None:
    machine = Machine(1)
    hart = machine.harts[0]
    machine.load(0, assemble("csrrs", rd=5, csr=0x344), assemble("beq", rs1=5, rs2=0, imm=-4))
    thread = threading.Thread(target=hart.run, args=(FOREVER,))
    thread.start()
    time.sleep(0.02)
    hart.set_interrupt(SSI, True)
    thread.join(PATIENCE_S)
    assert hart.x[5] == 1 << SSI


def test_a_posted_interrupt_wakes_a_hart_that_waits() -> None:
    hart = Machine(1).harts[0]
    hart.write_csr(MIE, 1 << SSI)
    timer = threading.Timer(0.05, hart.set_interrupt, (SSI, True))
    begun = time.monotonic()
    timer.start()
    hart.wait(PATIENCE_S)
    timer.join()
    assert time.monotonic() - begun < PATIENCE_S / 2
    assert hart.has_pending_interrupt


def test_stop_returns_soon_from_any_loop() -> None:
    machine = Machine(4)
    for number in range(4):
        machine.load(number, assemble("jal", imm=0))
    reasons: list[Exit] = []
    threads = [
        threading.Thread(target=lambda hart: reasons.append(hart.run(FOREVER)), args=(hart,))
        for hart in machine.harts
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    begun = time.monotonic()
    for hart in machine.harts:
        hart.stop()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert reasons == [Exit.STOPPED] * 4
    assert time.monotonic() - begun < 5


def test_code_written_by_another_hart_is_seen_after_a_fence() -> None:
    """The writer patches an instruction and raises a flag; the reader then fences and runs it."""
    machine = Machine(2)
    target = CODE + 0x3000
    old, new = assemble("addi", rd=7, imm=1), assemble("addi", rd=7, imm=2)
    back = assemble("jalr", rs1=1)
    machine.memory.write(target, old + back)
    machine.load(
        1,
        assemble("jalr", rd=1, rs1=9),
        assemble("add", rd=8, rs1=7),
        assemble("ld", rd=5, rs1=B),
        assemble("beq", rs1=5, rs2=0, imm=-12),
        assemble("fence.i"),
        assemble("jalr", rd=1, rs1=9),
        x9=target,
    )
    delay = loop(assemble("addi"))
    machine.load(
        0,
        *delay,
        assemble("sw", rs1=9, rs2=6),
        assemble("fence"),
        assemble("sd", rs1=B, rs2=ONE),
        x9=target,
        x6=int.from_bytes(new, "little"),
        x12=1_000_000,
    )
    machine.run()
    assert machine.harts[1].x[7] == 2
