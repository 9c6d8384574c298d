"""Zba, Zbb and Zbs against definitions written independently of them, on Python's integers."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from tests.cpu.riscv.bench_machine import Bench, assemble, pick

from maquina.bits import mask, sign_extend
from maquina.cpu.riscv.rv_zba import rv_zba
from maquina.cpu.riscv.rv_zbb import rv_zbb
from maquina.cpu.riscv.rv_zbs import rv_zbs

ALL, WORD = mask(64), mask(32)


def signed(a: int) -> int:
    return sign_extend(a, 64)


def rotate(a: int, n: int, width: int) -> int:
    """To the right."""
    text = f"{a & mask(width):0{width}b}"
    n %= width
    return int(text[width - n :] + text[: width - n], 2)


def word(a: int) -> int:
    return sign_extend(a, 32)


DEFINITIONS: dict[str, Callable[[int, int], int]] = {
    "sh1add": lambda a, b: 2 * a + b,
    "sh2add": lambda a, b: 4 * a + b,
    "sh3add": lambda a, b: 8 * a + b,
    "add.uw": lambda a, b: (a & WORD) + b,
    "sh1add.uw": lambda a, b: 2 * (a & WORD) + b,
    "sh2add.uw": lambda a, b: 4 * (a & WORD) + b,
    "sh3add.uw": lambda a, b: 8 * (a & WORD) + b,
    "slli.uw": lambda a, b: (a & WORD) << b % 64,
    "andn": lambda a, b: a & (b ^ ALL),
    "orn": lambda a, b: a | (b ^ ALL),
    "xnor": lambda a, b: a ^ b ^ ALL,
    "clz": lambda a, b: 64 - a.bit_length(),
    "clzw": lambda a, b: 32 - (a & WORD).bit_length(),
    "ctz": lambda a, b: f"{a:064b}"[::-1].find("1") if a else 64,
    "ctzw": lambda a, b: f"{a & WORD:032b}"[::-1].find("1") if a & WORD else 32,
    "cpop": lambda a, b: f"{a:b}".count("1"),
    "cpopw": lambda a, b: f"{a & WORD:b}".count("1"),
    "max": lambda a, b: max(signed(a), signed(b)),
    "maxu": max,
    "min": lambda a, b: min(signed(a), signed(b)),
    "minu": min,
    "sext.b": lambda a, b: sign_extend(a, 8),
    "sext.h": lambda a, b: sign_extend(a, 16),
    "zext.h": lambda a, b: a & 0xFFFF,
    "rol": lambda a, b: rotate(a, -b % 64, 64),
    "ror": lambda a, b: rotate(a, b % 64, 64),
    "rori": lambda a, b: rotate(a, b % 64, 64),
    "rolw": lambda a, b: word(rotate(a, -(b % 32) % 32, 32)),
    "rorw": lambda a, b: word(rotate(a, b % 32, 32)),
    "roriw": lambda a, b: word(rotate(a, b % 32, 32)),
    "orc.b": lambda a, b: int.from_bytes(
        bytes(0xFF * (byte != 0) for byte in a.to_bytes(8, "little")), "little"
    ),
    "rev8": lambda a, b: int.from_bytes(a.to_bytes(8, "little"), "big"),
    "bclr": lambda a, b: a & (ALL ^ 1 << b % 64),
    "bext": lambda a, b: a >> b % 64 & 1,
    "binv": lambda a, b: a ^ 1 << b % 64,
    "bset": lambda a, b: a | 1 << b % 64,
}
DEFINITIONS |= {name + "i": DEFINITIONS[name] for name in ("bclr", "bext", "binv", "bset")}
NAMES = [line.name for extension in (rv_zba, rv_zbb, rv_zbs) for line in extension.instructions]


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize("name", NAMES)
def test_each_instruction_is_what_it_is_defined_to_be(name: str, bench: Bench) -> None:
    source = random.Random(name)
    for _ in range(60):
        a, b = pick(source), pick(source)
        code = assemble(name, rd=3, rs1=1, rs2=2, shamt=b % 64, shamtw=b % 32)
        bench.load(code, [0, a, b], b"")
        bench.hart.step()
        assert bench.hart.x[3] == DEFINITIONS[name](a, b) & ALL, (name, hex(a), hex(b))


def test_every_definition_has_its_instruction() -> None:
    assert sorted(NAMES) == sorted(DEFINITIONS)
