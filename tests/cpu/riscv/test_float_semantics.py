"""F and D, instruction by instruction: the reference and machine code against Unicorn."""

import struct
from collections.abc import Callable
from typing import Any

import pytest
from tests.cpu.riscv.float_instructions import (
    BOX,
    DYNAMIC,
    FIELDS,
    FS_ON,
    LINES,
    SEED,
    Case,
    cases,
    in_cpython,
    plan,
    register,
    registers,
)  # fmt: skip
from tests.jit.float_cases import padded, probe

from maquina.cpu.riscv.table import Instruction
from maquina.jit import Library, f32, f64, u32, u64
from maquina.jit.fenv import INVALID, TO_NEAREST
from maquina.jit.floats import is_signaling

unicorn = pytest.importorskip("unicorn", reason="needs Unicorn, a RISC-V CPU to compare with")

NOTHING = u32(0)
CODE = 0x1000
Executor = Callable[[Instruction, Case], tuple[Any, u32]]


class Peer:
    """Unicorn's hart, which runs one instruction at a time on registers 1, 2, 3 into 4."""

    def __init__(self) -> None:
        import unicorn.riscv_const as names

        self.uc = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV64)
        self.uc.mem_map(CODE, 1 << 16)
        self.uc.reg_write(names.UC_RISCV_REG_MSTATUS, FS_ON)
        self.x, self.f = names.UC_RISCV_REG_X0, names.UC_RISCV_REG_F0
        self.fcsr = names.UC_RISCV_REG_FCSR
        self.places: dict[int, int] = {}

    def place(self, word: int) -> int:
        """Where an instruction is; each has a place, so that Unicorn translates it once."""
        if word not in self.places:
            self.places[word] = CODE + 4 * len(self.places)
            self.uc.mem_write(self.places[word], struct.pack("<I", word))
        return self.places[word]

    def execute(
        self, line: Instruction, operands: dict[str, int], rm: u32, frm: u32
    ) -> tuple[int, u32]:
        """The result's register and fflags."""
        for name, bits in operands.items():
            self.uc.reg_write((self.f if name[0] == "f" else self.x) + FIELDS[name], bits)
        self.uc.reg_write(self.fcsr, frm.value << 5)
        place = self.place(line.encoding.encode(**FIELDS, rm=rm.value))
        self.uc.emu_start(place, place + 4, count=1)
        is_float = "frd" in line.encoding.fields
        result = self.uc.reg_read((self.f if is_float else self.x) + FIELDS["rd"])
        return result, u32(self.uc.reg_read(self.fcsr) & 31)


def machine_code() -> Executor:
    functions = {f for line in LINES.values() for f in (line.semantics, line.rounding) if f}
    probes = {f: probe(f, f.result, *f.parameters.values()) for f in functions}
    library = Library(probes.values())
    compiled = {f: library(probed) for f, probed in probes.items()}

    def execute(line: Instruction, case: Case) -> tuple[Any, u32]:
        function, arguments, rounding = plan(line, case)
        answer: tuple[Any, u32] = compiled[function](*padded(arguments), rounding)
        return answer

    return execute


def seen_by_peer(
    line: Instruction, operands: list[Any], result: Any, flags: u32
) -> tuple[int | None, u32]:
    """What can be compared. Unicorn is older than two rules of the manual.

    It neither makes nor checks the box of a single; and its fmin and fmax of a signaling NaN are
    those of IEEE 754-2008, a NaN.
    """
    bits = result if isinstance(result, int) else register(result)
    if line.semantics.result is f32:
        bits &= ~BOX
    is_choice = line.name.startswith(("fmin", "fmax"))
    return None if is_choice and any(map(is_signaling, operands)) else bits, flags


@pytest.fixture(scope="module", params=["CPython", "machine code"])
def execute(request: pytest.FixtureRequest) -> Executor:
    return in_cpython if request.param == "CPython" else machine_code()


@pytest.fixture(scope="module")
def peer() -> Peer:
    return Peer()


@pytest.mark.parametrize("name", LINES)
def test_an_instruction_does_as_in_unicorn(execute: Executor, peer: Peer, name: str) -> None:
    line = LINES[name]
    for case in cases(line, 400):
        got = execute(line, case)
        want = peer.execute(line, registers(line, case.operands), case.rm, case.frm)
        assert seen_by_peer(line, case.operands, *got) == seen_by_peer(
            line, case.operands, *want
        ), f"seed {SEED}: {name} {case}"


ZERO, MINUS_ZERO, ONE, QUIET, SIGNALING, CANONICAL = (
    f64(u64(bits << 48)) for bits in (0, 0x8000, 0x3FF0, 0xFFF9, 0x7FF1, 0x7FF8)
)


@pytest.mark.parametrize(
    ("a", "b", "smaller", "larger", "flags"),
    [
        (ZERO, MINUS_ZERO, MINUS_ZERO, ZERO, NOTHING),
        (MINUS_ZERO, ZERO, MINUS_ZERO, ZERO, NOTHING),
        (ONE, QUIET, ONE, ONE, NOTHING),
        (QUIET, ONE, ONE, ONE, NOTHING),
        (SIGNALING, ONE, ONE, ONE, INVALID),
        (ONE, SIGNALING, ONE, ONE, INVALID),
        (QUIET, SIGNALING, CANONICAL, CANONICAL, INVALID),
        (QUIET, QUIET, CANONICAL, CANONICAL, NOTHING),
    ],
)
def test_numbers_beat_nans(
    execute: Executor, a: f64, b: f64, smaller: f64, larger: f64, flags: u32
) -> None:
    case = Case([a, b], DYNAMIC, TO_NEAREST)
    assert execute(LINES["fmin.d"], case) == (smaller, flags)
    assert execute(LINES["fmax.d"], case) == (larger, flags)


def test_every_instruction_with_a_rounding_mode_heeds_it() -> None:
    for line in LINES.values():
        heeds = line.rounding is not None or "rm" in line.semantics.parameters
        assert heeds == ("rm" in line.encoding.fields), line.name


def test_a_twin_takes_what_its_instruction_takes() -> None:
    for line in LINES.values():
        if line.rounding is not None:
            assert line.rounding.parameters == line.semantics.parameters, line.name
            assert line.rounding.result == line.semantics.result, line.name
