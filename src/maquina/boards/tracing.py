"""A hart that tells every instruction it executes. It is slow, and otherwise like any other."""

from __future__ import annotations

from collections.abc import Callable

from maquina.cpu.riscv.hart import Hart
from maquina.machine.vcpu import Exit


class TracedHart(Hart):
    """`tell` gets a line for each instruction: hart, mode, address, instruction, changes."""

    tell: Callable[[str], None]

    def run(self, limit: int) -> Exit:
        from maquina.cpu.riscv.trace import step

        for _ in range(limit):
            done = step(self)
            self.tell(f"{self.state.hart_id.value} {done}\n")
            if done.exit is not Exit.LIMIT:
                return done.exit
        return Exit.LIMIT

    def step(self) -> Exit:
        return super().run(1)
