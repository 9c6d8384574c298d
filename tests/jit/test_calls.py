"""Calls, jumps, gather, tables, traps and addresses: machine code does what the reference does."""

import ctypes
import time
from collections.abc import Callable
from typing import Any

import pytest

from maquina.errors import NativeError
from maquina.jit import (
    Library,
    Native,
    Ptr,
    Struct,
    Table,
    Trap,
    address_of,
    call_address,
    gather,
    likely,
    native,
    s32,
    s64,
    span,
    tail_call,
    u8,
    u16,
    u64,
    u256,
    unlikely,
    unrolled,
)
from maquina.jit.compiler import flow
from maquina.jit.compiler.module import Module


def same(functions: list[Native[..., Any]], inputs: list[tuple[Any, ...]]) -> None:
    library = Library(functions)
    for function in functions:
        for values in inputs:
            kinds = function.parameters.values()
            words = [kind(value) for kind, value in zip(kinds, values, strict=False)]
            assert outcome(library(function), words) == outcome(function, words), (function, words)


def outcome(function: Callable[..., Any], words: list[Any]) -> Any:
    try:
        result = function(*words)
    except Trap as trap:
        return trap.cause, trap.value, "trapped"
    return type(result), result


# ---- traps ----
@native
def checked(a: u64) -> u64:
    if a > 10:
        raise Trap(u64(1), a)
    return a * 2


@native(inline=True)
def checked_inline(a: u64) -> u64:
    if unlikely(a & 1 != 0):
        raise Trap(u64(2), a)
    return checked(a)


@native
def check_nothing(a: u64) -> None:
    checked_inline(a)


@native
def pair(a: u64, wide: u256) -> tuple[u256, u8]:
    if likely(a < 5):
        return wide + u256(a), u8(a)
    raise Trap(a, u64(wide))


@native
def handled(a: u64) -> u64:
    try:
        try:
            first = checked_inline(a)
            check_nothing(first)
            return first
        except Trap as trap:
            if trap.cause == 2:
                raise Trap(u64(7), trap.value + 1)  # noqa: B904
            return trap.value + 100
    except Trap as outer:
        return outer.cause * 1000 + outer.value


@native
def unnamed(a: u64) -> bool:
    try:
        checked(a)
    except Trap:
        return False
    return True


def test_traps() -> None:
    inputs = [(a, a * 3) for a in (0, 1, 4, 5, 6, 10, 11, 12, 1 << 63)]
    same([checked, check_nothing, pair, handled, unnamed], inputs)


def test_which_functions_raise_is_inferred() -> None:
    functions: list[Native[..., Any]] = [checked, check_nothing, pair, handled, unnamed, *LOUD]
    raising = [function.name for function in functions if flow.raises(function)]
    assert raising == ["checked", "check_nothing", "pair", "scaled_11"]


# ---- factories, gather, unrolled ----
def scaled(factor: int, traps: bool) -> Native[[u64, u64], u64]:
    @native(name=f"scaled_{factor}")
    def scale(a: u64, b: u64) -> u64:
        if traps and a == b:
            raise Trap(u64(factor), a)
        return a * factor + b

    return scale


QUIET = (scaled(3, False), scaled(5, False))
LOUD = (scaled(7, False), scaled(11, True))


@native
def mixed(a: u64, b: u64, c: u64) -> u64:
    return a ^ (b << 1) ^ (c << 2)


@native
def divisor_of(a: u64, b: u64) -> u64:
    return a + (b | 1)


@native
def gathered(a: u64, b: u64) -> u64:
    return mixed(*gather((*QUIET, divisor_of), a, b))


@native
def gathered_tuple(a: u64, b: u64) -> tuple[u64, u64]:
    x, y = gather(LOUD, a, b)
    return y, x


@native
def looped(a: u64, b: u64) -> u64:
    total = u64(0)
    for index, function in unrolled(tuple(enumerate(LOUD))):
        if a == index:
            continue
        total += function(a, b) << index
        if total == 14:
            break
    return total


