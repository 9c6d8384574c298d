"""Floating point in integers, for what a host's own arithmetic lacks.

That is rounding to nearest with ties away from zero on every host, the fused operation on some,
and integer conversions near the edge of their range. Each function takes the rounding direction,
one of the five of `fenv`, as its last argument, and raises flags in the environment.

A finite number that is not zero is taken apart into a sign (0 or 1), an exponent and a significand
whose top bit is set: (-1)**sign * significand * 2**(exponent - 63). Bits that do not fit below are
kept as one *sticky* lowest bit, which is enough to round from, since 64 bits are many more than
a result has. Operands of both formats are taken apart as f64; only results differ.

Whatever involves an infinity or a NaN does not depend on rounding and is left to `floats`.
"""

from typing import Any, Generic, NamedTuple

from maquina.jit.fenv import (
    DOWN,
    INEXACT,
    INVALID,
    OVERFLOW,
    TO_NEAREST,
    TO_NEAREST_AWAY,
    TOWARD_ZERO,
    UNDERFLOW,
    get_rounding,
    raise_flags,
    set_rounding,
)
from maquina.jit.floats import FORMATS, F, N, add, convert, is_nan, multiply, negate
from maquina.jit.floats import divide as host_divide
from maquina.jit.floats import square_root as host_square_root
from maquina.jit.integers import divide_wide, leading_zeros
from maquina.jit.native import Native, native
from maquina.jit.words import f32, f64, s32, s64, u32, u64, u128

MAGNITUDE = (1 << 63) - 1
FRACTION_BITS = 52
FRACTION = (1 << FRACTION_BITS) - 1
INFINITY = 0x7FF << FRACTION_BITS
HALF = 1 << 63


# ---- taking apart ----
@native(inline=True)
def sign_of(a: f64) -> u64:
    return a.pattern >> 63


@native(inline=True)
def is_zero(a: f64) -> bool:
    return a.pattern & MAGNITUDE == 0


@native(inline=True)
def is_finite(a: f64) -> bool:
    return a.pattern & MAGNITUDE < INFINITY


@native
def take_apart(a: f64) -> tuple[s64, u64]:
    """Exponent and significand of a finite number that is not zero."""
    field = s64(a.pattern >> FRACTION_BITS & 0x7FF)
    fraction = a.pattern & FRACTION
    if field == 0:
        shift = leading_zeros(fraction)
        return s64(-1011) - s64(shift), fraction << shift
    return field - 1023, (fraction | 1 << FRACTION_BITS) << 11


@native
def shift_sticky(wide: u128, count: u64) -> u128:
    """The bits moved down, the lowest one telling whether any one bit was lost."""
    if count == 0:
        return wide
    if count >= 128:
        return u128(wide != 0)
    return wide >> count | u128(wide << (128 - count) != 0)


@native(inline=True)
def squeeze(wide: u128) -> u64:
    """The upper half, with the lower half as its sticky bit."""
    return u64(wide >> 64) | u64(u64(wide) != 0)


@native
def goes_up(sign: u64, odd: u64, rest: u64, rounding: u32) -> bool:
    """Whether to round away from zero what lies `rest` / 2**64 above a last digit."""
    if rest == 0 or rounding == TOWARD_ZERO:
        return False
    if rounding == TO_NEAREST:
        return rest > HALF or (rest == HALF and odd & 1 == 1)
    if rounding == TO_NEAREST_AWAY:
        return rest >= HALF
    return sign == u64(rounding == DOWN)


# ---- integers ----
def integer_rounder(kind: type[N]) -> Native[[f64, u32], N]:
    """The function that rounds an f64 to an integer of `kind`."""
    largest, smallest = u64(kind.maximum), u64(-kind.minimum)

    @native(name=f"soft.to_{kind.__name__}", cold=True, types={"N": kind})
    def to_integer(a: f64, rounding: u32) -> N:
        sign = sign_of(a)
        limit = smallest if sign == 1 else largest
        if is_nan(a):
            raise_flags(INVALID)
            return kind(largest)
        if is_zero(a):
            return kind(0)
        exponent, significand = take_apart(a)
        magnitude = limit
        rest = u64(0)
        is_valid = exponent <= 63
        if is_valid:
            wide = shift_sticky(u128(significand) << 64, u64(63 - exponent))
            rest = u64(wide)
            magnitude = u64(wide >> 64)
            magnitude += u64(goes_up(sign, magnitude, rest, rounding))
            is_valid = magnitude <= limit
        if not is_valid:
            raise_flags(INVALID)
            magnitude = limit
        elif rest != 0:
            raise_flags(INEXACT)
        return kind(0 - magnitude if sign == 1 else magnitude)

    return to_integer


