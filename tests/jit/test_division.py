"""Division in software: against Python's integers, in both modes."""

import random

import pytest

from maquina.jit import Library, Native, divide_wide, native, quotient, remainder, s128, u64, u128
from maquina.jit.compiler.module import Module
from maquina.jit.division import divide_wide_by_halves

chance = random.Random(7)


def number(bits: int) -> int:
    wide = chance.getrandbits(chance.choice([1, 8, bits // 2, bits // 2 + 1, bits]))
    return chance.choice([wide, (1 << bits) - 1 - wide])


@native
def unsigned(a: u128, b: u128) -> tuple[u128, u128]:
    return a // b, a % b


@native
def signed(a: s128, b: s128) -> tuple[s128, s128]:
    return quotient(a, b), remainder(a, b)


@native
def wide(high: u64, low: u64, divisor: u64) -> tuple[u64, u64]:
    return divide_wide(high, low, divisor)


def test_128_bits() -> None:
    library = Library([unsigned, signed])
    for _ in range(3000):
        a, b = number(128), number(128) or 1
        assert tuple(map(int, library(unsigned)(u128(a), u128(b)))) == divmod(a, b)
        x, y = s128(a), s128(b)
        if x != s128.minimum or y != -1:
            assert library(signed)(x, y) == signed(x, y)


@pytest.mark.parametrize("divide", [wide, divide_wide_by_halves], ids=lambda f: f.name)
def test_128_by_64_bits(divide: Native[[u64, u64, u64], tuple[u64, u64]]) -> None:
    compiled = Library([divide])(divide)
    for _ in range(3000):
        divisor, low = number(64) or 1, number(64)
        high = number(64) % divisor
        words = u64(high), u64(low), u64(divisor)
        expected = divmod(high << 64 | low, divisor)
        assert tuple(map(int, compiled(*words))) == expected, words
        assert tuple(map(int, divide(*words))) == expected, words


def test_hosts_without_the_instruction_call_a_function() -> None:
    assert "divq" in Module([wide], machine="x86_64").text()
    text = Module([wide], machine="aarch64").text()
    assert "divq" not in text
    assert '@"divide_wide_by_halves"' in text
