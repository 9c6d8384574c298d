"""Floats worth trying, exact results from fractions, and operations as machine code."""

import random
from collections.abc import Callable
from fractions import Fraction
from math import floor, isqrt
from typing import Any

from maquina.jit import Native, native
from maquina.jit.fenv import (
    DOWN,
    INEXACT,
    OVERFLOW,
    TO_NEAREST,
    TO_NEAREST_AWAY,
    TOWARD_ZERO,
    UNDERFLOW,
    UP,
    enter_environment,
    get_flags,
    leave_environment,
)  # fmt: skip
from maquina.jit.words import f32, f64, s32, s64, u32, u64

FLOATS: tuple[type[Any], ...] = (f32, f64)
WORDS: tuple[type[Any], ...] = (s32, u32, s64, u64)
ROUNDINGS = (TO_NEAREST, TOWARD_ZERO, DOWN, UP)
WIDTH = {f32: 32, f64: 64}
FRACTION = {f32: 23, f64: 52}
BIAS = {f32: 127, f64: 1023}
SPECIALS = 0.15  # so that three of them meet now and then


# ---- cases ----
def of_pattern(kind: Any, pattern: int) -> Any:
    return kind(kind.word(pattern))


def special(kind: Any, rng: random.Random) -> Any:
    """A zero, an infinity, one, or a NaN, of either sign."""
    low, width = FRACTION[kind], WIDTH[kind]
    infinity = (1 << width - 1) - (1 << low)
    pattern = rng.choice((0, infinity, infinity, BIAS[kind] << low, infinity | 1 << low - 1,
                          infinity | 1, infinity | rng.getrandbits(low)))  # fmt: skip
    return of_pattern(kind, rng.getrandbits(1) << width - 1 | pattern)


def pick(kind: Any, rng: random.Random) -> Any:
    """A number near a boundary, of moderate size, or of any bits at all."""
    if rng.random() < SPECIALS:
        return special(kind, rng)
    low, width = FRACTION[kind], WIDTH[kind]
    top = (1 << width - 1 - low) - 1
    fraction = rng.choice([
        0, 1, 2, 3, (1 << low) - 1, (1 << low) - 2, 1 << low - 1, (1 << low - 1) - 1,
        (1 << low - 1) + 1, 1 << rng.randrange(low), rng.getrandbits(low),
        rng.getrandbits(low) & -(1 << rng.randrange(low)), (1 << rng.randrange(low)) - 1,
    ])  # fmt: skip
    exponent = rng.choice([
        0, 0, 1, 2, top - 1, top - 2, top, top >> 1, (top >> 1) - 1, (top >> 1) + 1,
        (top >> 1) + rng.randrange(-4, 5), (top >> 1) + rng.randrange(-70, 71),
        (top >> 1) - low + rng.randrange(-2, 3), low + rng.randrange(-3, 4),
        (top >> 2) + rng.randrange(-3, 4), (top >> 1) + (top >> 2) + rng.randrange(-3, 4),
        rng.randrange(top + 1),
    ])  # fmt: skip
    return of_pattern(kind, rng.getrandbits(1) << width - 1 | (exponent & top) << low | fraction)


def pick_word(kind: Any, rng: random.Random) -> Any:
    """An integer of any length, often with long runs of equal bits."""
    bits = rng.getrandbits(kind.bits) >> rng.randrange(kind.bits)
    if rng.random() < 0.5:
        bits = (1 << rng.randrange(kind.bits + 1)) + rng.randrange(-3, 4) * rng.choice((1, 1 << 9))
    return kind(-bits if rng.random() < 0.5 else bits)


# ---- exact results ----
def exact(a: Any) -> Fraction | None:
    """The number, or None if it is not finite."""
    low, bias = FRACTION[type(a)], BIAS[type(a)]
    pattern: int = a.pattern.value
    field = pattern >> low & 2 * bias + 1
    if field == 2 * bias + 1:
        return None
    fraction = pattern & (1 << low) - 1 | (min(field, 1) << low)
    number = Fraction(fraction) * Fraction(2) ** (max(field, 1) - bias - low)
    return -number if pattern >> WIDTH[type(a)] - 1 else number


