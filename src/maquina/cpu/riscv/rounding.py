"""Rounding modes: RMM, which no host has, and conversions to integers, which take theirs along.

An instruction with an `rm` field comes in one of two forms:

* it names `rm` among its parameters and does all the rounding itself;
* it has a twin (`rounding=`), which takes its place when the mode is RMM; for the other modes the
  host's environment is made to round so before it is called. A conversion whose result is exact
  has a twin too: the mode does not matter to it, but an illegal one makes it illegal like any
  other instruction (unprivileged manual, section 21.2).

A twin computes in integers. Its parameters are those of the instruction it stands for.
"""

from typing import Generic, NamedTuple

from maquina.jit import Native, f32, f64, likely, native, s32, s64, u32, u64
from maquina.jit.fenv import TO_NEAREST_AWAY, TOWARD_ZERO, get_rounding
from maquina.jit.floats import F, N, convert, negate, round_to, truncate_to
from maquina.jit.softfloat import INTEGERS, SOFT, Soft

RTZ, RMM = TOWARD_ZERO, TO_NEAREST_AWAY
"""The numbers of the `rm` field are those of `fenv` (unprivileged manual, table 28)."""


class Twins(NamedTuple, Generic[F]):
    """What the instructions of one format do under RMM."""

    add: Native[[F, F], F]
    subtract: Native[[F, F], F]
    multiply: Native[[F, F], F]
    divide: Native[[F, F], F]
    square_root: Native[[F], F]
    fmadd: Native[[F, F, F], F]
    fmsub: Native[[F, F, F], F]
    fnmsub: Native[[F, F, F], F]
    fnmadd: Native[[F, F, F], F]
    from_f32: Native[[f32], F]
    from_f64: Native[[f64], F]
    from_s32: Native[[s32], F]
    from_u32: Native[[u32], F]
    from_s64: Native[[s64], F]
    from_u64: Native[[u64], F]


def plain_twins(kind: type[F], soft: Soft[F]) -> tuple[Native[..., F], ...]:
    """The four operations and the root."""

    @native(name=f"rmm.add_{kind.__name__}", inline=True, types={"F": kind})
    def add(frs1: F, frs2: F) -> F:
        return soft.add(frs1, frs2, RMM)

    @native(name=f"rmm.subtract_{kind.__name__}", inline=True, types={"F": kind})
    def subtract(frs1: F, frs2: F) -> F:
        return soft.subtract(frs1, frs2, RMM)

    @native(name=f"rmm.multiply_{kind.__name__}", inline=True, types={"F": kind})
    def multiply(frs1: F, frs2: F) -> F:
        return soft.multiply(frs1, frs2, RMM)

    @native(name=f"rmm.divide_{kind.__name__}", inline=True, types={"F": kind})
    def divide(frs1: F, frs2: F) -> F:
        return soft.divide(frs1, frs2, RMM)

    @native(name=f"rmm.square_root_{kind.__name__}", inline=True, types={"F": kind})
    def square_root(frs1: F) -> F:
        return soft.square_root(frs1, RMM)

    return add, subtract, multiply, divide, square_root


def fused_twins(kind: type[F], soft: Soft[F]) -> tuple[Native[..., F], ...]:
    """The four fused operations."""

    @native(name=f"rmm.fmadd_{kind.__name__}", inline=True, types={"F": kind})
    def fmadd(frs1: F, frs2: F, frs3: F) -> F:
        return soft.fused(frs1, frs2, frs3, RMM)

    @native(name=f"rmm.fmsub_{kind.__name__}", inline=True, types={"F": kind})
    def fmsub(frs1: F, frs2: F, frs3: F) -> F:
        return soft.fused(frs1, frs2, negate(frs3), RMM)

    @native(name=f"rmm.fnmsub_{kind.__name__}", inline=True, types={"F": kind})
    def fnmsub(frs1: F, frs2: F, frs3: F) -> F:
        return soft.fused(negate(frs1), frs2, frs3, RMM)

    @native(name=f"rmm.fnmadd_{kind.__name__}", inline=True, types={"F": kind})
    def fnmadd(frs1: F, frs2: F, frs3: F) -> F:
        return soft.fused(negate(frs1), frs2, negate(frs3), RMM)

    return fmadd, fmsub, fnmsub, fnmadd


def converting_twins(kind: type[F], soft: Soft[F]) -> tuple[Native[..., F], ...]:
    """The conversions that make a number of the format."""

    @native(name=f"rmm.{kind.__name__}_from_f32", inline=True, types={"F": kind})
    def from_f32(frs1: f32) -> F:
        return convert(kind, frs1)

    @native(name=f"rmm.{kind.__name__}_from_f64", inline=True, types={"F": kind})
    def from_f64(frs1: f64) -> F:
        return soft.from_f64(frs1, RMM)

    @native(name=f"rmm.{kind.__name__}_from_s32", inline=True, types={"F": kind})
    def from_s32(rs1: s32) -> F:
        return soft.from_s64(s64(rs1), RMM)

    @native(name=f"rmm.{kind.__name__}_from_u32", inline=True, types={"F": kind})
    def from_u32(rs1: u32) -> F:
        return soft.from_u64(u64(rs1), RMM)

    @native(name=f"rmm.{kind.__name__}_from_s64", inline=True, types={"F": kind})
    def from_s64(rs1: s64) -> F:
        return soft.from_s64(rs1, RMM)

    @native(name=f"rmm.{kind.__name__}_from_u64", inline=True, types={"F": kind})
    def from_u64(rs1: u64) -> F:
        return soft.from_u64(rs1, RMM)

    return from_f32, from_f64, from_s32, from_u32, from_s64, from_u64


def twins(kind: type[F]) -> Twins[F]:
    """What the instructions of one format do under RMM."""
    soft: Soft[F] = SOFT[kind]
    makers = (plain_twins, fused_twins, converting_twins)
    return Twins(*(twin for make in makers for twin in make(kind, soft)))


def integer_maker(kind: type[N], source: type[F]) -> Native[[F, u32], N]:
    """The conversion to an integer type, which rounds as its second argument says."""
    exact: Native[[f64, u32], N] = INTEGERS[kind]

    @native(
        name=f"to_{kind.__name__}_from_{source.__name__}",
        inline=True,
        types={"F": source, "N": kind},
    )
    def to_integer(a: F, rm: u32) -> N:
        if likely(rm == RTZ):  # what a cast in C compiles to
            return truncate_to(kind, a)
        if rm == get_rounding():
            return round_to(kind, a)
        return exact(convert(f64, a), rm)

    return to_integer


RMM_SINGLE, RMM_DOUBLE = twins(f32), twins(f64)


class Integers(NamedTuple, Generic[F]):
    """The conversions to integers from one format."""

    word: Native[[F, u32], s32]
    unsigned_word: Native[[F, u32], u32]
    long: Native[[F, u32], s64]
    unsigned_long: Native[[F, u32], u64]


def integers(source: type[F]) -> Integers[F]:
    """The conversions to integers from one format."""
    word, unsigned_word = integer_maker(s32, source), integer_maker(u32, source)
    long, unsigned_long = integer_maker(s64, source), integer_maker(u64, source)
    return Integers(word, unsigned_word, long, unsigned_long)


FROM_SINGLE, FROM_DOUBLE = integers(f32), integers(f64)
