"""The same programs in CPython, as machine code, and as machine code one step at a time."""

from __future__ import annotations

import pytest
from tests.cpu.riscv.random_programs import ENOUGH, Outcome, make, outcome, prepare

from maquina.cpu.riscv.entry_points import Accel
from maquina.machine.vcpu import Exit

SEED = 20260311
IN_CPYTHON, STEPPED = 40, 500


def run(seed: str, accel: Accel) -> Outcome:
    hart, memory = prepare(make(seed), accel)
    return outcome(hart, memory, hart.run(ENOUGH))


def run_stepwise(seed: str) -> Outcome:
    hart, memory = prepare(make(seed))
    reason = Exit.LIMIT
    while reason is Exit.LIMIT and hart.state.spent.value < ENOUGH:
        reason = hart.run(min(777, ENOUGH - hart.state.spent.value))
    return outcome(hart, memory, reason)


@pytest.mark.parametrize("part", range(4))
def test_cpython_and_machine_code_do_the_same(part: int) -> None:
    instructions = 0
    for number in range(part, IN_CPYTHON, 4):
        seed = f"{SEED} program {number}"
        reference, native = run(seed, "reference"), run(seed, "interp")
        assert native == reference, f"seed {seed!r}"
        instructions += native.instructions
    assert instructions > 3000


def test_single_steps_lead_to_the_same() -> None:
    finished = 0
    for number in range(STEPPED):
        seed = f"{SEED} stepped {number}"
        whole, stepped = run(seed, "interp"), run_stepwise(seed)
        assert stepped == whole, f"seed {seed!r}"
        finished += whole.exit is Exit.IDLE
    assert finished > STEPPED * 0.8
