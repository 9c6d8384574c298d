"""The symbols of native functions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from maquina.jit.native import Native

PREFIX = "entry:"  # of the symbol by which CPython enters a function


class Symbols:
    """A symbol for each function: its name, with a number where another has the same."""

    def __init__(self) -> None:
        self.of: dict[Native[..., Any], str] = {}
        self._taken: set[str] = set()

    def add(self, function: Native[..., Any]) -> str:
        if function not in self.of:
            symbol, n = function.name, 0
            while symbol in self._taken:
                n += 1
                symbol = f"{function.name}.{n}"
            self._taken.add(symbol)
            self.of[function] = symbol
        return self.of[function]


def symbols_of(functions: Iterable[Native[..., Any]]) -> dict[Native[..., Any], str]:
    """The symbols of the exported functions of a module, which come first."""
    symbols = Symbols()
    for function in functions:
        symbols.add(function)
    return symbols.of
