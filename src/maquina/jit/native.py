"""`@native`: a typed Python function that runs as Python and that `compiler` can translate."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from itertools import count
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    ParamSpec,
    TypedDict,
    TypeVar,
    Unpack,
    overload,
)

from maquina.errors import NativeError
from maquina.jit.layout import Ptr, Struct
from maquina.jit.words import Float, Word, u64

if TYPE_CHECKING:
    import ast

P = ParamSpec("P")
R = TypeVar("R")
Convention = Literal["c", "preserve_none", "preserve_most"]

# Addresses that stand for functions in CPython. No x86-64 or AArch64 process can map them, so
# native code that jumps to one by mistake stops at once.
STAND_INS = 0x00DE_AD00_0000_0000

VARIADIC = 0x04 | 0x08  # code flags of *args and **kwargs; `inspect`, which names them, is slow

by_address: dict[int, Native[..., Any]] = {}
_stand_ins = count(STAND_INS, 16)


class Options(TypedDict, total=False):
    """What `@native(...)` takes.

    name: the symbol's name, for factories that make many functions of one `def`.
    inline: compiled into each caller instead of being called.
    cold: rarely run; kept out of line and out of the way.
    convention: which registers survive a call, natively. `preserve_none`: none, for handlers
        chained by tail calls; `preserve_most`: nearly all, for slow paths.
    external: only a signature for `call_address`; its body is never run.
    types: what the TypeVars of a factory stand for in this function.
    """

    name: str
    inline: bool
    cold: bool
    convention: Convention
    external: bool
    types: dict[str, Any]


class Native(Generic[P, R]):
    """A function of the subset. Calling it runs the Python body: that is the definition."""

    def __init__(self, python: Callable[P, R], options: Options) -> None:
        self.python = python
        self.__doc__ = python.__doc__
        self.__name__ = python.__name__
        self.__module__ = python.__module__
        self.options = options
        self.stamp = stamp(python.__code__.co_filename)
        self.name = options.get("name") or python.__qualname__.replace(".<locals>.", ".")
        self.inline = options.get("inline", False)
        self.cold = options.get("cold", False)
        self.external = options.get("external", False)
        self.convention = options.get("convention", "c")

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        result: Any = self.python(*args, **kwargs)
        while type(result) is Tail:  # the trampoline that stands for a jump
            result = result.function.python(*result.arguments)
        return result  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"<native {self.name} of {self.file}:{self.python.__code__.co_firstlineno}>"

    @cached_property
    def stand_in(self) -> u64:
        """The address that stands for the function in CPython."""
        address = u64(next(_stand_ins))
        by_address[address.value] = self
        return address

    @cached_property
    def names(self) -> dict[str, Any]:
        """What free names mean, all of them compile-time constants: globals, closure cells."""
        code, cells = self.python.__code__, self.python.__closure__ or ()
        closure = zip(code.co_freevars, (cell.cell_contents for cell in cells), strict=True)
        return {**self.python.__globals__, **dict(closure)}

    def _kind(self, annotation: Any, what: str) -> Any:
        try:
            kind = eval(annotation, self.names) if isinstance(annotation, str) else annotation
        except NameError as error:
            raise NativeError(
                f"{self.place}: the type of {what} is unknown: {error}",
                "a factory's types need a file without `from __future__ import annotations`",
            ) from None
        if isinstance(kind, TypeVar):
            kind = self.options.get("types", {}).get(kind.__name__, kind)
        return kind

    @property
    def place(self) -> str:
        return f"{self.file}:{self.python.__code__.co_firstlineno}"

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """The type of each parameter."""
        notes = self.python.__annotations__
        code = self.python.__code__
        names = code.co_varnames[: code.co_argcount]
        if self.python.__defaults__ or code.co_kwonlyargcount or code.co_flags & VARIADIC:
            raise NativeError(
                f"{self.place}: {self.name} has default, keyword or variable parameters",
                "give it plain parameters",
            )
        kinds = {name: self._kind(notes.get(name), name) for name in names}
        for name, kind in kinds.items():
            self._check(kind, f"parameter {name}")
        return kinds

    @cached_property
    def result(self) -> Any:
        """The type of the result: None, a machine type, or a tuple of machine types."""
        kind = self._kind(self.python.__annotations__.get("return", "no annotation"), "the result")
        if getattr(kind, "__origin__", None) is tuple:
            for part in kind.__args__:
                self._check(part, "the result")
            return kind.__args__
        if kind is not None:
            self._check(kind, "the result")
        return kind

    def _check(self, kind: Any, what: str) -> None:
        if kind is bool or (
            isinstance(kind, type) and issubclass(kind, Word | Float | Ptr | Struct)
        ):
            return
        raise NativeError(
            f"{self.place}: {what} of {self.name} is {kind!r}, which is no machine type",
            "annotate it with a word (u64, s32...), bool, f32, f64, Ptr[T] or a Struct",
        )

    @property
    def file(self) -> str:
        return self.python.__code__.co_filename

    @cached_property
    def node(self) -> ast.FunctionDef:
        """The function's syntax tree."""
        from maquina.jit.compiler.sources import definitions

        if stamp(self.file) != self.stamp:
            raise NativeError(f"{self.file} was changed since it was imported", "start again")
        here = self.python.__code__.co_firstlineno, self.python.__name__
        found = definitions(self.file, self.stamp).get(here)
        if found is None:
            raise NativeError(f"{self.place}: {self.name} has no source", "put it in a file")
        return found


def stamp(file: str) -> int | None:
    """When a file was last changed; None if it is none, as in a doctest."""
    try:
        return os.stat(file).st_mtime_ns  # noqa: PTH116  # pathlib takes five times as long
    except OSError:
        return None


class Tail:
    """What `tail_call` returns in CPython, for the trampoline in `Native.__call__`."""

    __slots__ = ("arguments", "function")

    def __init__(self, function: Native[..., Any], arguments: tuple[Any, ...]) -> None:
        self.function, self.arguments = function, arguments


@overload
def native(python: Callable[P, R], /) -> Native[P, R]: ...
@overload
def native(
    python: None = None, /, **options: Unpack[Options]
) -> Callable[[Callable[P, R]], Native[P, R]]: ...
def native(python: Any = None, /, **options: Unpack[Options]) -> Any:
    """Make a typed function native; options are those of `Options`."""
    if python is not None:
        return Native(python, options)
    return lambda function: Native(function, options)
