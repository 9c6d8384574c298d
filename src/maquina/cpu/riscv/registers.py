"""Names of registers in assembly language (ABI names)."""

from __future__ import annotations

from maquina.cpu.riscv import csr_numbers

X_NAMES = (
    *("zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1"),
    *(f"a{n}" for n in range(8)),
    *(f"s{n}" for n in range(2, 12)),
    *(f"t{n}" for n in range(3, 7)),
)
F_NAMES = (
    *(f"ft{n}" for n in range(8)),
    *("fs0", "fs1"),
    *(f"fa{n}" for n in range(8)),
    *(f"fs{n}" for n in range(2, 12)),
    *(f"ft{n}" for n in range(8, 12)),
)
CSR_NAMES = {
    number: name.lower() for name, number in vars(csr_numbers).items() if isinstance(number, int)
}
ROUNDING_NAMES = ("rne", "rtz", "rdn", "rup", "rmm")
