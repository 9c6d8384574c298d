"""Arithmetic in integers: all five roundings against fractions, four of them against `floats`."""

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
    pick,
    pick_word,
    rounded,
    run,
    to_grid,
)  # fmt: skip

from maquina.jit import Library, Native, floats, native
from maquina.jit.fenv import (
    INEXACT,
    INVALID,
    TO_NEAREST,
    TO_NEAREST_AWAY,
    enter_environment,
    get_flags,
    leave_environment,
)  # fmt: skip
from maquina.jit.softfloat import INTEGERS, SOFT
from maquina.jit.words import f32, f64, s64, u32, u64

SEED = 1985
FIVE = (*ROUNDINGS, TO_NEAREST_AWAY)
Run = Callable[[Native[..., Any], list[Any], u32], tuple[Any, u32]]


def in_cpython(function: Native[..., Any], operands: list[Any], rounding: u32) -> tuple[Any, u32]:
    return run(function, [*operands, rounding], TO_NEAREST)


def machine_code(functions: list[Native[..., Any]]) -> Run:
    """A runner of the compiled functions."""
    probes = {function: probe(function) for function in functions}
    library = Library(probes.values())
    compiled = {function: library(probed) for function, probed in probes.items()}
    return lambda function, operands, rounding: compiled[function](*operands, rounding)


def probe(function: Native[..., Any]) -> Native[..., Any]:
    result = function.result
    kinds = list(function.parameters.values())[:-1]
    A, B, C = (*kinds, kinds[0], kinds[0])[:3]

    @native(name=f"probe_{function.name}_1")
    def one(a: A, rounding: u32) -> tuple[result, u32]:  # type: ignore[valid-type]
        before = enter_environment(TO_NEAREST)
        value = function(a, rounding)
        flags = get_flags()
        leave_environment(before)
        return value, flags

    @native(name=f"probe_{function.name}_2")
    def two(a: A, b: B, rounding: u32) -> tuple[result, u32]:  # type: ignore[valid-type]
        before = enter_environment(TO_NEAREST)
        value = function(a, b, rounding)
        flags = get_flags()
        leave_environment(before)
        return value, flags

    @native(name=f"probe_{function.name}_3")
    def three(a: A, b: B, c: C, rounding: u32) -> tuple[result, u32]:  # type: ignore[valid-type]
        before = enter_environment(TO_NEAREST)
        value = function(a, b, c, rounding)
        flags = get_flags()
        leave_environment(before)
        return value, flags

    return (one, two, three)[len(kinds) - 1]


ALL = [function for kind in FLOATS for function in SOFT[kind]] + list(INTEGERS.values())


@pytest.fixture(scope="module", params=["CPython", "machine code"])
def do(request: pytest.FixtureRequest) -> Run:
    return in_cpython if request.param == "CPython" else machine_code(ALL)


@pytest.mark.parametrize("name", OPERATIONS)
def test_arithmetic(do: Run, name: str) -> None:
    rng = random.Random(SEED)
    for _ in range(1000):
        kind, rounding = rng.choice(FLOATS), rng.choice(FIVE)
        operands = [pick(kind, rng) for _ in range(OPERATIONS[name][0])]
        result, flags = do(getattr(SOFT[kind], name), operands, rounding)
        number = exact_result(name, operands)
        case = f"seed {SEED}: {name}{operands} {rounding}"
        if number is not None:
            assert (exact(result), flags) == rounded(kind, number, rounding), case
        if rounding != TO_NEAREST_AWAY:
            assert (result, flags) == run(getattr(floats, name), operands, rounding), case


def test_a_tie_goes_away_from_zero(do: Run) -> None:
    one, ulp_half = f64(u64(0x3FF << 52)), f64(u64(0x3CA << 52))
    above = f64(u64((0x3FF << 52) + 1))
    add = SOFT[f64].add
    assert do(add, [one, ulp_half], TO_NEAREST) == (one, INEXACT)
    assert do(add, [one, ulp_half], TO_NEAREST_AWAY) == (above, INEXACT)
    both = [floats.negate(one), floats.negate(ulp_half)]
    assert do(add, both, TO_NEAREST_AWAY) == (floats.negate(above), INEXACT)


def test_narrowing(do: Run) -> None:
    rng = random.Random(SEED)
    for _ in range(1000):
        a, rounding = pick(f64, rng), rng.choice(FIVE)
        number = exact(a)
        result, flags = do(SOFT[f32].from_f64, [a], rounding)
        if number:
            want = rounded(f32, number, rounding)
            assert (exact(result), flags) == want, f"seed {SEED}: {a} {rounding}"
        else:
            assert (result, flags) == run(floats.convert, [f32, a], TO_NEAREST)


def test_from_integers(do: Run) -> None:
    rng = random.Random(SEED)
    for _ in range(1000):
        kind, word, rounding = rng.choice(FLOATS), rng.choice((s64, u64)), rng.choice(FIVE)
        a = pick_word(word, rng)
        function = SOFT[kind].from_s64 if word is s64 else SOFT[kind].from_u64
        result, flags = do(function, [a], rounding)
        if a == 0:
            assert (result.pattern.value, flags) == (0, u32(0))
        else:
            want = rounded(kind, Fraction(a.value), rounding)
            assert (exact(result), flags) == want, f"seed {SEED}: {a} {rounding}"


def test_to_integers(do: Run) -> None:
    rng = random.Random(SEED)
    for _ in range(3000):
        kind, rounding, a = rng.choice(WORDS), rng.choice(FIVE), pick(f64, rng)
        result, flags = do(INTEGERS[kind], [a], rounding)
        number = exact(a)
        if number is None:
            assert (result, flags) == run(floats.truncate_to, [kind, a], TO_NEAREST)
            continue
        whole = to_grid(number, Fraction(1), rounding)
        kept = min(max(whole, kind.minimum), kind.maximum)
        want = INVALID if kept != whole else INEXACT if whole != number else u32(0)
        assert (result.value, flags) == (kept, want), f"seed {SEED}: {kind} {a} {rounding}"
