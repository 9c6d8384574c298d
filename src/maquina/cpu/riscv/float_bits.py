"""What F and D do with floats by looking at their bits: minimum, maximum, class, sign."""

from collections.abc import Callable
from typing import Any, Generic, NamedTuple

from maquina.jit import Native, f32, f64, native, s32, s64, u64, unlikely
from maquina.jit.fenv import INVALID, raise_flags
from maquina.jit.floats import FORMATS, F, canonical_nan, is_nan, is_signaling


class Bits(NamedTuple, Generic[F]):
    """The operations on one format."""

    smaller: Native[[F, F], F]
    larger: Native[[F, F], F]
    classify: Native[[F], u64]
    with_sign: Native[[F, F], F]
    with_other_sign: Native[[F, F], F]
    with_signs_multiplied: Native[[F, F], F]


def choices(kind: type[F]) -> tuple[Native[[F, F], F], Native[[F, F], F]]:
    """minimumNumber and maximumNumber of IEEE 754-2019: -0 is less than +0, numbers beat NaNs."""
    signed: Any = s32 if kind.bits == 32 else s64
    top, magnitude = kind.bits - 1, signed.maximum
    canonical: F = canonical_nan(kind)

    @native(name=f"number_of_{kind.__name__}", cold=True, types={"F": kind})
    def number_of(a: F, b: F) -> F:
        if is_signaling(a) or is_signaling(b):
            raise_flags(INVALID)
        if not is_nan(a):
            return a
        return canonical if is_nan(b) else b

    @native(name=f"is_below_{kind.__name__}", inline=True, types={"F": kind})
    def is_below(a: F, b: F) -> bool:
        x = signed(a.pattern)
        y = signed(b.pattern)
        below: bool = x ^ (x >> top & magnitude) < y ^ (y >> top & magnitude)
        return below

    @native(name=f"smaller_{kind.__name__}", inline=True, types={"F": kind})
    def smaller(a: F, b: F) -> F:
        if unlikely(is_nan(a) or is_nan(b)):
            return number_of(a, b)
        return a if is_below(a, b) else b

    @native(name=f"larger_{kind.__name__}", inline=True, types={"F": kind})
    def larger(a: F, b: F) -> F:
        if unlikely(is_nan(a) or is_nan(b)):
            return number_of(a, b)
        return b if is_below(a, b) else a

    return smaller, larger


def classifier(kind: type[F]) -> Native[[F], u64]:
    """The bit of fclass (unprivileged manual, table 29)."""
    form = FORMATS[kind]
    sign, infinity, normal = form.sign, form.infinity, 1 << form.precision - 1

    @native(name=f"classify_{kind.__name__}", inline=True, types={"F": kind})
    def classify(a: F) -> u64:
        if is_nan(a):
            return u64(1 << 8) if is_signaling(a) else u64(1 << 9)
        is_negative = a.pattern >= sign
        rest = a.pattern - sign if is_negative else a.pattern
        if rest == infinity:
            return u64(1 << 0) if is_negative else u64(1 << 7)
        if rest >= normal:
            return u64(1 << 1) if is_negative else u64(1 << 6)
        if rest != 0:
            return u64(1 << 2) if is_negative else u64(1 << 5)
        return u64(1 << 3) if is_negative else u64(1 << 4)

    return classify


def sign_injections(
    kind: type[F],
) -> tuple[Native[[F, F], F], Native[[F, F], F], Native[[F, F], F]]:
    """The first operand with a sign made from the second's."""
    sign, rest = FORMATS[kind].sign, FORMATS[kind].sign - 1
    make: Callable[[Any], F] = kind

    @native(name=f"with_sign_{kind.__name__}", inline=True, types={"F": kind})
    def with_sign(a: F, b: F) -> F:
        return make(a.pattern & rest | b.pattern & sign)

    @native(name=f"with_other_sign_{kind.__name__}", inline=True, types={"F": kind})
    def with_other_sign(a: F, b: F) -> F:
        return make(a.pattern & rest | ~b.pattern & sign)

    @native(name=f"with_signs_multiplied_{kind.__name__}", inline=True, types={"F": kind})
    def with_signs_multiplied(a: F, b: F) -> F:
        return make(a.pattern ^ b.pattern & sign)

    return with_sign, with_other_sign, with_signs_multiplied


def bits_of(kind: type[F]) -> Bits[F]:
    """The operations on one format."""
    return Bits(*choices(kind), classifier(kind), *sign_injections(kind))


SINGLE: Bits[f32] = bits_of(f32)
DOUBLE: Bits[f64] = bits_of(f64)
