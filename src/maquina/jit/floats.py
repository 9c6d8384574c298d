"""IEEE 754 arithmetic on f32 and f64: every bit and every flag as the standard says.

The bodies are the reference: they compute with integers, exactly, and round once.
`compiler.lowering_floats` says what each becomes natively. Operations round as the environment
(`fenv`) says and raise its flags; where the standard leaves a choice, one is made here, so that
hosts agree:

* a NaN that comes out of an operation is the canonical one: quiet, positive, no payload;
* a result is tiny if it would be after rounding with an unbounded exponent;
* infinity times zero is invalid even where a quiet NaN is added to it;
* an integer conversion out of range is invalid and gives the nearest integer there is, a NaN
  the largest.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import Any, NamedTuple, TypeVar

from maquina.jit.fenv import (
    DIVIDE_BY_ZERO,
    DOWN,
    INEXACT,
    INVALID,
    OVERFLOW,
    TO_NEAREST,
    TOWARD_ZERO,
    UNDERFLOW,
    UP,
    get_rounding,
    raise_flags,
)
from maquina.jit.words import Float, Word, f32, f64, s32, s64, u32, u64

F = TypeVar("F", f32, f64)
N = TypeVar("N", s32, u32, s64, u64)


@dataclass(frozen=True, slots=True)
class Format:
    """The parameters of an interchange format (IEEE 754, table 3.5)."""

    width: int
    precision: int
    emax: int

    @property
    def emin(self) -> int:
        return 1 - self.emax

    @property
    def sign(self) -> int:
        """The pattern of -0."""
        return 1 << self.width - 1

    @property
    def infinity(self) -> int:
        return self.emax * 2 + 1 << self.precision - 1

    @property
    def quiet(self) -> int:
        """The bit that tells quiet NaNs from signaling ones."""
        return 1 << self.precision - 2


FORMATS: dict[type[Any], Format] = {f32: Format(32, 24, 127), f64: Format(64, 53, 1023)}


class _Number(NamedTuple):
    """(-1)**sign * significand * 2**exponent"""

    sign: int
    significand: int
    exponent: int


def _make(kind: type[F], pattern: int) -> F:
    return kind(kind.word(pattern))  # type: ignore[arg-type]


def _fields(a: Float[Any]) -> tuple[Format, int, int]:
    """The format, the sign and the rest of the pattern."""
    form = FORMATS[type(a)]
    return form, a.pattern.value >> form.width - 1, a.pattern.value & ~form.sign


def _number(a: Float[Any]) -> _Number:
    form, sign, rest = _fields(a)
    low = form.precision - 1
    field, fraction = rest >> low, rest & (1 << low) - 1
    significand = fraction | 1 << low if field else fraction
    return _Number(sign, significand, max(field, 1) - form.emax - low)


def is_nan(a: f32 | f64) -> bool:
    """Whether it is no number. Raises nothing."""
    form, _, rest = _fields(a)
    return rest > form.infinity


def is_signaling(a: f32 | f64) -> bool:
    """Whether it is a NaN that makes operations invalid. Raises nothing."""
    return is_nan(a) and not a.pattern.value & FORMATS[type(a)].quiet


def _is_infinite(a: Float[Any]) -> bool:
    form, _, rest = _fields(a)
    return rest == form.infinity


def _is_zero(a: Float[Any]) -> bool:
    return _fields(a)[2] == 0


def canonical_nan(kind: type[F]) -> F:
    """The NaN that operations give."""
    form = FORMATS[kind]
    return _make(kind, form.infinity | form.quiet)


def _invalid(kind: type[F]) -> F:
    raise_flags(INVALID)
    return canonical_nan(kind)


def _of_nan(kind: type[F], *operands: f32 | f64) -> F:
    """The result of an operation on operands of which one is a NaN."""
    return _invalid(kind) if any(map(is_signaling, operands)) else canonical_nan(kind)


def _infinity(kind: type[F], sign: int) -> F:
    form = FORMATS[kind]
    return _make(kind, form.infinity | sign * form.sign)


def _zero(kind: type[F], sign: int) -> F:
    return _make(kind, sign * FORMATS[kind].sign)


# ---- rounding ----
def _cut(number: _Number, last: int, rounding: u32) -> tuple[int, bool]:
    """The number as a multiple of 2**last, rounded, and whether that lost something."""
    sign, significand, exponent = number
    if last <= exponent:
        return significand << exponent - last, False
    kept, rest = divmod(significand, 1 << last - exponent)
    half = 1 << last - exponent - 1
    if rounding == TO_NEAREST:
        up = rest > half or (rest == half and kept & 1 == 1)
    else:
        up = rest > 0 and rounding == (DOWN if sign else UP)
    return kept + up, rest > 0


def _round(kind: type[F], number: _Number) -> F:
    """A number that is not zero, in the format. Raises INEXACT, UNDERFLOW, OVERFLOW.

    The lowest bit may stand for any bits below it, if the number is two bits longer than a result.
    """
    form, rounding = FORMATS[kind], get_rounding()
    lead = number.significand.bit_length() - 1 + number.exponent
    last = max(lead, form.emin) - form.precision + 1
    kept, is_inexact = _cut(number, last, rounding)
    if is_inexact:
        raise_flags(INEXACT)
        unbounded, _ = _cut(number, lead - form.precision + 1, rounding)
        if unbounded.bit_length() + lead - form.precision < form.emin:
            raise_flags(UNDERFLOW)
    if kept.bit_length() - 1 + last > form.emax:
        return _overflow(kind, number.sign)
    # An implied leading one carries into the exponent field, so the field starts one lower.
    field = last - form.emin + form.precision - 1
    return _make(kind, (field << form.precision - 1) + kept | number.sign * form.sign)


def _overflow(kind: type[F], sign: int) -> F:
    raise_flags(OVERFLOW)
    raise_flags(INEXACT)
    infinity = _infinity(kind, sign)
    if get_rounding() in (TO_NEAREST, DOWN if sign else UP):
        return infinity
    return _make(kind, infinity.pattern.value - 1)  # the largest finite number


def _sum(kind: type[F], a: _Number, b: _Number) -> F:
    exponent = min(a.exponent, b.exponent)
    total = 0
    for sign, significand, own in (a, b):
        total += (significand << own - exponent) * (-1 if sign else 1)
    if total == 0:
        return _zero(kind, a.sign if a.sign == b.sign else int(get_rounding() == DOWN))
    return _round(kind, _Number(int(total < 0), abs(total), exponent))


# ---- arithmetic ----
def negate(a: F) -> F:
    """The other sign, on NaNs too. Raises nothing."""
    return _make(type(a), a.pattern.value ^ FORMATS[type(a)].sign)


def add(a: F, b: F) -> F:
    """a + b"""
    kind = type(a)
    if is_nan(a) or is_nan(b):
        return _of_nan(kind, a, b)
    if _is_infinite(a):
        return _invalid(kind) if b == negate(a) else a
    if _is_infinite(b):
        return b
    return _sum(kind, _number(a), _number(b))


def subtract(a: F, b: F) -> F:
    """a - b"""
    return add(a, negate(b))


def multiply(a: F, b: F) -> F:
    """a * b"""
    kind = type(a)
    if is_nan(a) or is_nan(b):
        return _of_nan(kind, a, b)
    x, y = _number(a), _number(b)
    sign = x.sign ^ y.sign
    if _is_infinite(a) or _is_infinite(b):
        return _invalid(kind) if _is_zero(a) or _is_zero(b) else _infinity(kind, sign)
    if _is_zero(a) or _is_zero(b):
        return _zero(kind, sign)
    return _round(kind, _Number(sign, x.significand * y.significand, x.exponent + y.exponent))


def fused(a: F, b: F, c: F) -> F:
    """a * b + c, rounded once"""
    kind = type(a)
    has_product = not (is_nan(a) or is_nan(b))
    is_infinite = has_product and (_is_infinite(a) or _is_infinite(b))
    if is_infinite and (_is_zero(a) or _is_zero(b)):
        return _invalid(kind)
    if not has_product or is_nan(c):
        return _of_nan(kind, a, b, c)
    x, y = _number(a), _number(b)
    sign = x.sign ^ y.sign
    if is_infinite:
        return add(_infinity(kind, sign), c)
    if _is_infinite(c):
        return c
    product = _Number(sign, x.significand * y.significand, x.exponent + y.exponent)
    return _sum(kind, product, _number(c))


def divide(a: F, b: F) -> F:
    """a / b"""
    kind = type(a)
    if is_nan(a) or is_nan(b):
        return _of_nan(kind, a, b)
    x, y = _number(a), _number(b)
    sign = x.sign ^ y.sign
    if _is_infinite(a):
        return _invalid(kind) if _is_infinite(b) else _infinity(kind, sign)
    if _is_zero(b):
        if _is_zero(a):
            return _invalid(kind)
        raise_flags(DIVIDE_BY_ZERO)
        return _infinity(kind, sign)
    if _is_infinite(b) or _is_zero(a):
        return _zero(kind, sign)
    more = 2 * FORMATS[kind].precision + 2  # so that the quotient has two bits more than a result
    quotient, rest = divmod(x.significand << more, y.significand)
    exact = _Number(sign, quotient << 1 | (rest > 0), x.exponent - y.exponent - more - 1)
    return _round(kind, exact)


def square_root(a: F) -> F:
    """The root of a; of -0 it is -0."""
    kind = type(a)
    if is_nan(a):
        return _of_nan(kind, a)
    if _is_zero(a):
        return a
    sign, significand, exponent = _number(a)
    if sign:
        return _invalid(kind)
    if _is_infinite(a):
        return a
    more = 2 * FORMATS[kind].precision + 4 + (exponent & 1)
    root = isqrt(significand << more)
    rest = root * root != significand << more
    return _round(kind, _Number(0, root << 1 | rest, (exponent - more) // 2 - 1))


# ---- comparison ----
def _order(a: F) -> int:
    """A number that compares as `a` does, for anything but a NaN."""
    _, sign, rest = _fields(a)
    return -rest if sign else rest


def equal(a: F, b: F) -> bool:
    """a == b; false if one is a NaN, which is invalid only if it signals."""
    if is_nan(a) or is_nan(b):
        _of_nan(type(a), a, b)
        return False
    return _order(a) == _order(b)


def less(a: F, b: F) -> bool:
    """a < b; false and invalid if one is a NaN."""
    if is_nan(a) or is_nan(b):
        raise_flags(INVALID)
        return False
    return _order(a) < _order(b)


def less_equal(a: F, b: F) -> bool:
    """a <= b; false and invalid if one is a NaN."""
    if is_nan(a) or is_nan(b):
        raise_flags(INVALID)
        return False
    return _order(a) <= _order(b)


# ---- conversion ----
def convert(kind: type[F], a: f32 | f64 | s32 | u32 | s64 | u64) -> F:
    """A float of another format, or an integer, as a float of `kind`. One of `kind` as it is."""
    if isinstance(a, kind):
        return a
    if isinstance(a, Word):
        if a == 0:
            return _zero(kind, 0)
        return _round(kind, _Number(int(a.value < 0), abs(a.value), 0))
    if is_nan(a):
        return _of_nan(kind, a)
    number = _number(a)
    if _is_infinite(a):
        return _infinity(kind, number.sign)
    return _zero(kind, number.sign) if _is_zero(a) else _round(kind, number)


def round_to(kind: type[N], a: f32 | f64) -> N:
    """The integer that the environment rounds `a` to."""
    return _integer(kind, a, get_rounding())


def truncate_to(kind: type[N], a: f32 | f64) -> N:
    """The integer part of `a`, whatever the environment rounds to."""
    return _integer(kind, a, TOWARD_ZERO)


def _integer(kind: type[N], a: f32 | f64, rounding: u32) -> N:
    number = _number(a)
    magnitude, is_inexact = _cut(number, 0, rounding)
    value = -magnitude if number.sign else magnitude
    if is_nan(a):
        value = kind.maximum + 1
    if not kind.minimum <= value <= kind.maximum:  # so is an infinity, as _number reads it
        raise_flags(INVALID)
        return kind(min(max(value, kind.minimum), kind.maximum))
    if is_inexact:
        raise_flags(INEXACT)
    return kind(value)
