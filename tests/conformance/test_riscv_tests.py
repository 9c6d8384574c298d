"""The RISC-V project's own tests of a hart: https://github.com/riscv-software-src/riscv-tests.

They are programs that store 1 to their word `tohost` when all went well, and twice the number of
the failed case plus one otherwise. Each runs on a hart with nothing but memory around it.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from maquina.cpu.riscv.entry_points import Accel
from maquina.cpu.riscv.hart import Hart
from maquina.machine.bus import AddressSpace
from maquina.machine.memory import GuestMemory

pytestmark = pytest.mark.conformance

VARIABLE = "MAQUINA_RISCV_TESTS"
BASE, SIZE = 0x8000_0000, 4 << 20
LOADED, SYMBOLS = 1, 2  # of the program and section headers that matter here
LIMIT, AT_ONCE = 5_000_000, 5_000
GROUPS = ("ui", "um", "ua", "uf", "ud", "uc", "mi", "si", "uzba", "uzbb", "uzbs")
FOR_REFERENCE = ("ui-p-add", "ua-p-lrsc", "uf-p-fmadd", "uc-p-rvc", "si-p-dirty", "ui-v-sb")
"""CPython needs long for each."""


def programs() -> list[Path]:
    where = os.environ.get(VARIABLE)
    if not where:
        return []
    found = [p for p in Path(where).glob("rv64*-[pv]-*") if not p.suffix]
    return sorted(p for p in found if p.name.removeprefix("rv64").split("-")[0] in GROUPS)


PROGRAMS = programs()
if not PROGRAMS:
    pytest.skip(
        f"needs riscv-tests: build them and name their directory `isa` in {VARIABLE}",
        allow_module_level=True,
    )


def load(path: Path, memory: GuestMemory) -> tuple[int, int]:
    """Put a program's segments into memory; its entry and the address of `tohost`."""
    elf = path.read_bytes()
    assert elf[:5] == b"\x7fELF\x02", f"{path} is no 64-bit ELF file"
    entry, at, sections = struct.unpack_from("<QQQ", elf, 24)
    size, count, section_size, section_count = struct.unpack_from("<HHHH", elf, 54)
    for header in range(at, at + size * count, size):
        kind, _, offset, _, address, length = struct.unpack_from("<IIQQQQ", elf, header)
        if kind == LOADED:
            memory.write(address, elf[offset : offset + length])
    headers = [
        struct.unpack_from("<IIQQQQIIQQ", elf, sections + n * section_size)
        for n in range(section_count)
    ]
    table = next(header for header in headers if header[1] == SYMBOLS)
    names = headers[table[6]][4]
    for symbol in range(table[4], table[4] + table[5], 24):
        name, _, _, _, value = struct.unpack_from("<IBBHQ", elf, symbol)
        if elf[names + name : names + name + 7] == b"tohost\0":
            return entry, value
    raise AssertionError(f"{path} has no symbol tohost")


def answer(path: Path, accel: Accel) -> int:
    """What the program stores to `tohost`."""
    memory = GuestMemory(BASE, SIZE)
    hart = Hart(0, memory, AddressSpace(), accel)
    hart.pc, tohost = load(path, memory)
    for _ in range(0, LIMIT, AT_ONCE):
        hart.run(AT_ONCE)
        value = int.from_bytes(memory.read(tohost, 8), "little")
        if value:
            return value
    raise AssertionError(f"{path.name} is not done after {LIMIT} instructions, at {hart.pc:#x}")


def test_the_programs_are_complete() -> None:
    """A directory that was built in part would pass in silence."""
    present = {path.name.removeprefix("rv64").rsplit("-", 1)[0] for path in PROGRAMS}
    assert {f"{group}-p" for group in GROUPS} <= present


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_a_program_passes(path: Path) -> None:
    value = answer(path, "interp")
    assert value == 1, f"case {value >> 1} failed"


@pytest.mark.parametrize(
    "path",
    [p for p in PROGRAMS if p.name.removeprefix("rv64") in FOR_REFERENCE],
    ids=lambda path: path.name,
)
def test_a_program_passes_in_cpython(path: Path) -> None:
    value = answer(path, "reference")
    assert value == 1, f"case {value >> 1} failed"
