"""A hart's registers as a Python sequence."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, MutableSequence
from typing import Any, overload


class Registers(MutableSequence[int]):
    """32 registers of 64 bits, in place. Writing x0 has no effect."""

    def __init__(self, address: int, has_zero: bool) -> None:
        self._words = (ctypes.c_uint64 * 32).from_address(address)
        self._has_zero = has_zero

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> list[int]: ...
    def __getitem__(self, index: int | slice) -> int | list[int]:
        return self._words[index]

    def __setitem__(self, index: int | slice, value: Any) -> None:
        if not isinstance(index, int):
            raise TypeError("registers are set one at a time")
        if index or not self._has_zero:
            self._words[index] = value

    def __len__(self) -> int:
        return 32

    def __iter__(self) -> Iterator[int]:
        return iter(self._words)

    def __delitem__(self, _index: int | slice) -> None:
        raise TypeError("a register cannot be removed")

    def insert(self, _index: int, _value: int) -> None:
        raise TypeError("a register cannot be added")
