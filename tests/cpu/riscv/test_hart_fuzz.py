"""Whatever a guest executes, the host and the run loop do not notice."""

from __future__ import annotations

import random

import pytest
from tests.cpu.riscv.bench_machine import CODE, MEMORY, pick
from tests.cpu.riscv.guest import Guest
from tests.cpu.riscv.random_programs import instruction

from maquina.cpu.riscv.csr_numbers import MTVEC, STVEC
from maquina.cpu.riscv.isa import TABLE
from maquina.machine.vcpu import Exit

SEED = 20170907
PROGRAMS, STEPS = 150, 30_000


def bytes_to_run(source: random.Random) -> bytes:
    """Noise, words near instructions, or a mixture with whole ones."""
    way = source.randrange(3)
    if way == 0:
        return source.randbytes(MEMORY)
    words = bytearray()
    while len(words) < MEMORY // 4:
        encoding = source.choice(TABLE).encoding
        word = source.getrandbits(32) & ~encoding.mask | encoding.match | 3 * (way == 1)
        words += word.to_bytes(4, "little") if source.random() < 0.7 else instruction(source)
    return bytes(words[: MEMORY // 4]) * 4


@pytest.mark.parametrize("privilege", [0, 1, 3])
def test_random_code_never_leaves_the_machine(privilege: int) -> None:
    """Invariant: `run` returns an Exit, within its limit, and no exception, with no device there.

    The guest may write its own CSRs and tables: handlers, satp and PMP become what they may.
    """
    for number in range(PROGRAMS):
        seed = f"{SEED} {privilege} {number}"
        source = random.Random(seed)
        guest = Guest()
        hart = guest.hart
        guest.memory.write(CODE, bytes_to_run(source))
        for register in range(1, 32):
            near = CODE + source.randrange(MEMORY)
            hart.x[register] = source.choice((near & ~7, near, pick(source)))
        for vector in (MTVEC, STVEC):
            hart.write_csr(vector, CODE + source.randrange(0, MEMORY, 4))
        guest.set(MEDELEG=source.getrandbits(16), MIDELEG=source.getrandbits(16))
        hart.pc, hart.privilege = CODE + source.randrange(0, MEMORY, 2), privilege
        spent = 0
        while spent < STEPS:
            before = hart.state.spent.value
            reason = hart.run(STEPS - spent)
            assert isinstance(reason, Exit), f"seed {seed!r}"
            assert hart.state.spent.value - before <= STEPS - spent, f"seed {seed!r}"
            assert hart.pc % 2 == 0, f"seed {seed!r}"
            assert hart.x[0] == 0, f"seed {seed!r}"
            assert hart.privilege in (0, 1, 3), f"seed {seed!r}"
            spent += max(1, hart.state.spent.value - before)