@native
def spread(a: u64, b: u64) -> u64:
    return mixed(*divided(a, b), *(u64(9),))


@native
def divided(a: u64, b: u64) -> tuple[u64, u64]:
    return a // (b | 1), a % (b | 1)


def test_gather_and_unrolled() -> None:
    inputs = [(a, b) for a in (0, 1, 2, 99) for b in (0, 1, 2, 99)]
    same([gathered, gathered_tuple, looped, spread], inputs)
    raising = [flow.raises(f) for f in (gathered, gathered_tuple, looped)]
    assert raising == [False, True, True]


# ---- jumps and tables ----
class Machine(Struct):
    code: Ptr[u8]
    value: u64


@native(inline=True, convention="preserve_none")
def dispatch(machine: Machine, at: u64, budget: u64) -> None:
    if budget == 0:
        machine.value += at << 32
        return None
    operation = u64(machine.code[at]) & 3
    return tail_call(HANDLERS[operation], machine, at + 1, budget - 1)


@native(convention="preserve_none")
def increment(machine: Machine, at: u64, budget: u64) -> None:
    machine.value += 1
    return tail_call(dispatch, machine, at, budget)


@native(convention="preserve_none")
def double(machine: Machine, at: u64, budget: u64) -> None:
    machine.value *= 2
    return tail_call(dispatch, machine, at, budget)


@native(convention="preserve_none")
def back(machine: Machine, at: u64, budget: u64) -> None:
    if at > 3:
        return tail_call(increment, machine, at - 3, budget)
    return tail_call(dispatch, machine, at, budget)


@native(convention="preserve_none")
def halt(machine: Machine, at: u64, budget: u64) -> None:
    machine.value += budget + at


HANDLERS = Table(u64, [increment, double, back, halt], "handlers")
SQUARES = Table(u16, [n * n for n in range(256)], "squares")
LETTERS = Table(u8, bytes(reversed(range(256))), "letters")


@native
def run(machine: Machine, budget: u64) -> None:
    call_address(increment, address_of(increment), machine, u64(0), budget)


@native
def looked_up(a: u8) -> u64:
    return u64(SQUARES[a]) << 8 | u64(LETTERS[a]) | u64(SQUARES[3]) << 32


@native
def jumping(a: u64) -> u64:
    if a > 10:
        return tail_call(checked, a - 5)
    return a


def test_jumps_between_handlers() -> None:
    compiled = Library([run])(run)
    for budget in (0, 1, 5, 100, 1000):
        outcomes = []
        for function in (run, compiled):
            code = (ctypes.c_uint8 * 16)(*b"\0\1\0\2\1\0\1\1\2\0\0\3\1\0\0\3")
            store = ctypes.create_string_buffer(Machine.size)
            machine = Machine.at(u64(ctypes.addressof(store)))
            machine.code = Ptr[u8](u64(ctypes.addressof(code)))
            function(machine, u64(budget))
            outcomes.append(machine.value)
        assert outcomes[0] == outcomes[1]


def test_a_million_jumps_need_no_stack() -> None:
    code = (ctypes.c_uint8 * 1_000_001)()
    store = ctypes.create_string_buffer(Machine.size)
    machine = Machine.at(u64(ctypes.addressof(store)))
    machine.code = Ptr[u8](u64(ctypes.addressof(code)))
    Library([run])(run)(machine, u64(1_000_000))
    assert machine.value == 1_000_001 + (1_000_000 << 32)


def test_tables_and_results_of_jumps() -> None:
    same([looked_up], [(a,) for a in range(256)])
    same([jumping], [(a,) for a in (0, 10, 11, 15, 16)])


# ---- addresses ----
class Time(Struct):
    seconds: s64
    nanoseconds: s64


@native(external=True)
def clock_gettime(clock: s32, result: Time) -> s32:
    raise NotImplementedError


@native(external=True)
def told(number: u16, flag: bool, signed: s32) -> bool:
    raise NotImplementedError


