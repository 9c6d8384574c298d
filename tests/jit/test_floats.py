"""The reference against fractions, and machine code against the reference."""

import random
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from tests.jit.float_cases import (
    FLOATS,
    OPERATIONS,
    ROUNDINGS,
    WORDS,
    exact,
    exact_result,
    of_pattern,
    padded,
    pick,
    pick_word,
    probe,
    rounded,
    run,
    to_grid,
)  # fmt: skip

from maquina.errors import NativeError
from maquina.jit import Library, Native, floats, hostfloats, native
from maquina.jit.compiler import lowering_floats
from maquina.jit.compiler.module import Module
from maquina.jit.fenv import (
    DIVIDE_BY_ZERO,
    DOWN,
    INEXACT,
    INVALID,
    OVERFLOW,
    TO_NEAREST,
    TOWARD_ZERO,
    UNDERFLOW,
)  # fmt: skip
from maquina.jit.floats import F, add, convert, round_to, truncate_to
from maquina.jit.words import f32, f64, s32, u8, u32, u64

SEED = 754
Operation = tuple[Callable[..., Any], Any, tuple[Any, ...]]


# ---- the reference ----
@pytest.mark.parametrize("name", OPERATIONS)
def test_arithmetic_is_exact_and_rounded_once(name: str) -> None:
    rng = random.Random(SEED)
    for _ in range(1500):
        kind, rounding = rng.choice(FLOATS), rng.choice(ROUNDINGS)
        operands = [pick(kind, rng) for _ in range(OPERATIONS[name][0])]
        number = exact_result(name, operands)
        if number is not None:
            result, flags = run(getattr(floats, name), operands, rounding)
            want = rounded(kind, number, rounding)
            assert (exact(result), flags) == want, f"{SEED} {name}{operands} {rounding}"


def test_conversions_are_exact_and_rounded_once() -> None:
    rng = random.Random(SEED)
    for _ in range(6000):
        kind, rounding = rng.choice(FLOATS), rng.choice(ROUNDINGS)
        source = rng.choice((*FLOATS, *WORDS))
        a = pick(source, rng) if source in FLOATS else pick_word(source, rng)
        number = exact(a) if source in FLOATS else Fraction(a.value)
        if number and source is not kind:
            result, flags = run(convert, [kind, a], rounding)
            want = rounded(kind, number, rounding)
            assert (exact(result), flags) == want, f"{SEED} {kind} {a} {rounding}"


def test_integers_are_rounded_and_saturate() -> None:
    rng = random.Random(SEED)
    for _ in range(6000):
        kind, source, rounding = rng.choice(WORDS), rng.choice(FLOATS), rng.choice(ROUNDINGS)
        a = pick(source, rng)
        number = exact(a)
        if number is None:
            continue
        for function, way in ((round_to, rounding), (truncate_to, TOWARD_ZERO)):
            whole = to_grid(number, Fraction(1), way)
            kept = min(max(whole, kind.minimum), kind.maximum)
            want = INVALID if kept != whole else INEXACT if whole != number else u32(0)
            result, flags = run(function, [kind, a], rounding)
            assert (result.value, flags) == (kept, want), f"{SEED} {kind} {a} {rounding}"


ONE, TWO, HUGE = (of_pattern(f64, p) for p in (0x3FF << 52, 1 << 62, (0x7FF << 52) - 1))
ZERO, TINY, INFINITY = (of_pattern(f64, p) for p in (0, 1, 0x7FF << 52))
QUIET, SIGNALING, CANONICAL = (
    of_pattern(f64, p) for p in (0xFFF8_0000_0000_1234, 0x7FF0_0000_0000_0001, 0x7FF8 << 48)
)
NOTHING = u32(0)


