"""A CPU on a bare memory: assemble a program from the instruction table, run it, trace it."""

from maquina.cpu.riscv.hart import Hart
from maquina.cpu.riscv.isa import TABLE
from maquina.cpu.riscv.trace import trace
from maquina.machine.bus import AddressSpace
from maquina.machine.memory import GuestMemory

BASE = 0x8000_0000
ENCODINGS = {line.name: line.encoding for line in TABLE}
A0, A1, A2, A3 = 10, 11, 12, 13


def assemble(name: str, **operands: int) -> bytes:
    return ENCODINGS[name].encode(**operands).to_bytes(4, "little")


def fibonacci() -> bytes:
    """a0 = the a3-th Fibonacci number."""
    return b"".join(
        [
            assemble("addi", rd=A0, rs1=0, imm=0),
            assemble("addi", rd=A1, rs1=0, imm=1),
            assemble("add", rd=A2, rs1=A0, rs2=A1),
            assemble("add", rd=A0, rs1=A1, rs2=0),
            assemble("add", rd=A1, rs1=A2, rs2=0),
            assemble("addi", rd=A3, rs1=A3, imm=-1),
            assemble("bne", rs1=A3, rs2=0, imm=-16),
            assemble("wfi"),
        ]
    )


def main() -> None:
    memory = GuestMemory(BASE, 1 << 16)
    memory.write(BASE, fibonacci())
    hart = Hart(0, memory, AddressSpace())
    hart.pc, hart.x[A3] = BASE, 90
    reason = hart.run(limit=1_000_000)
    print(f"fibonacci(90) = {hart.x[A0]} after {hart.instructions} instructions: {reason.value}")
    hart.pc, hart.x[A3] = BASE, 1
    for step in trace(hart, limit=8):
        print(step)


if __name__ == "__main__":
    main()
