"""F and D as a hart executes them: boxes, rounding modes, flags, and what is illegal."""

import random
import struct
from collections.abc import Iterator

import pytest
from tests.cpu.riscv.float_instructions import (
    DYNAMIC,
    FIELDS,
    FS_ON,
    LINES,
    MODES,
    SEED,
    Case,
    cases,
    in_cpython,
    register,
    registers,
)  # fmt: skip

from maquina.cpu.riscv.csr_numbers import FCSR, FRM, MCAUSE, MSTATUS, MTVAL, MTVEC
from maquina.cpu.riscv.hart import Hart
from maquina.cpu.riscv.table import Instruction
from maquina.jit import f32, u32
from maquina.jit.floats import canonical_nan
from maquina.machine.bus import AddressSpace
from maquina.machine.memory import GuestMemory

RAM, RAM_SIZE = 0x8000_0000, 1 << 20
HANDLER = RAM + RAM_SIZE // 2
JUMP_HERE = 0x0000_006F
ILLEGAL_INSTRUCTION = 2
RESERVED = (u32(5), u32(6))
BEFORE = 0x1234_5678_9ABC_DEF0  # in the destination


class Bench:
    """A hart on a bare memory, given one instruction at a time."""

    def __init__(self, hart: Hart, memory: GuestMemory) -> None:
        self.hart, self.memory = hart, memory
        self.places: dict[int, int] = {}
        hart.write_csr(MTVEC, HANDLER)
        memory.write(HANDLER, struct.pack("<I", JUMP_HERE))

    def place(self, word: int) -> int:
        """Where an instruction is; each has a place, so that it is decoded once."""
        if word not in self.places:
            self.places[word] = RAM + 4 * len(self.places)
            self.memory.write(self.places[word], struct.pack("<I", word))
        return self.places[word]

    def execute(self, line: Instruction, contents: dict[str, int], rm: u32, frm: u32) -> int:
        """Run an instruction on these registers; its address."""
        hart = self.hart
        for name, bits in contents.items():
            (hart.f if name[0] == "f" else hart.x)[FIELDS[name]] = bits
        hart.f[FIELDS["frd"]] = hart.x[FIELDS["rd"]] = BEFORE
        hart.write_csr(FCSR, frm.value << 5)
        hart.pc = place = self.place(line.encoding.encode(**FIELDS, rm=rm.value))
        hart.run(1)
        return place

    def result(self, line: Instruction) -> int:
        registers = self.hart.f if "frd" in line.encoding.fields else self.hart.x
        return registers[FIELDS["rd"]]


@pytest.fixture(scope="module", params=["interp", "reference"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    memory = GuestMemory(RAM, RAM_SIZE)
    hart = Hart(0, memory, AddressSpace(), accel=request.param)
    yield Bench(hart, memory)
    memory.close()


@pytest.fixture(autouse=True)
def switched_on(bench: Bench) -> None:
    bench.hart.write_csr(MSTATUS, FS_ON)


def unboxed(line: Instruction, case: Case, rng: random.Random) -> dict[str, int]:
    """The case's registers, some singles without their box; the case then has NaNs for them."""
    contents = registers(line, case.operands)
    for i, name in enumerate(contents):
        if isinstance(case.operands[i], f32) and rng.random() < 0.2:
            contents[name] &= ~(1 << rng.randrange(32, 64))
            case.operands[i] = canonical_nan(f32)
    return contents


@pytest.mark.parametrize("name", LINES)
def test_a_hart_does_as_the_reference(bench: Bench, name: str) -> None:
    line, rng = LINES[name], random.Random(f"{SEED} boxes {name}")
    for case in cases(line, 100):
        contents = unboxed(line, case, rng)
        place = bench.execute(line, contents, case.rm, case.frm)
        result, flags = in_cpython(line, case)
        got = bench.hart.pc, bench.result(line), bench.hart.read_csr(FCSR)
        want = place + 4, register(result), case.frm.value << 5 | flags.value
        assert got == want, f"seed {SEED}: {name} {case}"


@pytest.mark.parametrize("name", [n for n in LINES if "rm" in LINES[n].encoding.fields])
@pytest.mark.parametrize("is_static", [True, False])
def test_a_reserved_rounding_mode_is_illegal(bench: Bench, name: str, is_static: bool) -> None:
    line = LINES[name]
    case = next(cases(line, 1))
    for mode in (*RESERVED, *([] if is_static else [DYNAMIC])):
        rm, frm = (mode, MODES[0]) if is_static else (DYNAMIC, mode)
        contents = registers(line, case.operands)
        bench.execute(line, contents, rm, frm)
        assert bench.hart.pc == HANDLER
        assert bench.hart.read_csr(MCAUSE) == ILLEGAL_INSTRUCTION
        assert bench.hart.read_csr(MTVAL) == line.encoding.encode(**FIELDS, rm=rm.value)
        assert bench.result(line) == BEFORE
        assert bench.hart.read_csr(FCSR) == frm.value << 5


@pytest.mark.parametrize("name", LINES)
def test_nothing_is_executed_while_the_unit_is_off(bench: Bench, name: str) -> None:
    line = LINES[name]
    bench.hart.write_csr(MSTATUS, 0)
    bench.hart.pc = bench.place(line.encoding.encode(**FIELDS, rm=0))
    bench.hart.run(1)
    assert bench.hart.pc == HANDLER
    assert bench.hart.read_csr(MCAUSE) == ILLEGAL_INSTRUCTION


def test_flags_stay_until_they_are_lowered(bench: Bench) -> None:
    """One third twice, then frm and fflags read and written in guest code between operations."""
    hart, divide = bench.hart, LINES["fdiv.d"]
    words = [
        divide.encoding.encode(**FIELDS, rm=DYNAMIC.value),
        0x0010_2273,  # frflags x4
        0x0021_D073,  # fsrmi 3: round up
        divide.encoding.encode(**FIELDS, rm=DYNAMIC.value),
        0x0010_10F3,  # fsflags x1, x0
        0x0010_2173,  # frflags x2
    ]
    code = RAM + RAM_SIZE // 4
    bench.memory.write(code, struct.pack(f"<{len(words)}I", *words))
    hart.write_csr(FCSR, 0)
    hart.f[1], hart.f[2] = 0x3FF0 << 48, 0x4008 << 48
    hart.pc = code
    hart.run(2)
    assert (hart.f[4], hart.x[4], hart.read_csr(FCSR)) == (0x3FD5_5555_5555_5555, 1, 1)
    hart.run(2)
    assert (hart.f[4], hart.read_csr(FRM)) == (0x3FD5_5555_5555_5556, 3)
    hart.run(2)
    assert (hart.x[1], hart.x[2], hart.read_csr(FCSR)) == (1, 0, 3 << 5)
