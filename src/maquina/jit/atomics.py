"""Memory operations that other threads see as one step, sequentially consistent.

They work on the word a pointer points at, of at most 64 bits and aligned to its size; `p + n` is
another element. Those that change memory give back what was there before.

In CPython they are one step to each other, not to native code that runs at the same time.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable
from typing import Any

from maquina.jit.layout import Ptr
from maquina.jit.words import W, Word

LARGEST_ATOMIC_BITS = 64
_one_at_a_time = threading.Lock()


def check_atomic(kind: Any) -> None:
    """TypeError unless values of this type can be read and changed in one step."""
    if not (issubclass(kind, Word) and kind.bits in (8, 16, 32, LARGEST_ATOMIC_BITS)):
        raise TypeError(f"an atomic operation on {kind.__name__}: use u8, u16, u32 or u64")


def _changed(place: Ptr[W], change: Callable[[W], W]) -> W:
    check_atomic(place.element)
    if place.address.value % (place.element.bits // 8):
        raise ValueError(f"an atomic operation at {place!r}, which is not aligned")
    with _one_at_a_time:
        old = place[0]
        place[0] = change(old)
    return old


def _same_type(old: W, value: W) -> W:
    if type(value) is not type(old):
        raise TypeError(f"{value!r} stored where a {type(old).__name__} lives: convert it")
    return value


def atomic_load(place: Ptr[W]) -> W:
    return _changed(place, lambda old: old)


def atomic_store(place: Ptr[W], value: W) -> None:
    _changed(place, lambda old: _same_type(old, value))


def atomic_swap(place: Ptr[W], value: W) -> W:
    return _changed(place, lambda old: _same_type(old, value))


def atomic_add(place: Ptr[W], value: W) -> W:
    return _changed(place, lambda old: operator.add(old, _same_type(old, value)))


def atomic_sub(place: Ptr[W], value: W) -> W:
    return _changed(place, lambda old: operator.sub(old, _same_type(old, value)))


def atomic_and(place: Ptr[W], value: W) -> W:
    return _changed(place, lambda old: operator.and_(old, _same_type(old, value)))


def atomic_or(place: Ptr[W], value: W) -> W:
    return _changed(place, lambda old: operator.or_(old, _same_type(old, value)))


def atomic_xor(place: Ptr[W], value: W) -> W:
    return _changed(place, lambda old: operator.xor(old, _same_type(old, value)))


def atomic_min(place: Ptr[W], value: W) -> W:
    """Signed or unsigned as the word's type is."""
    return _changed(place, lambda old: min(old, _same_type(old, value)))


def atomic_max(place: Ptr[W], value: W) -> W:
    """Signed or unsigned as the word's type is."""
    return _changed(place, lambda old: max(old, _same_type(old, value)))


def compare_exchange(place: Ptr[W], expected: W, new: W) -> W:
    """Store `new` if `expected` is there; it was if that is what comes back."""
    return _changed(
        place, lambda old: _same_type(old, new) if old == _same_type(old, expected) else old
    )


def fence() -> None:
    """Order all memory accesses before it with all after it."""