@native
def now(function: u64, result: Time) -> s64:
    failed = call_address(clock_gettime, function, s32(0), result)
    return result.seconds + s64(failed)


@native
def tell(function: u64, number: u64) -> bool:
    return call_address(told, function, u16(number), number > 5, s32(number) - 9)


@native
def twice(function: u64, number: u64) -> u64:
    return call_address(checked, function, call_address(checked, function, number))


def test_functions_of_libc() -> None:
    libc = ctypes.CDLL(None)
    address = u64(ctypes.cast(libc.clock_gettime, ctypes.c_void_p).value or 0)
    store = ctypes.create_string_buffer(Time.size)
    result = Time.at(u64(ctypes.addressof(store)))
    for function in (now, Library([now])(now)):
        assert abs(int(function(address, result)) - time.time()) < 3
        assert 0 <= int(result.nanoseconds) < 10**9


def test_callbacks_into_python() -> None:
    heard = []

    def listen(number: int, flag: bool, signed: int) -> bool:
        heard.append((number, flag, signed))
        return number > 7

    kind = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_uint16, ctypes.c_bool, ctypes.c_int32)
    listener = kind(listen)
    address = u64(ctypes.cast(listener, ctypes.c_void_p).value or 0)
    for function in (tell, Library([tell])(tell)):
        assert [function(address, u64(n)) for n in (3, 0xFFFFF)] == [False, True]
    assert heard == [(3, False, -6), (0xFFFF, True, 0xFFFFF - 9)] * 2


def test_native_addresses_work_in_the_reference() -> None:
    library = Library([checked, twice])
    for address in (u64(library.address(checked)), address_of(checked)):
        assert twice(address, u64(4)) == 16
    assert library(twice)(u64(library.address(checked)), u64(4)) == 16
    with pytest.raises(Trap):
        library(twice)(u64(library.address(checked)), u64(6))


# ---- replacing ----
@native
def slow(a: u64) -> u64:
    return a + 1


@native
def quick(a: u64) -> u64:
    return a + 1000


@native
def user(a: u64) -> u64:
    return slow(a) * 2


def test_callees_can_be_replaced() -> None:
    assert Library([user])(user)(u64(1)) == 4
    assert Library([user], replace={slow: quick})(user)(u64(1)) == 2002


# ---- recursion through others ----
@native
def ping(a: u64) -> u64:
    return pong(a) if a > 1 else a


@native
def pong(a: u64) -> u64:
    return ping(a - 1)


def test_mutual_recursion_is_refused() -> None:
    with pytest.raises(NativeError, match="calls"):
        Module([ping])


@native
def counted(n: u64) -> u64:
    total = u64(0)
    for i in span(u64(2), n):
        n -= 1
        total += i
    return total + n


def test_span_takes_its_bounds_once() -> None:
    same([counted], [(0,), (2,), (3,), (10,)])


# ---- order of evaluation ----
@native
def step(cell: Ptr[u64]) -> u64:
    cell[0] += 1
    return cell[0]


@native
def ordered(cell: Ptr[u64], a: u64) -> u64:
    """Every sub-expression once, from left to right, and only as far as needed."""
    total = u64(0)
    if a < step(cell) < 12 // (a - 2 if a != 2 else a) <= step(cell):
        total += 1000
    if (a > 3 and step(cell) > 5) or step(cell) == 2:
        total += 100
    cell[step(cell) & 1] += step(cell)
    first = second = step(cell)
    return total + first * 10 + second + (step(cell) if a == 4 else u64(0))


def test_sub_expressions_are_evaluated_once_and_in_order() -> None:
    compiled = Library([ordered])(ordered)
    for a in range(9):
        for start in range(9):
            outcomes = []
            for function in (ordered, compiled):
                cells = (ctypes.c_uint64 * 2)(start, 7)
                result = function(Ptr[u64](u64(ctypes.addressof(cells))), u64(a))
                outcomes.append((result, list(cells)))
            assert outcomes[0] == outcomes[1], (a, start)
