"""Operations of `floats` that hosts have in part: the usual case at once, the rest in integers."""

from collections.abc import Callable
from typing import Any

from maquina.jit import softfloat
from maquina.jit.fenv import INVALID, TOWARD_ZERO, get_rounding, raise_flags
from maquina.jit.floats import FORMATS, F, N, add, convert, fused, is_nan, round_to, truncate_to
from maquina.jit.forms import likely, unlikely
from maquina.jit.native import Native, native
from maquina.jit.words import f32, f64, s32, s64, u32, u64


def host_round(a: f32 | f64) -> s64:
    """`round_to(s64, a)` for a result in range: one instruction."""
    return round_to(s64, a)


def host_truncate(a: f32 | f64) -> s64:
    """`truncate_to(s64, a)` for a result in range: one instruction."""
    return truncate_to(s64, a)


def host_fused(a: F, b: F, c: F) -> F:
    """`fused(a, b, c)` but for the flag of infinity times zero plus a NaN: one instruction."""
    return fused(a, b, c)


def largest_within(kind: type[F], limit: int) -> int:
    """The pattern of the largest number that is at most `limit`."""
    form = FORMATS[kind]
    shift = form.precision - limit.bit_length()
    digits = limit << shift if shift >= 0 else limit >> -shift
    # The leading one carries into the exponent field, so the field starts one lower.
    return (limit.bit_length() + form.emax - 2 << form.precision - 1) + digits


def integer_of(
    kind: type[N], source: type[F], host: Callable[[f32 | f64], s64], *, truncates: bool
) -> Native[[F], N]:
    """The conversion to `kind`, by the host's if every rounding gives a result in range."""
    word: Any = source.word
    safe = largest_within(source, min(kind.maximum, s64.maximum))
    sign = FORMATS[source].sign if kind.signed else 0
    exact: Native[[f64, u32], N] = softfloat.INTEGERS[kind]

    @native(name=f"{host.__name__}_{kind.__name__}", inline=True, types={"F": source, "N": kind})
    def to_integer(a: F) -> N:
        if likely(a.pattern & ~word(sign) <= safe):
            return kind(host(a))
        return exact(convert(f64, a), TOWARD_ZERO if truncates else get_rounding())

    return to_integer


def unsigned_converter(kind: type[F]) -> Native[[u64], F]:
    """The conversion of a u64, by the host's of an s64."""

    @native(name=f"{kind.__name__}_from_u64", inline=True, types={"F": kind})
    def from_u64(a: u64) -> F:
        if likely(s64(a) >= 0):
            return convert(kind, s64(a))
        half = convert(kind, s64(a >> 1 | a & 1))  # the lowest bit stays sticky: rounds alike
        return add(half, half)

    return from_u64


def fused_on_host(kind: type[F]) -> Native[[F, F, F], F]:
    """`fused` where the host has it."""
    infinity = FORMATS[kind].infinity << 1  # without the sign

    @native(name=f"is_invalid_product_{kind.__name__}", cold=True, types={"F": kind})
    def is_invalid_product(a: F, b: F) -> bool:
        x = a.pattern << 1
        y = b.pattern << 1
        return (x == infinity and y == 0) or (x == 0 and y == infinity)

    @native(name=f"fused_{kind.__name__}", inline=True, types={"F": kind})
    def host_or_invalid(a: F, b: F, c: F) -> F:
        if unlikely(is_nan(c)) and is_invalid_product(a, b):
            raise_flags(INVALID)
        return host_fused(a, b, c)

    return host_or_invalid


def fused_in_integers(kind: type[F]) -> Native[[F, F, F], F]:
    """`fused` where the host lacks it."""
    soft: Native[[F, F, F, u32], F] = softfloat.SOFT[kind].fused

    @native(name=f"fused_{kind.__name__}", inline=True, types={"F": kind})
    def by_integers(a: F, b: F, c: F) -> F:
        return soft(a, b, c, get_rounding())

    return by_integers


KINDS: tuple[type[Any], ...] = (f32, f64)
INTEGERS: tuple[type[Any], ...] = (s32, u32, s64, u64)
ROUND = {(n, f): integer_of(n, f, host_round, truncates=False) for n in INTEGERS for f in KINDS}
TRUNCATE = {
    (n, f): integer_of(n, f, host_truncate, truncates=True) for n in INTEGERS for f in KINDS
}
FROM_U64 = {kind: unsigned_converter(kind) for kind in KINDS}
FUSED_ON_HOST = {kind: fused_on_host(kind) for kind in KINDS}
FUSED_IN_INTEGERS = {kind: fused_in_integers(kind) for kind in KINDS}
