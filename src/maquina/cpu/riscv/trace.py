"""Following a hart instruction by instruction."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from maquina.cpu.riscv.disassembler import disassemble
from maquina.cpu.riscv.hart import Hart
from maquina.cpu.riscv.registers import F_NAMES, X_NAMES
from maquina.machine.vcpu import Exit


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction executed, or one trap or interrupt taken."""

    pc: int
    word: int | None
    """The instruction; None if a trap or interrupt came instead of one."""
    privilege: int
    changes: tuple[tuple[str, int], ...]
    """Registers that have another value now."""
    exit: Exit

    def __str__(self) -> str:
        what = "trap" if self.word is None else disassemble(self.word, self.pc)
        changed = " ".join(f"{name}={value:#x}" for name, value in self.changes)
        return f"{'US?M'[self.privilege]} {self.pc:016x} {what:32} {changed}".rstrip()


def step(hart: Hart) -> Step:
    """Let a hart execute one instruction, and say what it did."""
    pc, privilege, retired = hart.pc, hart.privilege, hart.instructions
    before = [*hart.x, *hart.f]
    reason = hart.step()
    after = [*hart.x, *hart.f]
    names = (*X_NAMES, *F_NAMES)
    changes = tuple(
        (name, new) for name, old, new in zip(names, before, after, strict=True) if new != old
    )
    executed = hart.instructions != retired
    return Step(pc, hart.last_word if executed else None, privilege, changes, reason)


def trace(hart: Hart, limit: int) -> Iterator[Step]:
    """Steps until an exit other than the end of a step, at most `limit` of them."""
    for _ in range(limit):
        done = step(hart)
        yield done
        if done.exit is not Exit.LIMIT:
            return
