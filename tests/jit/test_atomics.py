"""Atomic operations: the same in both modes, and really atomic between threads."""

import ctypes
import random
import threading
from typing import Any

import pytest

from maquina.errors import NativeError
from maquina.jit import (
    Library,
    Native,
    Ptr,
    W,
    Word,
    atomic_add,
    atomic_and,
    atomic_load,
    atomic_max,
    atomic_min,
    atomic_or,
    atomic_store,
    atomic_sub,
    atomic_swap,
    atomic_xor,
    compare_exchange,
    fence,
    native,
    pointer,
    s8,
    s32,
    s64,
    span,
    u8,
    u16,
    u32,
    u64,
    u128,
)
from maquina.jit.compiler.module import Module

OPERATIONS = (
    atomic_add,
    atomic_sub,
    atomic_and,
    atomic_or,
    atomic_xor,
    atomic_swap,
    atomic_min,
    atomic_max,
)
KINDS: tuple[type[Word], ...] = (u8, u16, u32, u64, s8, s32, s64)
THREADS = 4
ROUNDS = 50_000


def applied(operation: Any, kind: type[W]) -> Native[[u64, W], W]:
    @native(name=f"{operation.__name__}_{kind.__name__}", types={"W": kind})
    def apply(address: u64, value: W) -> W:
        return operation(pointer(kind, address), value)  # type: ignore[no-any-return]

    return apply


def exchanged(kind: type[W]) -> Native[[u64, W, W], W]:
    @native(name=f"exchange_{kind.__name__}", types={"W": kind})
    def exchange(address: u64, expected: W, new: W) -> W:
        return compare_exchange(pointer(kind, address), expected, new)

    return exchange


def memory(value: int = 0) -> tuple[Any, u64]:
    place = ctypes.c_uint64(value)
    return place, u64(ctypes.addressof(place))


def test_operations_agree_in_both_modes() -> None:
    functions: list[Native[..., Any]] = [applied(o, k) for o in OPERATIONS for k in KINDS]
    exchanges: list[Native[..., Any]] = [exchanged(kind) for kind in KINDS]
    library, chance = Library(functions + exchanges), random.Random(1)
    for function in functions + exchanges:
        kinds = list(function.parameters.values())[1:]
        for _ in range(30):
            pool = [0, 1, 0x80, 0xFF, chance.getrandbits(64), 1 << 63]
            before = chance.choice(pool)
            values = [kind(chance.choice([*pool, before])) for kind in kinds]
            here, address = memory(before)
            there, other = memory(before)
            expected: Any = function(address, *values)
            assert library(function)(other, *values) == expected, (function, before, values)
            assert here.value == there.value, (function, before, values)


@native
def hammer(counters: Ptr[u64], rounds: u64) -> None:
    for i in span(rounds):
        atomic_add(counters, u64(1))
        atomic_max(Ptr[s64](counters.address) + 1, s64(i))
        old = atomic_load(counters + 2)
        while compare_exchange(counters + 2, old, old + 2) != old:
            old = atomic_load(counters + 2)
        fence()
    atomic_store(counters + 3, u64(7))


def test_threads_lose_no_update() -> None:
    counters = (ctypes.c_uint64 * 4)()
    work = Library([hammer])(hammer)
    arguments = (Ptr[u64](u64(ctypes.addressof(counters))), u64(ROUNDS))
    threads = [threading.Thread(target=work, args=arguments) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(counters) == [THREADS * ROUNDS, ROUNDS - 1, 2 * THREADS * ROUNDS, 7]


def test_the_reference_refuses_what_hardware_would_tear() -> None:
    _, address = memory()
    with pytest.raises(ValueError, match="not aligned"):
        atomic_add(Ptr[u32](address + 1), u32(1))
    with pytest.raises(TypeError, match="u128"):
        atomic_load(Ptr[u128](address))
    with pytest.raises(TypeError, match="convert"):
        atomic_swap(Ptr[u32](address), u64(1))  # type: ignore[misc]


@native
def torn(place: Ptr[u128]) -> u128:
    return atomic_load(place)


@native
def at_a_number(place: u64) -> u64:
    return atomic_load(place)  # type: ignore[arg-type]


def test_the_compiler_refuses_the_same() -> None:
    with pytest.raises(NativeError, match=r"test_atomics.py:\d+: an atomic operation on u128"):
        Module([torn])
    with pytest.raises(NativeError, match="this is u64 where a Ptr is needed"):
        Module([at_a_number])