INTEGERS: dict[type[Any], Native[[f64, u32], Any]] = {
    kind: integer_rounder(kind) for kind in (s32, u32, s64, u64)
}


# ---- numbers of one format ----
class Soft(NamedTuple, Generic[F]):
    """The operations whose results are of one format."""

    add: Native[[F, F, u32], F]
    subtract: Native[[F, F, u32], F]
    multiply: Native[[F, F, u32], F]
    divide: Native[[F, F, u32], F]
    square_root: Native[[F, u32], F]
    fused: Native[[F, F, F, u32], F]
    from_f64: Native[[f64, u32], F]
    from_s64: Native[[s64, u32], F]
    from_u64: Native[[u64, u32], F]


def putting_together(kind: type[F]) -> Native[[u64, s64, u64, u32], F]:
    """The function that makes a number of `kind` from sign, exponent and significand."""
    form = FORMATS[kind]
    word: Any = kind.word
    width, digits = form.width, form.precision
    cut, ones = 64 - digits, (1 << digits) - 1
    emin, infinity = form.emin, form.infinity

    @native(name=f"soft.round_{kind.__name__}", types={"F": kind})
    def put_together(sign: u64, exponent: s64, significand: u64, rounding: u32) -> F:
        kept = significand >> cut
        up = goes_up(sign, kept, significand << digits, rounding)
        is_tiny = exponent < emin and not (exponent == emin - 1 and kept == ones and up)
        above = u64(0)
        if exponent < emin:
            significand = u64(shift_sticky(u128(significand), u64(emin - exponent)))
            kept = significand >> cut
            up = goes_up(sign, kept, significand << digits, rounding)
        else:
            above = u64(exponent - emin)
        # An implied leading one carries into the exponent field, so the field starts one lower.
        pattern = (above << (digits - 1)) + kept + u64(up)
        flags = u32(0)
        if significand << digits != 0:
            flags = INEXACT | UNDERFLOW if is_tiny else INEXACT
        if pattern >= infinity:
            flags = INEXACT | OVERFLOW
            is_away = goes_up(sign, u64(1), ~u64(0), rounding)
            pattern = u64(infinity) if is_away else u64(infinity - 1)
        if flags != 0:
            raise_flags(flags)
        return kind(word(pattern | sign << (width - 1)))

    return put_together


def zero_maker(kind: type[F]) -> Native[[u64], F]:
    """The function that makes a zero of a sign."""
    word: Any = kind.word
    top = kind.bits - 1

    @native(name=f"soft.zero_{kind.__name__}", inline=True, types={"F": kind})
    def zero(sign: u64) -> F:
        return kind(word(sign << top))

    return zero


@native
def sum_of(sign: u64, exponent: s64, product: u128, z: f64) -> tuple[u64, s64, u128]:
    """A number with its top bit at 126, plus `z`. Exact, or with a sticky bit."""
    z_exponent, z_significand = take_apart(z)
    addend = u128(z_significand) << 63
    z_sign = sign_of(z)
    if z_exponent > exponent or (z_exponent == exponent and addend > product):
        sign, z_sign = z_sign, sign
        exponent, z_exponent = z_exponent, exponent
        product, addend = addend, product
    addend = shift_sticky(addend, u64(exponent - z_exponent))
    return sign, exponent, product + addend if sign == z_sign else product - addend


def fusing(kind: type[F]) -> Native[[F, F, F, u32], F]:
    """The function for a * b + c."""
    put_together, zero = putting_together(kind), zero_maker(kind)

    @native(name=f"soft.fused_{kind.__name__}", cold=True, types={"F": kind})
    def fused(a: F, b: F, c: F, rounding: u32) -> F:
        x = convert(f64, a)
        y = convert(f64, b)
        z = convert(f64, c)
        if not (is_finite(x) and is_finite(y)):
            return add(multiply(a, b), c)
        if not is_finite(z):
            return add(c, c)
        sign = sign_of(x) ^ sign_of(y)
        if is_zero(x) or is_zero(y):
            if not is_zero(z):
                return c
            return zero(sign if sign == sign_of(z) else u64(rounding == DOWN))
        x_exponent, x_significand = take_apart(x)
        y_exponent, y_significand = take_apart(y)
        # The top bit is kept free for a carry. Below it there is room: 106 bits are the most.
        product = u128(x_significand) * u128(y_significand)
        exponent = x_exponent + y_exponent
        if product >> 127 != 0:
            product >>= 1
            exponent += 1
        if not is_zero(z):
            sign, exponent, product = sum_of(sign, exponent, product, z)
            if product == 0:
                return zero(u64(rounding == DOWN))
        shift = leading_zeros(product)
        return put_together(sign, exponent + 1 - s64(shift), squeeze(product << shift), rounding)

    return fused


