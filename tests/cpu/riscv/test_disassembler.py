"""Disassembly compared with the GNU assembler's, modulo aliases."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.cpu.riscv.random_programs import operands

from maquina.cpu.riscv.disassembler import disassemble
from maquina.cpu.riscv.isa import ILLEGAL, TABLE
from maquina.cpu.riscv.registers import CSR_NAMES
from maquina.cpu.riscv.table import Instruction

SEED = 20140513
EACH = 20
OBJDUMP = shutil.which("riscv64-linux-gnu-objdump")
LINES = [line for line in TABLE if line is not ILLEGAL]
OTHERWISE = {
    "fence": "objdump names the sets, we do not",
    "fence.i": "has operands that are ignored",
    "sfence.vma": "objdump leaves out zero",
}
"""Lines that are compared by their mnemonic only."""


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.name)
def test_every_line_has_a_text(line: Instruction) -> None:
    source = random.Random(f"{SEED} {line.name}")
    word = line.encoding.encode(**operands(line, source))
    assert disassemble(word).split()[0] in {one.name for one in LINES}


def words() -> list[int]:
    """Random operands, rounding modes that exist."""
    source = random.Random(SEED)
    return [
        line.encoding.encode(
            **operands(line, source)
            | {"rm": source.choice((*range(5), 7)), "csr": source.choice(list(CSR_NAMES))}
        )
        for line in LINES
        for _ in range(EACH)
    ]


def normal(text: str) -> str:
    """Without ordering suffixes, comments, symbols, and differences in how numbers are written."""
    text = re.sub(r"\s*[<#].*", "", text.strip())
    name, _, rest = text.partition("\t" if "\t" in text else " ")
    name = re.sub(r"\.(aq|rl|aqrl)$", "", name)
    if name in OTHERWISE:
        return name
    rest = re.sub(r"\b0x[0-9a-f]+\b", lambda found: str(int(found[0], 16)), rest.replace(" ", ""))
    rest = re.sub(r",(dyn|rne)$", "", rest)  # exact conversions are shown without rne
    return f"{name} {re.sub(r',0[(]', ',(', rest)}"


@pytest.mark.skipif(
    OBJDUMP is None, reason="needs riscv64-linux-gnu-objdump, of Debian's binutils"
)
def test_as_objdump_shows_it(tmp_path: Path) -> None:
    source = words()
    image = tmp_path / "code"
    image.write_bytes(b"".join(word.to_bytes(4, "little") for word in source))
    command = [
        OBJDUMP or "",
        "-D",
        "-b",
        "binary",
        "-m",
        "riscv:rv64",
        "-M",
        "no-aliases",
        str(image),
    ]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    shown = re.findall(r"^\s*([0-9a-f]+):\t([0-9a-f]+)\s+(.*)$", listing, re.MULTILINE)
    differing = []
    for at, word, text in shown:
        ours = disassemble(int(word, 16), int(at, 16))
        if "unknown" not in text and not text.startswith(".") and normal(ours) != normal(text):
            differing.append(f"{word}: {ours!r}, objdump {text!r}")
    assert len(shown) == len(source)
    assert not differing, "\n".join(differing)
