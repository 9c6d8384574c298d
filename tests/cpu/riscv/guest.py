"""A hart in a given mode that executes a few instructions, for tests of the privileged parts."""

from __future__ import annotations

from tests.cpu.riscv.bench_machine import CODE, MEMORY

from maquina.cpu.riscv import csr_numbers as csr
from maquina.cpu.riscv.entry_points import Accel
from maquina.cpu.riscv.hart import Hart
from maquina.machine.bus import AddressSpace
from maquina.machine.memory import GuestMemory

USER, SUPERVISOR, MACHINE = 0, 1, 3
M_HANDLER, S_HANDLER = CODE + 0x4000, CODE + 0x5000
FS_ON = 3 << 13
SIE, MIE, SPIE, MPIE, SPP, MPP = 1 << 1, 1 << 3, 1 << 5, 1 << 7, 1 << 8, 3 << 11
MPRV, SUM, MXR, TVM, TW, TSR = (1 << n for n in range(17, 23))
ADUE, STCE = 1 << 61, 1 << 63


class Guest:
    """Handlers are addresses at which execution stops; all memory is open to all modes."""

    def __init__(self, accel: Accel = "interp") -> None:
        self.memory = GuestMemory(CODE, MEMORY)
        self.hart = Hart(0, self.memory, AddressSpace(), accel)
        self.set(MTVEC=M_HANDLER, STVEC=S_HANDLER, MSTATUS=FS_ON)
        self.set(PMPADDR0=(1 << 54) - 1, PMPCFG0=0x1F)

    def set(self, **registers: int) -> None:
        """Write CSRs by their names, as M-mode."""
        for name, value in registers.items():
            self.hart.write_csr(getattr(csr, name), value)

    def get(self, name: str) -> int:
        return self.hart.read_csr(getattr(csr, name))

    def execute(self, *code: bytes, privilege: int = MACHINE, steps: int | None = None) -> None:
        """So many steps (as many as instructions) from CODE on."""
        self.memory.write(CODE, b"".join(code))
        self.hart.fence_i()
        self.hart.pc, self.hart.privilege = CODE, privilege
        for _ in range(len(code) if steps is None else steps):
            self.hart.step()

    def trap(self) -> tuple[int, int, int] | None:
        """(cause, value, pc) if it is at a handler."""
        if self.hart.pc == M_HANDLER:
            return self.get("MCAUSE"), self.get("MTVAL"), self.get("MEPC")
        if self.hart.pc == S_HANDLER:
            return self.get("SCAUSE"), self.get("STVAL"), self.get("SEPC")
        return None
