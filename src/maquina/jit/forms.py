"""Special forms: calls that the compiler knows, with what each means in CPython."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from typing import Any, Generic, SupportsIndex, TypeVar, overload

from maquina.jit.layout import Ptr, Struct, plain, typed
from maquina.jit.native import Native, Tail, by_address
from maquina.jit.words import W, u64

T = TypeVar("T")


def likely(condition: bool) -> bool:
    """`if likely(test):` lays out the code for the test to hold."""
    return condition


def unlikely(condition: bool) -> bool:
    """`if unlikely(test):` lays out the code for the test to fail."""
    return condition


def unrolled(items: T) -> T:
    """`for x in unrolled(constants):` is natively repeated once per compile-time item."""
    return items


def span(start: W, stop: W | None = None) -> Iterator[W]:
    """`for i in span(n)` or `span(first, stop)`: `range`, in words."""
    first, last = (type(start)(0), start) if stop is None else (start, stop)
    return map(type(start), range(first, last))


def gather(functions: Sequence[Native[..., T]], *arguments: Any) -> tuple[T, ...]:
    """The results of calling each of some compile-time functions: `f(*gather(functions, x))`."""
    return tuple(function(*arguments) for function in functions)


@overload
def tail_call(target: Native[..., T], *arguments: Any) -> T: ...
@overload
def tail_call(target: u64, *arguments: Any) -> None: ...
def tail_call(target: u64 | Native[..., Any], *arguments: Any) -> Any:
    """`return tail_call(f, ...)` jumps to `f`, which replaces the caller on the stack.

    `f` is a native function or the address of one, with the caller's parameter types, result and
    convention.
    """
    if isinstance(target, Native):
        return Tail(target, arguments)
    return Tail(by_address[target.value], arguments)


def call_address(signature: Native[..., T], target: u64, *arguments: Any) -> T:
    """Call the code at `target`, which has the types and the convention of `signature`.

    `target` is the address of a native function, or of any C function, e.g. of libc or of a
    ctypes callback; `signature` may be declared with `@native(external=True)`.
    """
    known = by_address.get(target.value)
    if known is not None:
        return known(*arguments)  # type: ignore[no-any-return]
    kinds = list(signature.parameters.values())
    call = ctypes.CFUNCTYPE(c_type(signature.result), *map(c_type, kinds))(target.value)
    answer = call(*map(plain, arguments))
    return None if signature.result is None else typed(signature.result, answer)  # type: ignore[return-value]


C_UNSIGNED = {8: ctypes.c_uint8, 16: ctypes.c_uint16, 32: ctypes.c_uint32, 64: ctypes.c_uint64}


def c_type(kind: Any) -> Any:
    """The ctypes type that a value of at most 64 bits crosses to C with: its bits, unsigned."""
    if kind is None:
        return None
    if kind is bool:
        return ctypes.c_bool
    if issubclass(kind, Ptr | Struct):
        return ctypes.c_uint64
    if kind.bits not in C_UNSIGNED or not hasattr(kind, "signed"):
        raise TypeError(f"{kind.__name__} does not cross to C: pass a pointer to it")
    return C_UNSIGNED[kind.bits]


def address_of(function: Native[..., Any]) -> u64:
    """Where the function's code is. In CPython a number that stands for it."""
    return function.stand_in


class Table(Generic[W]):
    """Constant words, or addresses of native functions, which native code indexes."""

    def __init__(self, kind: type[W], items: Any, name: str) -> None:
        self.kind, self.name = kind, name
        self.items: Sequence[Any] = items if isinstance(items, bytes) else tuple(items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: SupportsIndex) -> W:
        item = self.items[index.__index__()]
        return self.kind(address_of(item) if isinstance(item, Native) else item)
