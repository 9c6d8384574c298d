"""What an expression evaluates to at compile time, and how LLVM spells its type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from maquina.jit.layout import Ptr
from maquina.jit.words import Float, Word, f32


@dataclass(frozen=True, slots=True)
class Value:
    """A run-time value: its type in the subset and its LLVM operand."""

    kind: Any
    text: str


@dataclass(frozen=True, slots=True)
class Const:
    """A compile-time Python object: an int, a word, a type, a function, a tuple..."""

    value: Any


@dataclass(frozen=True, slots=True)
class Slot:
    """A local kept in memory, because it is assigned more than once."""

    kind: Any
    text: str


@dataclass(frozen=True, slots=True)
class Caught:
    """The trap of an `except Trap as name`."""

    cause: Value
    value: Value


Operand = Value | Const
Local = Value | Const | Slot | Caught


def is_word(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Word)


def is_float(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Float)


def is_pointer(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Ptr)


def llvm(kind: Any) -> str:
    """A type of the subset as LLVM spells it."""
    if kind is None:
        return "void"
    if isinstance(kind, tuple):
        return "{ " + ", ".join(map(llvm, kind)) + " }"
    if kind is bool:
        return "i1"
    if is_float(kind):
        return "float" if kind is f32 else "double"
    return f"i{kind.bits}" if is_word(kind) else "ptr"


def spelled(kind: Any) -> str:
    """A type as messages name it."""
    if isinstance(kind, tuple):
        return f"({', '.join(map(spelled, kind))})"
    return getattr(kind, "__name__", str(kind))


def describe(operand: Local) -> str:
    """An operand as messages name it."""
    if isinstance(operand, Const):
        return f"the compile-time constant {operand.value!r}"
    return "a Trap" if isinstance(operand, Caught) else spelled(operand.kind)


def literal(value: Any) -> str:
    """A word, float or bool constant as LLVM text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Float):
        return f"bitcast (i{value.bits} {value.pattern.value} to {llvm(type(value))})"
    return str(int(value))
