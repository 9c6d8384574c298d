"""Integer operations that processors have and Python's operators lack.

These bodies are the reference; `compiler.lowering_integers` says what each becomes natively.
"""

from __future__ import annotations

from maquina.jit.words import W, Word, u64


def quotient(a: W, b: W) -> W:
    """Division that truncates towards zero, as hardware does. MIN / -1 is undefined natively."""
    magnitude = abs(a.value) // abs(a._operand(b))
    result = magnitude if (a.value < 0) == (b.value < 0) else -magnitude
    if result > a.maximum:
        raise OverflowError("MIN / -1 is undefined natively")
    return type(a)(result)


def remainder(a: W, b: W) -> W:
    """What `quotient` leaves: it has the sign of `a`. MIN / -1 is undefined natively."""
    return type(a)(a.value - quotient(a, b).value * b.value)


def _pattern(a: Word) -> int:
    return a.value & a.mask


def leading_zeros(a: W) -> W:
    """How many zeros stand above the highest one; the width for 0."""
    return type(a)(a.bits - _pattern(a).bit_length())


def trailing_zeros(a: W) -> W:
    """How many zeros stand below the lowest one; the width for 0."""
    return type(a)((_pattern(a) & -_pattern(a)).bit_length() - 1 if a.value else a.bits)


def population(a: W) -> W:
    """How many bits are one."""
    return type(a)(_pattern(a).bit_count())


def byte_swap(a: W) -> W:
    """The bytes in reverse order; the width is a multiple of 16."""
    if a.bits % 16:
        raise TypeError(f"byte_swap of {type(a).__name__}: the width must be a multiple of 16")
    return type(a)(int.from_bytes(_pattern(a).to_bytes(a.bits // 8, "little"), "big"))


def rotate_left(a: W, count: Word | int) -> W:
    """The bits moved up by `count` modulo the width, those that leave coming in below."""
    n = count.__index__() % a.bits
    return type(a)(_pattern(a) << n | _pattern(a) >> a.bits - n)


def rotate_right(a: W, count: Word | int) -> W:
    """The bits moved down by `count` modulo the width, those that leave coming in above."""
    return rotate_left(a, -(count.__index__() % a.bits))


def divide_wide(high: u64, low: u64, divisor: u64) -> tuple[u64, u64]:
    """Quotient and remainder of high:low / divisor, for high < divisor.

    One instruction on x86-64. Undefined natively (OverflowError here) where the quotient does
    not fit in 64 bits.
    """
    if high >= divisor:
        raise OverflowError("divide_wide: the quotient does not fit in 64 bits")
    q, r = divmod(high.value << 64 | low.value, divisor.value)
    return u64(q), u64(r)