@pytest.mark.parametrize(
    ("operation", "operands", "result", "flags"),
    [
        (floats.add, [INFINITY, floats.negate(INFINITY)], CANONICAL, INVALID),
        (floats.subtract, [INFINITY, INFINITY], CANONICAL, INVALID),
        (floats.add, [QUIET, ONE], CANONICAL, NOTHING),
        (floats.add, [ONE, SIGNALING], CANONICAL, INVALID),
        (floats.subtract, [ONE, ONE], ZERO, NOTHING),
        (floats.multiply, [ZERO, INFINITY], CANONICAL, INVALID),
        (floats.multiply, [INFINITY, floats.negate(ONE)], floats.negate(INFINITY), NOTHING),
        (floats.multiply, [HUGE, TWO], INFINITY, OVERFLOW | INEXACT),
        (floats.multiply, [TINY, TINY], ZERO, UNDERFLOW | INEXACT),
        (floats.divide, [ONE, ZERO], INFINITY, DIVIDE_BY_ZERO),
        (floats.divide, [ZERO, ZERO], CANONICAL, INVALID),
        (floats.divide, [INFINITY, INFINITY], CANONICAL, INVALID),
        (floats.divide, [INFINITY, ZERO], INFINITY, NOTHING),
        (floats.square_root, [floats.negate(ONE)], CANONICAL, INVALID),
        (floats.square_root, [floats.negate(ZERO)], floats.negate(ZERO), NOTHING),
        (floats.square_root, [INFINITY], INFINITY, NOTHING),
        (floats.fused, [ZERO, INFINITY, QUIET], CANONICAL, INVALID),
        (floats.fused, [ONE, ONE, QUIET], CANONICAL, NOTHING),
        (floats.fused, [INFINITY, ONE, floats.negate(INFINITY)], CANONICAL, INVALID),
        (floats.fused, [HUGE, TWO, INFINITY], INFINITY, NOTHING),
        (floats.equal, [ZERO, floats.negate(ZERO)], True, NOTHING),
        (floats.equal, [QUIET, QUIET], False, NOTHING),
        (floats.equal, [SIGNALING, ONE], False, INVALID),
        (floats.less, [QUIET, ONE], False, INVALID),
        (floats.less, [floats.negate(ZERO), ZERO], False, NOTHING),
        (floats.less_equal, [floats.negate(INFINITY), ONE], True, NOTHING),
        (floats.convert, [f32, SIGNALING], of_pattern(f32, 0x7FC0_0000), INVALID),
        (floats.round_to, [s32, QUIET], s32(s32.maximum), INVALID),
        (floats.round_to, [u64, floats.negate(INFINITY)], u64(0), INVALID),
        (floats.truncate_to, [u32, floats.negate(TINY)], u32(0), INEXACT),
        (floats.is_nan, [SIGNALING], True, NOTHING),
        (floats.is_signaling, [QUIET], False, NOTHING),
    ],
)
def test_special_values(
    operation: Callable[..., Any], operands: list[Any], result: Any, flags: u32
) -> None:
    assert run(operation, operands, TO_NEAREST) == (result, flags)


def test_an_exact_zero_sum_is_negative_only_when_rounding_down() -> None:
    for rounding in ROUNDINGS:
        zero = floats.negate(ZERO) if rounding == DOWN else ZERO
        assert run(floats.subtract, [TWO, TWO], rounding) == (zero, NOTHING)


# ---- machine code ----
def converter(function: Any, kind: Any, source: Any) -> Callable[..., Any]:
    """`function(kind, a)` as a function of `a` alone."""

    @native(name=f"{function.__name__}_{kind.__name__}", inline=True, types={"F": source})
    def converted(a: F) -> kind:
        return function(kind, a)

    return converted


