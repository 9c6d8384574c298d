"""Integer instructions, one by one and in random programs, compared with Unicorn."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from tests.cpu.riscv.bench_machine import (
    CODE,
    DATA,
    DATA_BYTES,
    LINES,
    MEMORY,
    Bench,
    assemble,
    pick,
)

from maquina.cpu.riscv.rv_a import rv_a
from maquina.cpu.riscv.rv_c import EXPANSIONS
from maquina.cpu.riscv.rv_i import rv_i
from maquina.cpu.riscv.rv_m import rv_m
from maquina.cpu.riscv.table import Instruction, Kind

unicorn = pytest.importorskip("unicorn", reason="needs Unicorn, a RISC-V CPU to compare with")

SEED = 20240411
LOADS_AND_STORES = [line for line in rv_i.instructions if "mem" in line.semantics.parameters]
CONTROL = [line for line in rv_i.instructions if line.kind in (Kind.BRANCH, Kind.JUMP)]
PLAIN = [
    line
    for line in (*rv_i.instructions, *rv_m.instructions)
    if line.kind is Kind.VALUE and "mem" not in line.semantics.parameters
]
AMOS = [line for line in rv_a.instructions if line.name.startswith("amo")]
"""Whether a store-conditional succeeds after other stores is an implementation's choice."""
BASE = 31
"""The register that points into the data; programs do not change it."""


class Peer:
    """Unicorn's hart."""

    def __init__(self) -> None:
        import unicorn.riscv_const as names

        self.uc = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV64)
        self.uc.mem_map(CODE, MEMORY)
        self.x0, self.pc = names.UC_RISCV_REG_X0, names.UC_RISCV_REG_PC

    def run(
        self, code: bytes, registers: Sequence[int], data: bytes, count: int
    ) -> tuple[int, list[int], bytes]:
        self.uc.ctl_flush_tb()
        self.uc.mem_write(CODE, code)
        self.uc.mem_write(DATA, data)
        for number, value in enumerate(registers):
            self.uc.reg_write(self.x0 + number, value)
        self.uc.emu_start(CODE, CODE + len(code), count=count)
        answer = [self.uc.reg_read(self.x0 + number) for number in range(32)]
        return self.uc.reg_read(self.pc), answer, bytes(self.uc.mem_read(DATA, DATA_BYTES))


@pytest.fixture(scope="module")
def peer() -> Peer:
    return Peer()


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench()


def random_operands(line: Instruction, source: random.Random) -> dict[str, int]:
    """Operands that keep loads, stores and atomics inside the data."""
    operands = {
        "rd": source.randrange(31),
        "rs1": source.randrange(31),
        "rs2": source.randrange(32),
        "shamt": source.randrange(64),
        "shamtw": source.randrange(32),
        "imm": source.randrange(-2048, 2048),
    }
    if any(width == 20 for _, width, _ in line.encoding.slices):
        operands["imm"] = source.getrandbits(20) << 12
    if "mem" in line.semantics.parameters:
        operands["rs1"] = BASE
    return operands


def random_state(source: random.Random) -> tuple[list[int], bytes]:
    registers = [0, *(pick(source) for _ in range(31))]
    registers[BASE] = DATA + DATA_BYTES // 2
    return registers, source.randbytes(DATA_BYTES)


def check(
    bench: Bench, peer: Peer, code: bytes, state: tuple[list[int], bytes], count: int, seed: str
) -> None:
    registers, data = state
    bench.load(code, registers, data)
    bench.hart.run(count)
    expected = peer.run(code, registers, data, count)
    assert bench.outcome() == expected, f"seed {seed}: {code.hex(' ', 4)}"


@pytest.mark.parametrize(
    "line", [*PLAIN, *LOADS_AND_STORES, *rv_a.instructions], ids=lambda x: x.name
)
def test_each_instruction_does_what_it_does_in_unicorn(
    line: Instruction, bench: Bench, peer: Peer
) -> None:
    source = random.Random(f"{SEED} {line.name}")
    for turn in range(60):
        code = assemble(line.name, **random_operands(line, source))
        check(bench, peer, code, random_state(source), 1, f"{SEED} {line.name}, turn {turn}")


def random_program(source: random.Random, length: int) -> bytes:
    """Straight-line code with branches and jumps that go a little forward."""
    code = []
    for place in range(length):
        kind = source.random()
        if kind < 0.15 and place < length - 8:
            line = source.choice([one for one in CONTROL if one.name != "jalr"])
            operands = random_operands(line, source) | {"imm": 4 * source.randrange(1, 8)}
        else:
            table = PLAIN if kind < 0.7 else LOADS_AND_STORES if kind < 0.9 else AMOS
            line = source.choice(table)
            operands = random_operands(line, source)
        code.append(assemble(line.name, **operands))
    return b"".join(code)


def test_random_programs_do_what_they_do_in_unicorn(bench: Bench, peer: Peer) -> None:
    for number in range(300):
        seed = f"{SEED} program {number}"
        source = random.Random(seed)
        code = random_program(source, 60) + assemble("jal", imm=0)
        check(bench, peer, code, random_state(source), 200, seed)


def test_every_compressed_instruction_does_what_it_does_in_unicorn(
    bench: Bench, peer: Peer
) -> None:
    """All 16-bit encodings of arithmetic and moves, with random registers."""
    arithmetic = [e for e in EXPANSIONS if not touches_memory_or_pc(e.name)]
    assert len(arithmetic) > 15
    for expansion in arithmetic:
        source = random.Random(f"{SEED} {expansion.name}")
        for turn in range(60):
            half = source.getrandbits(16) & ~expansion.mask | expansion.match
            if first_match(half) != expansion.name or is_illegal(half):
                continue
            code = half.to_bytes(2, "little")
            seed = f"{SEED} {expansion.name}, turn {turn}"
            check(bench, peer, code, random_state(source), 1, seed)


def touches_memory_or_pc(name: str) -> bool:
    memory = ("lw", "ld", "sw", "sd", "fld", "fsd", "lwsp", "ldsp", "swsp", "sdsp")
    control = ("j", "jr", "jalr", "beqz", "bnez", "ebreak")
    return name.removeprefix("c.") in (*memory, "fldsp", "fsdsp", *control)


def first_match(half: int) -> str:
    return next(e.name for e in EXPANSIONS if half & e.mask == e.match)


def is_illegal(half: int) -> bool:
    from maquina.cpu.riscv.rv_c import expand_compressed
    from maquina.jit import u32

    return int(expand_compressed(u32(half))) == 0


def test_the_table_covers_the_base_instructions() -> None:
    assert len(PLAIN) + len(LOADS_AND_STORES) + len(CONTROL) == len(rv_i.instructions) + 13
    assert {"jal", "jalr", "beq", "fence"} <= set(LINES)
