"""Sequences of floating-point instructions, loads, stores and CSR accesses against Unicorn.

Registers 0 to 15 hold singles and the others doubles: Unicorn is too old to look at the box of a
single, and its fmin and fmax of signaling NaNs are those of IEEE 754-2008, so these stay out.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from tests.cpu.riscv.bench_machine import (
    CODE,
    DATA,
    DATA_BYTES,
    LINES,
    MEMORY,
    MSTATUS,
    Bench,
    assemble,
    pick,
)

from maquina.cpu.riscv.csr_numbers import FCSR, FFLAGS, FRM
from maquina.cpu.riscv.rv_d import rv_d
from maquina.cpu.riscv.rv_f import rv_f
from maquina.cpu.riscv.table import Instruction
from maquina.jit import f32
from maquina.machine.vcpu import Exit

unicorn = pytest.importorskip("unicorn", reason="needs Unicorn, a RISC-V CPU to compare with")

SEED = 20190608
PROGRAMS, LENGTH = 1000, 50
FS_ON = 3 << 13
BASE = 31
BOX = 0xFFFFFFFF << 32
ARITHMETIC = [
    line
    for line in (*rv_f.instructions, *rv_d.instructions)
    if not line.name.startswith(("fmin", "fmax"))
]
SPECIAL = (0x7FF0, 0xFFF0, 0x7FF8, 0x7FF4, 0x0000, 0x8000, 0x0001, 0x3FF0, 0xBFF0, 0x7FEF, 0x0010)


@dataclass(frozen=True)
class Registers:
    """What both harts start with and end with."""

    x: list[int]
    f: list[int]
    fcsr: int
    data: bytes


class Peer:
    """Unicorn's hart."""

    def __init__(self) -> None:
        import unicorn.riscv_const as names

        self.uc = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV64)
        self.uc.mem_map(CODE, MEMORY)
        self.uc.reg_write(names.UC_RISCV_REG_MSTATUS, FS_ON)
        self.x, self.f = names.UC_RISCV_REG_X0, names.UC_RISCV_REG_F0
        self.fcsr = names.UC_RISCV_REG_FCSR

    def run(self, code: bytes, start: Registers) -> Registers:
        self.uc.ctl_flush_tb()
        self.uc.mem_write(CODE, code)
        self.uc.mem_write(DATA, start.data)
        for number in range(32):
            self.uc.reg_write(self.x + number, start.x[number])
            self.uc.reg_write(self.f + number, start.f[number])
        self.uc.reg_write(self.fcsr, start.fcsr)
        self.uc.emu_start(CODE, CODE + len(code))
        return Registers(
            [self.uc.reg_read(self.x + n) for n in range(32)],
            [self.uc.reg_read(self.f + n) & (~BOX if n < 16 else -1) for n in range(32)],
            self.uc.reg_read(self.fcsr),
            bytes(self.uc.mem_read(DATA, DATA_BYTES)),
        )


def run(bench: Bench, code: bytes, start: Registers) -> Registers:
    hart = bench.hart
    bench.load(code + assemble("wfi"), start.x, start.data)
    for number, value in enumerate(start.f):
        hart.f[number] = value
    hart.write_csr(FCSR, start.fcsr)
    assert hart.run(20_000) is Exit.IDLE
    assert all(hart.f[n] >= BOX for n in range(16)), "a single without its box"
    return Registers(
        list(hart.x),
        [hart.f[n] & (~BOX if n < 16 else -1) for n in range(32)],
        hart.read_csr(FCSR),
        bench.memory.read(DATA, DATA_BYTES),
    )


def is_single(line: Instruction, name: str) -> bool:
    """Whether a register operand is a single."""
    if name == "frd":
        return line.semantics.result is f32 or line.name.startswith("fmv.w")
    kind = line.semantics.parameters[name]
    return kind is f32 or line.name == "fmv.x.w"


def arithmetic(source: random.Random) -> bytes:
    line = source.choice(ARITHMETIC)
    operands = {"rm": source.choice((0, 1, 2, 3, 4, 7, 7, 7, 7))}
    operands |= {"rd": source.randrange(31), "rs1": source.randrange(31)}
    for name in line.encoding.fields:
        if name.startswith("fr"):
            operands[name] = source.randrange(16) + (0 if is_single(line, name) else 16)
    return assemble(line.name, **operands)


def access(source: random.Random) -> bytes:
    name = source.choice(("flw", "fld", "fsw", "fsd"))
    register = source.randrange(16) + 16 * name.endswith("d")
    offset = source.randrange(-256, 256)
    return assemble(name, frd=register, frs2=register, rs1=BASE, imm=offset)


def control(source: random.Random) -> bytes:
    number = source.choice((FFLAGS, FRM, FCSR))
    if number == FRM:
        return assemble("csrrwi", csr=FRM, rd=source.randrange(31), uimm=source.randrange(5))
    if number == FCSR:
        return assemble("csrrs", csr=FCSR, rd=source.randrange(31))
    name = source.choice(("csrrwi", "csrrsi", "csrrci"))
    return assemble(name, csr=FFLAGS, rd=source.randrange(31), uimm=source.randrange(32))


def pick_double(source: random.Random) -> int:
    if source.random() < 0.4:
        return source.choice(SPECIAL) << 48 | source.choice((0, 0, 1, source.getrandbits(48)))
    return source.getrandbits(1) << 63 | source.randint(990, 1060) << 52 | source.getrandbits(52)


def pick_single(source: random.Random) -> int:
    if source.random() < 0.4:
        special = source.choice((0, 0x80000000, 0x7F800000, 0x7FC00000, 0x7F800001, 1, 0x800000))
        return BOX | special | source.getrandbits(1) << 31
    return (
        BOX | source.getrandbits(1) << 31 | source.randint(96, 158) << 23 | source.getrandbits(23)
    )


def start_of(source: random.Random) -> Registers:
    x = [0, *(pick(source) for _ in range(30)), DATA + DATA_BYTES // 2]
    f = [pick_single(source) for _ in range(16)] + [pick_double(source) for _ in range(16)]
    data = b"".join(
        value.to_bytes(8, "little")[:width]
        for width in (4, 8)
        for value in (
            (pick_single if width == 4 else pick_double)(source)
            for _ in range(DATA_BYTES // 2 // width)
        )
    )
    return Registers(x, f, source.randrange(5) << 5 | source.randrange(32), data)


def test_sequences_do_what_they_do_in_unicorn() -> None:
    bench, peer = Bench(), Peer()
    bench.hart.write_csr(MSTATUS, FS_ON)
    for number in range(PROGRAMS):
        seed = f"{SEED} program {number}"
        source = random.Random(seed)
        makers = source.choices((arithmetic, access, control), (75, 15, 10), k=LENGTH)
        code = [maker(source) for maker in makers]
        start = start_of(source)
        got = run(bench, b"".join(code), start)
        want = peer.run(b"".join(code), start)
        assert got == want, f"seed {seed!r}: {b''.join(code).hex(' ', 4)}"


def test_the_instructions_are_all_there() -> None:
    assert {"flw", "fsw", "fld", "fsd"} <= set(LINES)
    assert len(ARITHMETIC) > 50
