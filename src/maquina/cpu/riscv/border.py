"""Entering and leaving native code, where a hart's thread may stay away for any length of time.

On the native side the host's floating-point environment is the guest's. On the other side the
hart stores nothing, so whoever has asked it to say which of its stores hit code need not wait for
it: it says so when it leaves, and again before it goes on.
"""

from __future__ import annotations

from maquina.cpu.riscv.code import answer_code_stores
from maquina.cpu.riscv.floating import enter_floating, leave_floating
from maquina.cpu.riscv.state import DROP_CODE_STORES, HartState
from maquina.jit import (
    Ptr,
    atomic_and,
    atomic_load,
    atomic_store,
    native,
    span,
    u64,
    unlikely,
)


@native(inline=True)
def settle(hart: HartState) -> None:
    """Answer DROP_CODE_STORES if somebody asks."""
    if unlikely(atomic_load(hart.requests) & DROP_CODE_STORES != 0):
        atomic_and(hart.requests, ~u64(DROP_CODE_STORES))
        answer_code_stores(hart)


@native
def enter_native(hart: HartState) -> None:
    atomic_store(hart.is_native, u64(1))
    settle(hart)
    enter_floating(hart)


@native
def leave_native(hart: HartState) -> None:
    leave_floating(hart)
    settle(hart)
    atomic_store(hart.is_native, u64(0))


@native(inline=True)
def owes_answer(hart: HartState) -> bool:
    """Whether a hart may store to code without anybody noticing."""
    asked = atomic_load(hart.requests) & DROP_CODE_STORES != 0
    return asked and atomic_load(hart.is_native) != 0


@native
def await_answers(hart: HartState) -> None:
    """Return when all other harts have said which of their stores hit code. Takes a slice."""
    for i in span(u64(0), hart.peer_count):
        peer = HartState.at(Ptr[u64](hart.peers.address)[i])
        while owes_answer(peer):
            settle(hart)
