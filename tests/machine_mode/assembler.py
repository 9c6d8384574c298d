"""A small assembler over the instruction table: labels, constants, addresses."""

from __future__ import annotations

from maquina.cpu.riscv.isa import TABLE

ENCODINGS = {line.name: line.encoding for line in TABLE}
ZERO, T0, T1, T2 = 0, 5, 6, 7
S0, S1, S2, S3, S4, S5 = 8, 9, 18, 19, 20, 21
T3, T4, T5, T6 = 28, 29, 30, 31


class Program:
    """Instructions from `base` on; `bytes(program)` when every label is there."""

    def __init__(self, base: int) -> None:
        self.base = base
        self._lines: list[tuple[str, str | None, dict[str, int]]] = []
        self._labels: dict[str, int] = {}

    @property
    def here(self) -> int:
        return self.base + 4 * len(self._lines)

    def label(self, name: str) -> None:
        self._labels[name] = self.here

    def put(self, name: str, to: str | None = None, **operands: int) -> None:
        """One instruction; `to` is a label that it jumps to."""
        self._lines.append((name, to, operands))

    def jump(self, to: str) -> None:
        self.put("jal", to, rd=ZERO)

    def constant(self, rd: int, value: int) -> None:
        """A word, sign-extended."""
        low = (value & 0xFFF ^ 0x800) - 0x800
        self.put("lui", rd=rd, imm=value - low)
        self.put("addiw", rd=rd, rs1=rd, imm=low)

    def address(self, rd: int, target: int) -> None:
        distance = target - self.here
        low = (distance & 0xFFF ^ 0x800) - 0x800
        self.put("auipc", rd=rd, imm=distance - low)
        self.put("addi", rd=rd, rs1=rd, imm=low)

    def set_csr(self, csr: int, value: int) -> None:
        self.constant(T0, value)
        self.put("csrrw", rd=ZERO, rs1=T0, csr=csr)

    def store_words(self, rs1: int, *pairs: tuple[int, int]) -> None:
        """Device registers: offset and value each."""
        for offset, value in pairs:
            self.constant(T0, value)
            self.put("sw", rs1=rs1, rs2=T0, imm=offset)

    def __bytes__(self) -> bytes:
        code = b""
        for at, (name, to, operands) in enumerate(self._lines):
            if to is not None:
                operands["imm"] = self._labels[to] - self.base - 4 * at
            code += ENCODINGS[name].encode(**operands).to_bytes(4, "little")
        return code