def operations() -> list[Operation]:
    """Everything there is, as (function, type of the result, types of the operands)."""
    found: list[Operation] = []
    for kind in FLOATS:
        for name, (count, _) in OPERATIONS.items():
            found.append((getattr(floats, name), kind, (kind,) * count))
        compares: list[Callable[..., bool]] = [floats.equal, floats.less, floats.less_equal]
        found += [(compare, bool, (kind, kind)) for compare in compares]
        tests: list[Callable[..., bool]] = [floats.is_nan, floats.is_signaling]
        found += [(test, bool, (kind,)) for test in tests]
        found.append((floats.negate, kind, (kind,)))
        for word in WORDS:
            found.append((converter(round_to, word, kind), word, (kind,)))
            found.append((converter(truncate_to, word, kind), word, (kind,)))
            found.append((converter(convert, kind, word), kind, (word,)))
        other = f32 if kind is f64 else f64
        found.append((converter(convert, kind, other), kind, (other,)))
    return found


def check_machine_code(rounds: int) -> None:
    rng = random.Random(SEED)
    probes = {probe(function, result, *kinds): (function, kinds)
              for function, result, kinds in operations()}  # fmt: skip
    library = Library(probes)
    for probed, (function, kinds) in probes.items():
        machine = library(probed)
        for _ in range(rounds):
            rounding = rng.choice(ROUNDINGS)
            operands = [pick(k, rng) if k in FLOATS else pick_word(k, rng) for k in kinds]
            want = run(function, operands, rounding)
            got = machine(*padded(operands), rounding)
            assert got == want, f"seed {SEED}: {probed.name}{operands} rounding {rounding}"


def test_machine_code_does_as_the_reference() -> None:
    check_machine_code(600)


@native
def sum_of_different_types(a: f64, b: f32) -> f64:
    return add(a, b)  # type: ignore[type-var, return-value]


@native
def sum_of_words(a: u64, b: u64) -> u64:
    return add(a, b)  # type: ignore[type-var]


@native
def narrow_integer(a: f64) -> u8:
    return round_to(u8, a)  # type: ignore[type-var]


@native
def from_narrow_integer(a: u8) -> f64:
    return convert(f64, a)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (sum_of_different_types, "this is f32 where f64 is needed"),
        (sum_of_words, "this is u64 where a float is needed"),
        (narrow_integer, "the first argument is one of s32, u32, s64, u64"),
        (from_narrow_integer, "u8 does not become a f64"),
    ],
)
def test_wrong_types_are_refused_with_file_and_line(
    function: Native[..., Any], message: str
) -> None:
    with pytest.raises(NativeError, match=rf"test_floats\.py:\d+: {message}"):
        Module([function])


def test_an_invalid_product_is_told_even_if_a_nan_is_added() -> None:
    probed = probe(floats.fused, f64, f64, f64, f64)
    machine = Library([probed])(probed)
    for operands in ([ZERO, INFINITY, QUIET], [INFINITY, ZERO, QUIET]):
        assert machine(*operands, TO_NEAREST) == (CANONICAL, INVALID)
    assert machine(HUGE, TWO, QUIET, TO_NEAREST) == (CANONICAL, NOTHING)


def test_hosts_without_a_fused_instruction(monkeypatch: pytest.MonkeyPatch) -> None:
    probes = {kind: probe(floats.fused, kind, kind, kind, kind) for kind in FLOATS}
    assert "constrained.fma" in Module(probes.values()).text()
    monkeypatch.setattr(lowering_floats, "has_fused", lambda machine: False)
    assert "constrained.fma" not in Module(probes.values()).text()


def test_another_host_is_refused() -> None:
    with pytest.raises(NativeError, match="environment of riscv64 is not known"):
        Module([probe(floats.add, f64, f64, f64)], machine="riscv64")


def test_a_fused_operation_in_integers() -> None:
    rng = random.Random(SEED)
    for kind in FLOATS:
        probed = probe(hostfloats.FUSED_IN_INTEGERS[kind], kind, kind, kind, kind)
        machine = Library([probed])(probed)
        for _ in range(1500):
            operands, rounding = [pick(kind, rng) for _ in range(3)], rng.choice(ROUNDINGS)
            want = run(floats.fused, operands, rounding)
            assert machine(*operands, rounding) == want, f"seed {SEED}: {operands} {rounding}"
