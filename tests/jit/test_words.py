"""The rules of words, as CPython enforces them."""

import operator
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maquina.jit import (
    Word,
    byte_swap,
    divide_wide,
    f32,
    f64,
    leading_zeros,
    population,
    quotient,
    remainder,
    rotate_left,
    rotate_right,
    s8,
    s16,
    s32,
    s64,
    s128,
    s256,
    trailing_zeros,
    u8,
    u16,
    u32,
    u64,
    u128,
    u256,
    u512,
)

KINDS: list[type[Word]] = [u8, u16, u32, u64, u128, u256, s8, s16, s32, s64, s128, s256]
numbers = st.integers(-(1 << 260), 1 << 260)
kinds = st.sampled_from(KINDS)


@settings(derandomize=True)
@given(kinds, numbers, numbers, st.sampled_from("+-*&|^"))
def test_operators_wrap_around(kind: type[Word], a: int, b: int, symbol: str) -> None:
    apply: dict[str, Callable[[Any, Any], Any]] = {
        "+": operator.add,
        "-": operator.sub,
        "*": operator.mul,
        "&": operator.and_,
        "|": operator.or_,
        "^": operator.xor,
    }
    result = apply[symbol](kind(a), kind(b))
    assert type(result) is kind
    assert (int(result) - apply[symbol](a, b)) % (1 << kind.bits) == 0
    assert kind.minimum <= int(result) <= kind.maximum


@settings(derandomize=True)
@given(kinds, kinds, numbers)
def test_conversion_keeps_the_value_modulo_the_width(
    kind: type[Word], other: type[Word], number: int
) -> None:
    assert (int(kind(other(number))) - int(other(number))) % (1 << kind.bits) == 0


def test_sign_decides_order_shift_and_widening() -> None:
    assert s8(-1) < s8(0)
    assert u8(255) > u8(0)
    assert s8(-128) >> 7 == -1
    assert u8(128) >> 7 == 1
    assert u64(s32(-1)) == (1 << 64) - 1
    assert u64(u32(s32(-1))) == (1 << 32) - 1
    assert u64(True) == 1


def test_types_do_not_mix() -> None:
    with pytest.raises(TypeError, match=r"u64 with s64\(0x1\): convert one side"):
        u64(1) + s64(1)  # type: ignore[operator]
    with pytest.raises(TypeError, match="convert"):
        assert u64(1) == u32(1)
    with pytest.raises(TypeError, match="convert"):
        u8(1) + 256
    with pytest.raises(TypeError, match="convert"):
        u8(1) + True
    with pytest.raises(TypeError, match="never equal"):
        assert s8(1) == 200


def test_a_word_is_no_truth_value() -> None:
    with pytest.raises(TypeError, match="x != 0"):
        assert u64(1)


def test_what_is_undefined_natively_raises() -> None:
    with pytest.raises(OverflowError):
        u64(1) << 64
    with pytest.raises(OverflowError):
        u64(1) >> s8(-1)
    with pytest.raises(ZeroDivisionError):
        u64(1) // 0
    with pytest.raises(ZeroDivisionError):
        remainder(s64(1), s64(0))
    with pytest.raises(OverflowError):
        quotient(s64(s64.minimum), s64(-1))
    with pytest.raises(OverflowError):
        divide_wide(u64(2), u64(0), u64(2))
    with pytest.raises(TypeError, match="quotient"):
        s64(5) // 2


@settings(derandomize=True)
@given(st.integers(s64.minimum, s64.maximum), st.integers(1, s64.maximum))
def test_signed_division_truncates(a: int, b: int) -> None:
    q, r = quotient(s64(a), s64(b)), remainder(s64(a), s64(b))
    assert int(q) * b + int(r) == a
    assert abs(int(r)) < b
    assert int(r) == 0 or (int(r) < 0) == (a < 0)


@settings(derandomize=True)
@given(kinds, numbers, st.integers(0, 600))
def test_bit_operations_against_text(kind: type[Word], number: int, amount: int) -> None:
    word = kind(number)
    text = format(int(word) & kind.mask, f"0{kind.bits}b")
    assert leading_zeros(word) == len(text) - len(text.lstrip("0"))
    assert trailing_zeros(word) == len(text) - len(text.rstrip("0"))
    assert population(word) == text.count("1")
    n = amount % kind.bits
    assert rotate_left(word, amount) == kind(int(text[n:] + text[:n], 2))
    assert rotate_right(rotate_left(word, amount), amount) == word
    if kind.bits > 8:
        assert byte_swap(byte_swap(word)) == word


def test_byte_swap() -> None:
    assert byte_swap(u32(0x11223344)) == 0x44332211
    with pytest.raises(TypeError, match="multiple of 16"):
        byte_swap(u8(1))


def test_another_width_is_one_line() -> None:
    class u24(Word, bits=24, signed=False): ...

    assert u24(1 << 24) == 0
    with pytest.raises(TypeError, match="whole bytes"):

        class u7(Word, bits=7, signed=False): ...


def test_wide_words() -> None:
    assert u512(u256(u256.maximum)) * u512(u256(u256.maximum)) == u256.maximum**2


def test_floats_are_their_bits() -> None:
    assert f64(u64(0x3FF0_0000_0000_0000)).pattern == 0x3FF0_0000_0000_0000
    assert f32(u32(0x7F80_0001)).pattern == 0x7F80_0001
    with pytest.raises(TypeError, match="a u64, is needed"):
        f64(u32(1))  # type: ignore[arg-type]
