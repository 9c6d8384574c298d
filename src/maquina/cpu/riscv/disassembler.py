"""Instructions as text, from the table that also runs them."""

from __future__ import annotations

from maquina.bits import mask
from maquina.cpu.riscv.isa import TABLE
from maquina.cpu.riscv.registers import CSR_NAMES, F_NAMES, ROUNDING_NAMES, X_NAMES
from maquina.cpu.riscv.rv_c import expand_compressed
from maquina.cpu.riscv.table import Instruction, Kind
from maquina.jit import u32

DYNAMIC = 7
DESTINATIONS = ("rd", "frd")
SOURCES = ("rs1", "frs1", "rs2", "frs2", "frs3")


def length_of(word: int) -> int:
    """Bytes that an instruction takes, from its low bits."""
    return 4 if word & 3 == 3 else 2


def find(word: int) -> tuple[Instruction, int]:
    """The line of the table for a short or long instruction word, and the word expanded."""
    if length_of(word) == 2:
        word = int(expand_compressed(u32(word & 0xFFFF)))
    if length_of(word) == 4:
        for line in TABLE:
            if word & line.encoding.mask == line.encoding.match:
                return line, word
    return TABLE[-1], word


def disassemble(word: int, pc: int = 0) -> str:
    """Text of the instruction `word` at `pc`: `addi sp, sp, -16`, or `illegal 0x0`."""
    line, expanded = find(word)
    if line is TABLE[-1]:
        return f"illegal {word:#x}"
    operands = line.encoding.decode(expanded)
    shown = [_register(name, operands[name]) for name in DESTINATIONS if name in operands]
    if "mem" in line.semantics.parameters or line.name == "jalr":
        shown += _memory_operands(operands)
    elif "csr" in operands:
        shown.append(CSR_NAMES.get(operands["csr"], f"{operands['csr']:#x}"))
        shown.append(
            _register("rs1", operands["rs1"]) if "rs1" in operands else str(operands["uimm"])
        )
    else:
        shown += [_register(name, operands[name]) for name in SOURCES if name in operands]
        shown += _immediates(line, operands, pc)
    return f"{line.name} {', '.join(shown)}".rstrip()


def _register(name: str, number: int) -> str:
    return (F_NAMES if name.startswith("f") else X_NAMES)[number]


def _memory_operands(operands: dict[str, int]) -> list[str]:
    stored = [_register(name, operands[name]) for name in ("rs2", "frs2") if name in operands]
    offset = operands.get("imm", "")
    return [*stored, f"{offset}({X_NAMES[operands['rs1']]})"]


def _immediates(line: Instruction, operands: dict[str, int], pc: int) -> list[str]:
    shown = []
    shown += [str(operands[name]) for name in ("shamt", "shamtw") if name in operands]
    if "imm" in operands:
        is_target = line.kind in (Kind.BRANCH, Kind.JUMP) and "rs1" not in line.encoding.fields
        if is_target or line.kind is Kind.BRANCH:
            shown.append(f"{pc + operands['imm'] & mask(64):#x}")
        elif line.name in ("lui", "auipc"):
            shown.append(f"{operands['imm'] >> 12 & mask(20):#x}")
        else:
            shown.append(str(operands["imm"]))
    if operands.get("rm", DYNAMIC) != DYNAMIC:
        rounding = operands["rm"]
        shown.append(ROUNDING_NAMES[rounding] if rounding < len(ROUNDING_NAMES) else "?")
    return shown
