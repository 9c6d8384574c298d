"""Typed views of memory that CPython, native code and ctypes share.

A `Struct` class declares fields by annotation. An instance is a reference to bytes at `address`,
natively a pointer; it owns nothing:

    class Cpu(Struct):
        x: Array[u64] = array(33)           # 33 words in place
        pc: u64 = field(at=512)             # at a fixed offset
        tlb: Array[Entry] = array(256)      # structs in place: cpu.tlb[i].tag reads and writes
        ram: Ptr[u8]                        # a pointer to bytes elsewhere

Fields lie as in C, in order of declaration: words and floats aligned to their size but at most to
8 bytes, a struct to its widest field. `Ptr[T]` is a pointer to elements of type T. mypy sees plain
attributes and generics.
"""

from __future__ import annotations

import ctypes
import sys
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, SupportsIndex, TypeVar

from maquina.bits import align_up
from maquina.jit.words import Float, Word, u64

T = TypeVar("T")
WIDEST_ALIGNMENT = 8


def size_of(kind: Any) -> int:
    """Bytes that a value of a word, float, pointer or struct type takes in memory."""
    if issubclass(kind, Word | Float):
        return int(kind.bits // 8)
    return 8 if issubclass(kind, Ptr) else int(kind.size)


def alignment_of(kind: Any) -> int:
    """The natural alignment of a type in bytes, at most 8."""
    if issubclass(kind, Struct):
        return int(kind.alignment)
    size = size_of(kind)
    return min(size & -size, WIDEST_ALIGNMENT)


def read(kind: Any, address: int) -> Any:
    """The value of type `kind` in memory; for a struct, a reference to it."""
    if issubclass(kind, Struct):
        return kind.at(u64(address))
    return typed(kind, int.from_bytes(ctypes.string_at(address, size_of(kind)), "little"))


def typed(kind: Any, number: int) -> Any:
    """The value of a machine type that has these bits: the inverse of `plain`."""
    if kind is bool:
        return bool(number & 1)
    if issubclass(kind, Word):
        return kind(number)
    if issubclass(kind, Struct):
        return kind.at(u64(number))
    return kind(kind.word(number)) if issubclass(kind, Float) else kind(u64(number))


def write(kind: Any, address: int, value: Any) -> None:
    """Store a value of exactly type `kind`, or an int for a word. TypeError for anything else."""
    if type(value) is kind and not issubclass(kind, Struct):
        number = plain(value)
    elif type(value) is int and issubclass(kind, Word):
        number = kind(value).value & kind.mask
    else:
        raise TypeError(f"storing {value!r} where a {kind.__name__} lives: convert it")
    size = size_of(kind)
    ctypes.memmove(address, number.to_bytes(size, "little"), size)


def plain(value: Any) -> int:
    """The bits of a word, bool, float, pointer or struct reference as a non-negative int."""
    if isinstance(value, Word):
        return value.value & value.mask
    if isinstance(value, Ptr | Struct):
        return value.address.value
    return int(value.pattern.value if isinstance(value, Float) else value)


class Ptr(Generic[T]):
    """A pointer to elements of type T, aligned or not; `p + n` is n elements further on."""

    __slots__ = ("address",)
    element: ClassVar[Any]
    _made: ClassVar[dict[Any, Any]] = {}

    def __init__(self, address: u64) -> None:
        if type(address) is not u64:
            raise TypeError(f"{type(self).__name__}({address!r}): an address is a u64")
        self.address = address

    if not TYPE_CHECKING:

        def __class_getitem__(cls, element: Any) -> Any:
            if isinstance(element, TypeVar):
                return cls
            made = Ptr._made.get((cls, element))
            if made is None:
                name = f"{cls.__name__}[{element.__name__}]"
                made = type(name, (cls,), {"element": element, "__slots__": ()})
            return Ptr._made.setdefault((cls, element), made)

    def _where(self, index: SupportsIndex) -> int:
        return (self.address.value + index.__index__() * size_of(self.element)) & u64.mask

    def __add__(self, count: Word | int) -> Self:
        return type(self)(u64(self._where(count)))

    def __getitem__(self, index: SupportsIndex) -> T:
        return read(self.element, self._where(index))  # type: ignore[no-any-return]

    def __setitem__(self, index: SupportsIndex, value: T) -> None:
        write(self.element, self._where(index), value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ptr) and self.address == other.address

    def __hash__(self) -> int:
        return hash(self.address)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.address.value:#x})"


class Array(Ptr[T]):
    """Elements in place: inside a struct, or on the native stack (`local_array`)."""

    __slots__ = ("store",)


def pointer(kind: type[T], address: u64) -> Ptr[T]:
    """`Ptr[kind](address)` where `kind` is a variable: mypy takes one in a call, not in a type."""
    return Ptr[kind](address)  # type: ignore[valid-type]


def local_array(kind: type[T], count: int) -> Array[T]:
    """A zeroed array that lives as long as the function that makes it: natively on its stack.

    Keep no address of it beyond the call, and pass none to `tail_call`.
    """
    store = (ctypes.c_uint8 * (size_of(kind) * count))()
    view: Array[T] = Array[kind](u64(ctypes.addressof(store)))  # type: ignore[valid-type]
    view.store = store  # type: ignore[attr-defined]  # keeps the bytes alive
    return view


class _Declared:
    """What `array` and `field` say about a field."""

    def __init__(self, count: int | None, at: int | None) -> None:
        self.count, self.at = count, at


def array(count: int, *, at: int | None = None) -> Any:
    """Declares a field `name: Array[T]` of `count` elements, at a fixed byte offset if given."""
    return _Declared(count, at)


def field(*, at: int) -> Any:
    """Declares a field at a fixed byte offset."""
    return _Declared(None, at)


class Field:
    """A field of a Struct class: element type, byte offset, and how many if it is an array."""

    def __init__(self, kind: Any, offset: int, count: int | None) -> None:
        self.kind, self.offset, self.count = kind, offset, count
        self.type = kind if count is None else Array[kind]

    @property
    def end(self) -> int:
        return self.offset + size_of(self.kind) * (1 if self.count is None else self.count)

    def __get__(self, owner: Struct | None, _: Any) -> Any:
        if owner is None:
            return self
        where = owner.address.value + self.offset
        return read(self.kind, where) if self.count is None else self.type(u64(where))

    def __set__(self, owner: Struct, value: Any) -> None:
        if self.count is not None:
            raise TypeError("an array in place cannot be replaced: store its elements")
        write(self.kind, owner.address.value + self.offset, value)


class Struct:
    """A reference to fields in memory. `size` and `alignment` are the class's, in bytes."""

    __slots__ = ("address",)
    fields: ClassVar[dict[str, Field]] = {}
    size: ClassVar[int] = 0
    alignment: ClassVar[int] = 1
    address: u64

    def __init_subclass__(cls) -> None:
        cls.fields = {}
        offset = 0
        for name, note in vars(cls).get("__annotations__", {}).items():
            if hasattr(Struct, name):
                raise TypeError(
                    f"{cls.__name__}.{name}: every Struct uses this name; choose another"
                )
            made = _declare(cls, name, note, offset)
            cls.fields[name] = made
            setattr(cls, name, made)
            cls.alignment = max(cls.alignment, alignment_of(made.kind))
            offset = made.end
        end = max((made.end for made in cls.fields.values()), default=0)
        cls.size = align_up(end, cls.alignment)

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "address" and name not in self.fields:
            raise AttributeError(f"{type(self).__name__} has no field {name}")
        object.__setattr__(self, name, value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Struct) and self.address == other.address

    def __hash__(self) -> int:
        return hash(self.address)

    def __repr__(self) -> str:
        return f"{type(self).__name__}.at({self.address.value:#x})"

    @classmethod
    def at(cls, address: u64) -> Self:
        """The struct whose bytes begin at `address`."""
        if type(address) is not u64:
            raise TypeError(f"{cls.__name__}.at({address!r}): an address is a u64")
        self = cls.__new__(cls)
        self.address = address
        return self

    def shifted(self, count: Word | int) -> Self:
        """The struct `count` structs further on, as in an array."""
        return type(self).at(u64(self.address.value + count.__index__() * self.size))


def _declare(cls: type[Struct], name: str, note: Any, offset: int) -> Field:
    """The field that an annotation and its `array(...)` or `field(...)` declare."""
    kind = _evaluated(cls, name, note)
    declared = cls.__dict__.get(name, _Declared(None, None))
    counted = isinstance(kind, type) and issubclass(kind, Array)
    if not isinstance(declared, _Declared) or counted != (declared.count is not None):
        raise TypeError(
            f"{cls.__name__}.{name}: write `name: Array[T] = array(count)`, `name: T` or "
            "`name: T = field(at=offset)`"
        )
    element = kind.element if counted else kind
    if not (isinstance(element, type) and issubclass(element, Word | Float | Ptr | Struct)):
        raise TypeError(f"{cls.__name__}.{name}: {element!r} is no word, float, Ptr or Struct")
    at = declared.at if declared.at is not None else align_up(offset, alignment_of(element))
    return Field(element, at, declared.count)


def _evaluated(cls: type[Struct], name: str, note: Any) -> Any:
    if not isinstance(note, str):
        return note
    try:
        return eval(note, dict(vars(sys.modules[cls.__module__])))
    except NameError as error:
        raise TypeError(
            f"{cls.__name__}.{name}: {error} in the module; a struct whose types are local needs "
            "a file without `from __future__ import annotations`"
        ) from None
