"""LLVM text of small functions, so that a change of code generation is seen in review.

`MAQUINA_NEW_GOLDEN=1 pytest tests/jit/test_golden.py` writes the texts anew.
"""

import os
from pathlib import Path
from typing import Any

import pytest

from maquina.jit import (
    Array,
    Library,
    Native,
    Ptr,
    Struct,
    Table,
    Trap,
    array,
    atomic_add,
    gather,
    likely,
    native,
    s8,
    s64,
    span,
    tail_call,
    u8,
    u64,
    unrolled,
)
from maquina.jit.compiler.module import Module

GOLDEN = Path(__file__).parent / "golden"


class Cpu(Struct):
    x: Array[u64] = array(4)
    pc: u64


class Record(Struct):
    handler: u64
    rd: u8
    rs1: u8


@native(inline=True)
def narrow(a: u64) -> s64:
    if a > 255:
        raise Trap(u64(1), a)
    return s64(s8(a))


@native
def caught(a: u64) -> s64:
    try:
        return narrow(a) >> 1
    except Trap as trap:
        return -s64(trap.value)


@native
def escaping(a: u64) -> s64:
    return narrow(a) if a != 3 else s64(4)


@native
def summed(values: Ptr[u8], count: u64) -> u64:
    total = u64(0)
    for i in span(count):
        if values[i] == 0:
            break
        total += u64(values[i])
    return total


@native(convention="preserve_none")
def handler(record: Record, cpu: Cpu, budget: s64) -> None:
    cpu.x[record.rd] = cpu.x[record.rs1] + 1
    following = record.shifted(1)
    if likely(budget > 0):
        return tail_call(following.handler, following, cpu, budget - 1)
    cpu.pc = following.address
    return None


FUNCTIONS = (escaping, caught)
DIGITS = Table(u8, [3, 1, 4, 1], "digits")


@native
def chosen(a: s64, b: s64) -> s64:
    return a + b


@native
def gathered(a: u64) -> s64:
    best = chosen(*gather(FUNCTIONS, a))
    for bit in unrolled((1, 2)):
        best ^= s64(DIGITS[a & bit])
    return best


@native
def counted(cpu: Cpu, a: u64) -> u64:
    match a & 3:
        case 0 | 1:
            return atomic_add(cpu.x + 1, a)
        case 2:
            return a // 3
        case _:
            return a if a < 9 and (a != 5 or a == 7) else u64(9)


EVERY: list[Native[..., Any]] = [caught, escaping, summed, handler, gathered, counted]


@pytest.mark.parametrize("function", EVERY, ids=lambda function: function.name)
def test_golden(function: Native[..., Any]) -> None:
    text = Module([function], machine="x86_64", has_lines=False).text()
    path = GOLDEN / f"{function.name}.ll"
    if "MAQUINA_NEW_GOLDEN" in os.environ:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


def test_what_is_golden_links() -> None:
    library = Library(EVERY)
    for number in (0, 3, 127, 200, 256):
        assert library(caught)(u64(number)) == caught(u64(number))