def dividing(kind: type[F]) -> Native[[F, F, u32], F]:
    """The function for a / b."""
    put_together = putting_together(kind)

    @native(name=f"soft.divide_{kind.__name__}", cold=True, types={"F": kind})
    def divide(a: F, b: F, rounding: u32) -> F:
        x = convert(f64, a)
        y = convert(f64, b)
        if not (is_finite(x) and is_finite(y)) or is_zero(x) or is_zero(y):
            return host_divide(a, b)
        x_exponent, x_significand = take_apart(x)
        y_exponent, y_significand = take_apart(y)
        # Half of x is less than y, so the quotient fits; it has 63 or 64 bits.
        quotient, rest = divide_wide(x_significand >> 1, x_significand << 63, y_significand)
        exponent = x_exponent - y_exponent
        if quotient >> 63 == 0:
            quotient <<= 1
            exponent -= 1
        sign = sign_of(x) ^ sign_of(y)
        return put_together(sign, exponent, quotient | u64(rest != 0), rounding)

    return divide


def rooting(kind: type[F]) -> Native[[F, u32], F]:
    """The function for a square root: the host's, for a root is never a tie."""

    @native(name=f"soft.square_root_{kind.__name__}", cold=True, types={"F": kind})
    def square_root(a: F, rounding: u32) -> F:
        before = get_rounding()
        set_rounding(TO_NEAREST if rounding == TO_NEAREST_AWAY else rounding)
        root = host_square_root(a)
        set_rounding(before)
        return root

    return square_root


def converting(
    kind: type[F],
) -> tuple[Native[[f64, u32], F], Native[[s64, u32], F], Native[[u64, u32], F]]:
    """The functions that make a number of `kind` from an f64, an s64 and a u64."""
    put_together, zero = putting_together(kind), zero_maker(kind)

    @native(name=f"soft.{kind.__name__}_from_f64", cold=True, types={"F": kind})
    def from_f64(a: f64, rounding: u32) -> F:
        if not is_finite(a) or is_zero(a):
            return convert(kind, a)
        exponent, significand = take_apart(a)
        return put_together(sign_of(a), exponent, significand, rounding)

    @native(name=f"soft.{kind.__name__}_from_integer", types={"F": kind})
    def from_integer(sign: u64, magnitude: u64, rounding: u32) -> F:
        if magnitude == 0:
            return zero(u64(0))
        shift = leading_zeros(magnitude)
        return put_together(sign, 63 - s64(shift), magnitude << shift, rounding)

    @native(name=f"soft.{kind.__name__}_from_s64", cold=True, types={"F": kind})
    def from_s64(a: s64, rounding: u32) -> F:
        return from_integer(u64(a < 0), u64(-a if a < 0 else a), rounding)

    @native(name=f"soft.{kind.__name__}_from_u64", cold=True, types={"F": kind})
    def from_u64(a: u64, rounding: u32) -> F:
        return from_integer(u64(0), a, rounding)

    return from_f64, from_s64, from_u64


def arithmetic(kind: type[F]) -> Soft[F]:
    """The operations of one format."""
    form, word = FORMATS[kind], kind.word
    make: Any = kind
    one: F = make(word(form.emax << form.precision - 1))
    sign_bit = form.sign
    fused = fusing(kind)

    @native(name=f"soft.add_{kind.__name__}", cold=True, types={"F": kind})
    def add(a: F, b: F, rounding: u32) -> F:
        return fused(a, one, b, rounding)

    @native(name=f"soft.subtract_{kind.__name__}", cold=True, types={"F": kind})
    def subtract(a: F, b: F, rounding: u32) -> F:
        return fused(a, one, negate(b), rounding)

    @native(name=f"soft.multiply_{kind.__name__}", cold=True, types={"F": kind})
    def multiply(a: F, b: F, rounding: u32) -> F:
        return fused(a, b, make((a.pattern ^ b.pattern) & sign_bit), rounding)

    divide, square_root = dividing(kind), rooting(kind)
    return Soft(add, subtract, multiply, divide, square_root, fused, *converting(kind))


SOFT: dict[type[Any], Soft[Any]] = {f32: arithmetic(f32), f64: arithmetic(f64)}