def to_grid(number: Fraction, spacing: Fraction, rounding: u32) -> Fraction:
    """The multiple of `spacing` that a number rounds to."""
    steps = number / spacing
    below = floor(steps)
    if below == steps:
        return number
    rest = steps - below
    if rounding in (TO_NEAREST, TO_NEAREST_AWAY) and rest != Fraction(1, 2):
        is_up = rest > Fraction(1, 2)
    elif rounding == TO_NEAREST:
        is_up = below % 2 == 1
    elif rounding in (TO_NEAREST_AWAY, TOWARD_ZERO):
        is_up = (number > 0) == (rounding == TO_NEAREST_AWAY)
    else:
        is_up = rounding == UP
    return (below + is_up) * spacing


def power(exponent: int) -> Fraction:
    return Fraction(2) ** exponent


def rounded(kind: Any, number: Fraction, rounding: u32) -> tuple[Fraction | None, u32]:
    """A number other than zero as one of the format (None: an infinity), and the flags."""
    bias, low = BIAS[kind], FRACTION[kind]
    lead = number.numerator.bit_length() - number.denominator.bit_length()
    lead -= abs(number) < power(lead)
    unbounded = to_grid(number, power(lead - low), rounding)
    if abs(unbounded) >= power(bias + 1):
        goes_up = to_grid(Fraction(3, 4) * (1 if number > 0 else -1), Fraction(1), rounding) != 0
        largest = (2 - power(-low)) * power(bias) * (1 if number > 0 else -1)
        return None if goes_up else largest, OVERFLOW | INEXACT
    result = to_grid(number, power(max(lead, 1 - bias) - low), rounding)
    if result == number:
        return result, u32(0)
    is_tiny = abs(unbounded) < power(1 - bias)
    return result, INEXACT | UNDERFLOW if is_tiny else INEXACT


def root(number: Fraction) -> Fraction:
    """A square root, or a number just above or below it that rounds alike.

    200 digits of it and, if it has more, one more digit that is not zero.
    """
    shift = 400 + max(0, number.denominator.bit_length())
    scaled = number * 4**shift
    whole = isqrt(floor(scaled))
    is_exact = whole * whole == scaled
    return Fraction(2 * whole + (not is_exact), 2 << shift)


OPERATIONS: dict[str, tuple[int, Callable[..., Fraction]]] = {
    "add": (2, lambda a, b: a + b),
    "subtract": (2, lambda a, b: a - b),
    "multiply": (2, lambda a, b: a * b),
    "divide": (2, lambda a, b: a / b),
    "square_root": (1, root),
    "fused": (3, lambda a, b, c: a * b + c),
}


def exact_result(name: str, operands: list[Any]) -> Fraction | None:
    """What an operation gives before rounding, if it is a number other than zero."""
    numbers = [exact(operand) for operand in operands]
    known = [number for number in numbers if number is not None]
    if len(known) < len(numbers) or (name == "divide" and known[1] == 0):
        return None
    if name == "square_root" and known[0] < 0:
        return None
    return OPERATIONS[name][1](*known) or None


# ---- an operation in an environment of its own ----
def run(function: Callable[..., Any], operands: list[Any], rounding: u32) -> tuple[Any, u32]:
    """Its result and flags, in CPython."""
    before = enter_environment(rounding)
    try:
        return function(*operands), get_flags()
    finally:
        leave_environment(before)


def probe(operation: Callable[..., Any], result: Any, *kinds: Any) -> Native[..., Any]:
    """A native function of the operands and the rounding that does as `run` does."""
    count = len(kinds)
    A, B, C = (*kinds, u32, u32)[:3]  # what is left over is not used

    @native(name=f"probe_{operation.__name__}_{'_'.join(kind.__name__ for kind in kinds)}")
    def probed(a: A, b: B, c: C, rounding: u32) -> tuple[result, u32]:  # type: ignore[valid-type]
        before = enter_environment(rounding)
        if count == 1:
            value = operation(a)
        elif count == 2:
            value = operation(a, b)
        else:
            value = operation(a, b, c)
        flags = get_flags()
        leave_environment(before)
        return value, flags

    return probed


def padded(operands: list[Any]) -> list[Any]:
    """The operands as a probe takes them."""
    return [*operands, u32(0), u32(0)][:3]
