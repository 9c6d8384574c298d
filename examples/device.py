"""A device in a few lines: a dice that a program in M-mode rolls, on a machine of two parts."""

import random

from maquina.cpu.riscv.hart import Hart
from maquina.cpu.riscv.isa import TABLE
from maquina.machine.bus import AddressSpace
from maquina.machine.memory import GuestMemory

RAM, DICE = 0x8000_0000, 0x1000_0000
ENCODINGS = {line.name: line.encoding for line in TABLE}
T0, T1, T2, A0 = 5, 6, 7, 10


class Dice:
    """Offset 0: reads as a roll; what is written is how many sides it has from then on."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.sides = 6

    def read(self, offset: int, size: int) -> int:
        return self._random.randint(1, self.sides) if offset == 0 and size == 4 else 0

    def write(self, offset: int, size: int, value: int) -> None:
        if offset == 0 and size == 4 and value > 0:
            self.sides = value


def assemble(name: str, **operands: int) -> bytes:
    return ENCODINGS[name].encode(**operands).to_bytes(4, "little")


def main() -> None:
    memory, bus = GuestMemory(RAM, 1 << 16), AddressSpace()
    dice = Dice(seed=1)
    bus.attach(DICE, 0x1000, dice, "dice")
    program = [
        assemble("lui", rd=T0, imm=DICE),
        assemble("addi", rd=T1, rs1=0, imm=20),
        assemble("sw", rs1=T0, rs2=T1, imm=0),
        assemble("lw", rd=T2, rs1=T0, imm=0),
        assemble("add", rd=A0, rs1=A0, rs2=T2),
        assemble("addi", rd=T1, rs1=T1, imm=-1),
        assemble("bne", rs1=T1, rs2=0, imm=-12),
        assemble("wfi"),
    ]
    memory.write(RAM, b"".join(program))
    hart = Hart(0, memory, bus)
    hart.pc = RAM
    hart.run(limit=10_000)
    print(f"20 rolls of a dice with {dice.sides} sides: {hart.x[A0]}")


if __name__ == "__main__":
    main()
