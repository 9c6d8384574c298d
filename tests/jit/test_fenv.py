"""The floating-point environment, in CPython and as MXCSR."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from maquina.jit import Library, Native, native
from maquina.jit.fenv import (
    ALL_FLAGS,
    DOWN,
    INEXACT,
    OVERFLOW,
    TO_NEAREST,
    TO_NEAREST_AWAY,
    TOWARD_ZERO,
    UP,
    enter_environment,
    get_flags,
    get_rounding,
    leave_environment,
    raise_flags,
    set_flags,
    set_rounding,
)  # fmt: skip
from maquina.jit.floats import add, divide
from maquina.jit.words import f64, u32, u64

ONE, THREE, TENTH = f64(u64(0x3FF << 52)), f64(u64(0x4008 << 48)), f64(u64(0x3FB999999999999A))


@native
def flags_are_kept(first: u32, second: u32) -> tuple[u32, u32, u32]:
    before = enter_environment(TO_NEAREST)
    set_flags(first)
    one = get_flags()
    raise_flags(second)
    two = get_flags()
    set_rounding(UP)
    three = get_flags()
    leave_environment(before)
    return one, two, three


@native
def rounding_is_kept(rounding: u32, flags: u32) -> tuple[u32, u32]:
    before = enter_environment(rounding)
    raise_flags(flags)
    one = get_rounding()
    set_rounding(TO_NEAREST)
    set_rounding(rounding)
    two = get_rounding()
    leave_environment(before)
    return one, two


@native
def environments_nest() -> tuple[u32, u32, u32, u32]:
    outer = enter_environment(DOWN)
    raise_flags(OVERFLOW)
    inner = enter_environment(UP)
    flags = get_flags()
    rounding = get_rounding()
    raise_flags(INEXACT)
    leave_environment(inner)
    outer_flags = get_flags()
    outer_rounding = get_rounding()
    leave_environment(outer)
    return flags, rounding, outer_flags, outer_rounding


@native
def constants_in_two_roundings() -> tuple[f64, f64, u32]:
    """What a compiler would fold, merge and move, if it were let."""
    before = enter_environment(DOWN)
    low = divide(ONE, THREE)
    set_rounding(UP)
    high = divide(ONE, THREE)
    flags = get_flags()
    leave_environment(before)
    return low, high, flags


@native
def only_the_flag_is_used(a: f64, b: f64) -> tuple[u32, u32, u32]:
    before = enter_environment(TO_NEAREST)
    first = get_flags()
    add(a, b)
    second = get_flags()
    set_flags(u32(0))
    third = get_flags()
    leave_environment(before)
    return first, second, third


@native
def sum_in_a_loop(a: f64, count: u64) -> tuple[f64, u32]:
    before = enter_environment(TOWARD_ZERO)
    total = a
    while count != 0:
        set_rounding(UP if count & 1 == 1 else DOWN)
        total = add(total, a)
        count -= 1
    flags = get_flags()
    leave_environment(before)
    return total, flags


FUNCTIONS: list[Native[..., Any]] = [
    flags_are_kept, rounding_is_kept, environments_nest, constants_in_two_roundings,
    only_the_flag_is_used, sum_in_a_loop,
]  # fmt: skip


@pytest.fixture(scope="module", params=["CPython", "machine code"])
def do(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return (lambda function: function) if request.param == "CPython" else Library(FUNCTIONS)


def test_every_set_of_flags(do: Callable[..., Any]) -> None:
    check = do(flags_are_kept)
    for first in range(32):
        for second in (0, 1, 2, 4, 8, 16, 31):
            both = u32(first | second)
            assert check(u32(first), u32(second)) == (u32(first), both, both)


def test_every_rounding(do: Callable[..., Any]) -> None:
    for rounding in (TO_NEAREST, TOWARD_ZERO, DOWN, UP):
        for flags in (u32(0), ALL_FLAGS):
            assert do(rounding_is_kept)(rounding, flags) == (rounding, rounding)


def test_environments_nest(do: Callable[..., Any]) -> None:
    assert do(environments_nest)() == (u32(0), UP, OVERFLOW, DOWN)


def test_operations_stay_between_changes_of_rounding(do: Callable[..., Any]) -> None:
    low, high, flags = do(constants_in_two_roundings)()
    assert (low.pattern, high.pattern) == (0x3FD5_5555_5555_5555, 0x3FD5_5555_5555_5556)
    assert flags == INEXACT


def test_operations_stay_between_reads_of_flags(do: Callable[..., Any]) -> None:
    assert do(only_the_flag_is_used)(ONE, TENTH) == (u32(0), INEXACT, u32(0))


def test_the_rounding_changes_in_a_loop(do: Callable[..., Any]) -> None:
    for count in range(20):
        want = sum_in_a_loop(TENTH, u64(count))
        assert do(sum_in_a_loop)(TENTH, u64(count)) == want


def test_the_process_is_left_as_it_was() -> None:
    Library(FUNCTIONS)(constants_in_two_roundings)()
    assert float.fromhex("0x1.5555555555555p-2") == 1.0 / 3.0


def test_a_thread_has_an_environment_of_its_own() -> None:
    seen: list[u32] = []
    before = enter_environment(UP)
    raise_flags(ALL_FLAGS)
    thread = threading.Thread(target=lambda: seen.extend([get_flags(), get_rounding()]))
    thread.start()
    thread.join()
    leave_environment(before)
    assert seen == [u32(0), TO_NEAREST]


def test_ties_away_is_no_rounding_of_an_environment() -> None:
    with pytest.raises(ValueError, match="no host"):
        set_rounding(TO_NEAREST_AWAY)
