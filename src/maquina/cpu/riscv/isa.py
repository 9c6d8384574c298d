"""The instruction table of a hart: RV64GC with Zicsr, Zifencei, Zba, Zbb, Zbs and privilege."""

from __future__ import annotations

from maquina.cpu.riscv.rv_a import rv_a
from maquina.cpu.riscv.rv_d import rv_d
from maquina.cpu.riscv.rv_f import rv_f
from maquina.cpu.riscv.rv_fd_memory import rv_fd_memory
from maquina.cpu.riscv.rv_i import rv_i
from maquina.cpu.riscv.rv_m import rv_m
from maquina.cpu.riscv.rv_system import illegal, rv_system
from maquina.cpu.riscv.rv_zba import rv_zba
from maquina.cpu.riscv.rv_zbb import rv_zbb
from maquina.cpu.riscv.rv_zbs import rv_zbs
from maquina.cpu.riscv.rv_zicsr import rv_zicsr
from maquina.cpu.riscv.table import Encoding, Instruction, Kind

EXTENSIONS = (
    rv_i,
    rv_m,
    rv_a,
    rv_fd_memory,
    rv_f,
    rv_d,
    rv_zicsr,
    rv_system,
    rv_zba,
    rv_zbb,
    rv_zbs,
)
ILLEGAL = Instruction("illegal", Encoding(0, 0, (), ()), illegal, Kind.VALUE)
"""The last line of the table, which every word matches."""

TABLE = (*(line for extension in EXTENSIONS for line in extension.instructions), ILLEGAL)
