"""The instructions of F and D with operands worth trying, and what the reference makes of them."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.jit.float_cases import FLOATS, pick, pick_word, run

from maquina.cpu.riscv.rv_d import rv_d
from maquina.cpu.riscv.rv_f import rv_f
from maquina.cpu.riscv.table import Instruction
from maquina.jit import f32, u32, u64
from maquina.jit.fenv import TO_NEAREST, TO_NEAREST_AWAY

SEED = 20191213
LINES = {line.name: line for line in (*rv_f.instructions, *rv_d.instructions)}
MODES = tuple(u32(n) for n in range(5))
DYNAMIC = u32(7)
BOX = 0xFFFFFFFF << 32
FIELDS = {"rs1": 1, "frs1": 1, "frs2": 2, "frs3": 3, "rd": 4, "frd": 4}
FS_ON = 3 << 13


def registers(line: Instruction, operands: list[Any]) -> dict[str, int]:
    """The operands as register contents."""
    names = [name for name in line.semantics.parameters if name != "rm"]
    return {name: register(operand) for name, operand in zip(names, operands, strict=False)}


def register(value: Any) -> int:
    """A value as a register holds it: singles boxed, integers sign-extended."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, f32):
        return value.pattern.value | BOX
    return value.pattern.value if type(value) in FLOATS else u64(value.value).value


@dataclass
class Case:
    """Operands, the instruction's rm field, and frm."""

    operands: list[Any]
    rm: u32
    frm: u32

    @property
    def mode(self) -> u32:
        return self.frm if self.rm == DYNAMIC else self.rm


def cases(line: Instruction, count: int) -> Iterator[Case]:
    rng = random.Random(f"{SEED} {line.name}")
    kinds = [kind for name, kind in line.semantics.parameters.items() if name != "rm"]
    for _ in range(count):
        operands = [pick(k, rng) if k in FLOATS else pick_word(k, rng) for k in kinds]
        yield Case(operands, rng.choice((*MODES, DYNAMIC, DYNAMIC)), rng.choice(MODES))


# ---- what a handler does around an instruction's function ----
def plan(line: Instruction, case: Case) -> tuple[Any, list[Any], u32]:
    """The function to call, its arguments, and how the environment rounds."""
    if "rm" in line.semantics.parameters:
        rounding = TO_NEAREST if case.frm == TO_NEAREST_AWAY else case.frm
        return line.semantics, [*case.operands, case.mode], rounding
    if case.mode == TO_NEAREST_AWAY:
        return line.rounding or line.semantics, case.operands, TO_NEAREST
    return line.semantics, case.operands, case.mode


def in_cpython(line: Instruction, case: Case) -> tuple[Any, u32]:
    return run(*plan(line, case))
