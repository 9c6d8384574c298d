"""A hart on a bare memory, and Unicorn's in the same position, for the tests to compare."""

from __future__ import annotations

import random
from collections.abc import Sequence

from maquina.cpu.riscv.entry_points import Accel
from maquina.cpu.riscv.hart import Hart
from maquina.cpu.riscv.isa import TABLE
from maquina.cpu.riscv.table import Instruction
from maquina.machine.bus import AddressSpace
from maquina.machine.memory import GuestMemory

CODE, DATA, MEMORY = 0x80000000, 0x80008000, 1 << 16
DATA_BYTES = 0x1000
MSTATUS, FS_ON = 0x300, 3 << 13
LINES: dict[str, Instruction] = {line.name: line for line in TABLE}

BOUNDARIES = (0, 1, 2, 0x7F, 0x80, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, (1 << 63) - 1, 1 << 63)


def assemble(name: str, **operands: int) -> bytes:
    """One instruction, from the table."""
    return LINES[name].encoding.encode(**operands).to_bytes(4, "little")


def program(*instructions: bytes) -> bytes:
    return b"".join(instructions)


def pick(source: random.Random) -> int:
    """A 64-bit word that is often near a boundary."""
    if source.random() < 0.5:
        return source.getrandbits(64)
    near = source.choice(BOUNDARIES) + source.randint(-2, 2)
    return (near if source.random() < 0.5 else -near) & (1 << 64) - 1


class Bench:
    """Our hart, with code at CODE and data at DATA."""

    def __init__(self, accel: Accel = "interp") -> None:
        self.memory = GuestMemory(CODE, MEMORY)
        self.hart = Hart(0, self.memory, AddressSpace(), accel)
        self.hart.write_csr(MSTATUS, FS_ON)

    def load(self, code: bytes, registers: Sequence[int], data: bytes) -> None:
        self.memory.write(CODE, code)
        self.memory.write(DATA, data)
        self.hart.fence_i()
        self.hart.pc = CODE
        for number, value in enumerate(registers):
            self.hart.x[number] = value

    def outcome(self) -> tuple[int, list[int], bytes]:
        return self.hart.pc, list(self.hart.x), self.memory.read(DATA, DATA_BYTES)
