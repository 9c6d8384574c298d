"""Native functions compiled, or taken from the object cache, and linked into this process."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ParamSpec, TypeVar

from maquina.jit import cache
from maquina.jit.fingerprint import fingerprint
from maquina.jit.names import PREFIX, symbols_of
from maquina.jit.native import Native, by_address

P = ParamSpec("P")
R = TypeVar("R")


class Library:
    """The machine code of some functions and all they reach; it lives as long as this object.

    `library(f)` is f compiled, on words; `library.entry(f)` the same on plain integers, at the
    cost of a ctypes call; `library.address(f)` where its code is. Calls release the GIL, and any
    number of threads may make them.
    """

    def __init__(
        self,
        functions: Iterable[Native[..., Any]],
        replace: Mapping[Native[..., Any], Native[..., Any]] | None = None,
    ) -> None:
        from maquina.jit import link

        self.replace = dict(replace or {})
        self.functions = list(functions)
        roots = [self.functions, *self.replace.items()]
        self.key = fingerprint(roots, link.host())
        code = cache.load(self.key)
        if code is None:
            code = link.object_code(self.text())
            cache.store(self.key, code)
        self.object_code = code
        self._symbols = symbols_of(self._replaced(f) for f in self.functions)
        names = self._symbols.values()
        self._linked = link.linked(code, [*names, *(PREFIX + name for name in names)])
        known = {self._linked[name]: function for function, name in self._symbols.items()}
        by_address.update(known)  # lets reference code follow native addresses
        weakref.finalize(self, _forget, list(known))

    def _replaced(self, function: Native[..., Any]) -> Native[..., Any]:
        return self.replace.get(function, function)

    def text(self) -> str:
        """The LLVM text that the functions compile to."""
        from maquina.jit.compiler.module import Module
        from maquina.jit.entries import entry

        module = Module(self.functions, self.replace)
        functions = {self._replaced(function) for function in self.functions}
        names = module.names.of
        entries = [entry(f, name) for f, name in names.items() if f in functions]
        return "\n".join([module.text(), *entries])

    def symbol(self, function: Native[..., Any]) -> str:
        """The name of one of the functions in the object code."""
        return self._symbols[self._replaced(function)]

    def address(self, function: Native[..., Any]) -> int:
        """Where the code of one of the functions begins."""
        return int(self._linked[self._symbols[self._replaced(function)]])

    def _entry_address(self, function: Native[..., Any]) -> int:
        return int(self._linked[PREFIX + self._symbols[self._replaced(function)]])

    def entry(self, function: Native[..., Any]) -> Callable[..., Any]:
        """A ctypes function on plain integers: words by value, pointers and structs by address.

        For functions whose parameters and result take at most 64 bits and which no Trap leaves;
        TypeError for others. The entry keeps the library alive; an address does not.
        """
        from maquina.jit.entries import integer_call, is_direct

        if not is_direct(function):
            raise TypeError(f"{function.name} has wide values, several results or traps: call it")
        call: Any = integer_call(function, self._entry_address(function))
        call.library = self
        return call  # type: ignore[no-any-return]

    def __call__(self, function: Native[P, R]) -> Callable[P, R]:
        """One of the functions, compiled: takes and gives what the reference does."""
        from maquina.jit.entries import word_call

        call: Any = word_call(function, self._entry_address(function))
        call.library = self
        return call  # type: ignore[no-any-return]


def _forget(addresses: list[int]) -> None:
    for address in addresses:
        by_address.pop(address, None)
