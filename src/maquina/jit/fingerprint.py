"""A digest of everything that the code of some native functions depends on.

It is taken from what the process has loaded: the byte code of each function, and the values that
its free names have: numbers, types, tables, and other functions in turn. No source file is read
or parsed, so it is quick, and the constants that a factory closes over count by value.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from maquina.jit.forms import Table
from maquina.jit.layout import Ptr, Struct
from maquina.jit.native import Native
from maquina.jit.words import Float, Word

OURS = {f"maquina.jit.{path.stem}" for path in Path(__file__).parent.glob("*.py")}
WORDS = re.compile(r"\w+")
PLAIN = {int, bool, str, bytes, float, type(None)}


def fingerprint(roots: Iterable[Any], salt: str) -> str:
    """The digest, in hexadecimal, of `roots`, of this package's sources and of `salt`."""
    digest = hashlib.blake2b(digest_size=32)
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    walk = _Walk()
    walk.note(salt)
    for root in roots:
        walk.value(root)
    while walk.waiting:
        walk.look_into(walk.waiting.pop())
    digest.update("\0".join(walk.notes).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


class _Walk:
    """Each object is described once and then known by its number."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.numbers: dict[int, int] = {}
        self.keep: list[Any] = []  # so that no id is used again
        self.waiting: list[Any] = []
        self.seen: dict[tuple[int, int], int] = {}

    def note(self, text: str) -> None:
        self.notes.append(text)

    def value(self, value: Any) -> None:
        self.values((value,))

    def values(self, values: Iterable[Any]) -> None:
        notes, numbers = self.notes, self.numbers
        for value in values:
            if type(value) in PLAIN:
                notes.append(repr(value))
                continue
            number = numbers.get(id(value))
            if number is None:
                number = numbers[id(value)] = len(numbers)
                self.keep.append(value)
                self.waiting.append(value)
            notes.append(f"#{number}")

    def look_into(self, value: Any) -> None:
        if isinstance(value, Word | Float):
            self.note(repr(value))
            return
        if isinstance(value, FunctionType) and _is_given(value.__module__):
            self.note(f"{value.__module__}.{value.__qualname__}")
            return
        for kinds, describe in DESCRIBED:
            if isinstance(value, kinds):
                describe(self, value)
                return
        self.note(type(value).__qualname__)
        self.value(type(value).__module__)
        self.members(getattr(value, "__dict__", {}))

    def native(self, function: Native[..., Any]) -> None:
        flags = f"{function.inline} {function.cold} {function.external} {function.convention}"
        self.note(f"native {function.name} {flags}")
        if "types" in function.options:
            self.members(function.options["types"])
        self.function(function.python)

    def function(self, function: Any) -> None:
        """Its byte code, what its free names mean, and what it closes over."""
        shared = (id(function.__code__), id(function.__globals__))
        if shared in self.seen:  # a factory's functions share all but their closures
            self.note(f"as {self.seen[shared]}")
        else:
            self.seen[shared] = len(self.seen)
            self.code(function.__code__)
            self.globals(function)
        notes = function.__annotations__.values()
        self.values(note for note in notes if type(note) is not str)  # those are in the source
        try:
            self.values(cell.cell_contents for cell in function.__closure__ or ())
        except ValueError:  # a name of the enclosing function that is not set yet
            self.note("empty")

    def globals(self, function: Any) -> None:
        code, names = function.__code__, function.__globals__
        notes = " ".join(n for n in function.__annotations__.values() if isinstance(n, str))
        for name in [*code.co_names, *WORDS.findall(notes)]:
            if name in names:
                self.reachable(names[name], code.co_names)

    def reachable(self, value: Any, names: tuple[str, ...]) -> None:
        """A global; of a module only what the function can name of it."""
        if not isinstance(value, ModuleType):
            self.value(value)
            return
        for name in names:
            if name in vars(value):
                self.note(f"{value.__name__}.{name}")
                self.value(vars(value)[name])

    def code(self, code: CodeType) -> None:
        lines = (code.co_filename, code.co_firstlineno, code.co_linetable)
        self.note(repr((code.co_code, code.co_names, code.co_varnames, code.co_freevars, lines)))
        self.values(code.co_consts)

    def type(self, kind: type) -> None:
        self.note(f"type {kind.__module__}.{kind.__qualname__}")
        if issubclass(kind, Word | Float):
            self.note(f"{getattr(kind, 'bits', None)} {getattr(kind, 'signed', None)}")
        elif issubclass(kind, Struct):
            self.note(f"{kind.size} {kind.alignment}")
            for name, field in kind.fields.items():
                self.note(f"{name} {field.offset} {field.count}")
                self.value(field.kind)
        elif issubclass(kind, Ptr):
            self.value(getattr(kind, "element", None))
        elif not _is_given(kind.__module__):
            names = vars(kind).items()
            self.members({name: value for name, value in names if not name.startswith("__")})

    def table(self, table: Table[Any]) -> None:
        self.note(f"table {table.name}")
        self.value(table.kind)
        self.value(table.items)

    def sequence(self, items: Iterable[Any]) -> None:
        items = list(items)
        if set(map(type, items)) <= PLAIN:  # most tables; quicker than one by one
            self.note(f"plain {items!r}")
            return
        self.note(f"sequence {len(items)}")
        self.values(items)

    def unordered(self, items: Iterable[Any]) -> None:
        self.sequence(sorted(items, key=repr))

    def members(self, members: Any) -> None:
        self.note(f"members {len(members)}")
        for name, value in members.items():
            self.note(str(name))
            self.value(value)


def _is_given(module: str) -> bool:
    """Whether a module is Python's, or this package's, whose sources are in every digest."""
    return module.partition(".")[0] in sys.stdlib_module_names or module in OURS


DESCRIBED: tuple[tuple[Any, Any], ...] = (
    (Native, _Walk.native),
    (FunctionType, _Walk.function),
    (CodeType, _Walk.code),
    (type, _Walk.type),
    (Table, _Walk.table),
    (dict, _Walk.members),
    (list | tuple, _Walk.sequence),
    (set | frozenset, _Walk.unordered),
)
