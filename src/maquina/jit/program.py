"""Native functions by name, ready without importing what defines them.

Importing hundreds of native functions, and looking at each to find out whether its code is still
right, takes longer than linking that code. A program is kept under a digest of the *sources* that
its functions come from: while these are unchanged, a process links it by name.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from maquina.jit import cache
from maquina.jit.names import PREFIX
from maquina.jit.native import Native

LENGTH_BYTES = 4
RESULTS = {"": None, "u": ctypes.c_uint64, "s": ctypes.c_int64}


class Program:
    """The machine code of the functions that `make` gives names to.

    `sources` are the files that `make` and everything it reaches are defined in, besides this
    package's own; constants must come from them too. `make` is called, and so imports what it
    needs, only when nothing is kept for them.
    """

    def __init__(
        self, sources: Iterable[Path], make: Callable[[], Mapping[str, Native[..., Any]]]
    ) -> None:
        from maquina.jit import link

        key = _digest(sources, link.host(), os.environ.get(link.DEBUG, ""))
        kept = cache.load(key)
        if kept is None:
            kept = _compiled(make())
            cache.store(key, kept)
        length = int.from_bytes(kept[:LENGTH_BYTES], "little")
        self._known: dict[str, list[Any]] = json.loads(kept[LENGTH_BYTES : LENGTH_BYTES + length])
        symbols = [symbol for symbol, _, _ in self._known.values()]
        entries = [PREFIX + symbol for symbol, count, _ in self._known.values() if count >= 0]
        self._linked = link.linked(kept[LENGTH_BYTES + length :], [*symbols, *entries])

    def address(self, name: str) -> int:
        """Where the code of a function begins."""
        return int(self._linked[self._known[name][0]])

    def entry(self, name: str) -> Callable[..., Any]:
        """A ctypes function on integers, as `Library.entry`. TypeError if it cannot have one."""
        symbol, count, result = self._known[name]
        if count < 0:
            raise TypeError(f"{name} has wide values, several results or traps: call it")
        signature = ctypes.CFUNCTYPE(RESULTS[result], *[ctypes.c_uint64] * count)
        call: Any = signature(int(self._linked[PREFIX + symbol]))
        call.program = self  # whose code must live as long
        return call  # type: ignore[no-any-return]


def _digest(sources: Iterable[Path], *facts: str) -> str:
    """Everything that the code depends on, in hexadecimal."""
    digest = hashlib.blake2b(digest_size=32)
    digest.update("\0".join(("program", sys.version, *facts)).encode())
    for file in sorted({*Path(__file__).parent.rglob("*.py"), *sources}):
        digest.update(hashlib.blake2b(file.read_bytes()).digest())
    return digest.hexdigest()


def _compiled(functions: Mapping[str, Native[..., Any]]) -> bytes:
    """What is kept: names, symbols and signatures, then the object code."""
    from maquina.jit.entries import is_direct
    from maquina.jit.library import Library

    library = Library(functions.values())
    known = {
        name: [library.symbol(function), *_signature(function)]
        if is_direct(function) and function.convention == "c"
        else [library.symbol(function), -1, ""]
        for name, function in functions.items()
    }
    head = json.dumps(known).encode()
    return len(head).to_bytes(LENGTH_BYTES, "little") + head + library.object_code


def _signature(function: Native[..., Any]) -> tuple[int, str]:
    """How many integers it takes, and what kind of integer it gives."""
    kind = function.result
    if kind is None:
        return len(function.parameters), ""
    return len(function.parameters), "s" if getattr(kind, "signed", False) else "u"
