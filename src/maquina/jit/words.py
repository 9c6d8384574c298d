"""Machine words: fixed-width numbers that behave the same in CPython and in machine code.

The rules, which these classes enforce when code runs as Python and `compiler` enforces natively:

* an operator takes two words of the same type, or a word and an int literal that fits; convert
  with `u64(x)`, which takes any word, int or bool;
* a conversion keeps the value modulo 2**bits, so `u64(s32(-1)) == 2**64 - 1`;
* `+ - * << ~` wrap around; `<`, `>>` and widening follow the sign of the type;
* `//` and `%` exist for unsigned words; for signed ones `quotient` and `remainder` truncate;
* what machine code leaves undefined (a division by 0, MIN / -1, a shift by the width or more)
  raises ZeroDivisionError or OverflowError in CPython: guard it, tests find the rest;
* a word is no truth value: write `x != 0`.

Another width is one line: `class u384(Word, bits=384, signed=False): ...`.
"""

from __future__ import annotations

from typing import ClassVar, Generic, Self, SupportsIndex, TypeVar


class Word:
    """A `bits`-wide integer; subclasses say how wide and whether signed. `value` is its number."""

    __slots__ = ("value",)
    bits: ClassVar[int]
    signed: ClassVar[bool]
    mask: ClassVar[int]
    minimum: ClassVar[int]
    maximum: ClassVar[int]
    value: int

    def __init_subclass__(cls, *, bits: int, signed: bool) -> None:
        if bits <= 0 or bits % 8:
            raise TypeError(f"{cls.__name__}: a word is whole bytes wide, not {bits} bits")
        cls.bits, cls.signed, cls.mask = bits, signed, (1 << bits) - 1
        cls.minimum = -(1 << bits - 1) if signed else 0
        cls.maximum = cls.mask >> 1 if signed else cls.mask

    def __init__(self, value: SupportsIndex = 0) -> None:
        number = value.__index__() & self.mask
        self.value = number - self.mask - 1 if number > self.maximum else number

    def _operand(self, other: Self | int) -> int:
        if type(other) is type(self):
            return other.value
        if type(other) is int and self.minimum <= other <= self.mask:
            return other
        raise self._mixed(other)

    def _mixed(self, other: object) -> TypeError:
        mine = type(self).__name__
        return TypeError(f"{mine} with {other!r}: convert one side, e.g. {mine}(x)")

    def _comparand(self, other: Self | int) -> int:
        number = self._operand(other)
        if number > self.maximum:
            raise TypeError(f"{type(self).__name__} compared with {other!r}, never equal to it")
        return number

    def _amount(self, other: Word | int) -> int:
        amount = other.__index__()
        if not 0 <= amount < self.bits:
            raise OverflowError(f"{type(self).__name__} shifted by {amount}: undefined natively")
        return amount

    def _divisor(self, other: Self | int) -> int:
        if self.signed:
            raise TypeError(
                f"// and % on {type(self).__name__}: write quotient(a, b) or remainder(a, b)"
            )
        return self._operand(other)

    def __add__(self, other: Self | int) -> Self:
        return type(self)(self.value + self._operand(other))

    def __sub__(self, other: Self | int) -> Self:
        return type(self)(self.value - self._operand(other))

    def __mul__(self, other: Self | int) -> Self:
        return type(self)(self.value * self._operand(other))

    def __and__(self, other: Self | int) -> Self:
        return type(self)(self.value & self._operand(other))

    def __or__(self, other: Self | int) -> Self:
        return type(self)(self.value | self._operand(other))

    def __xor__(self, other: Self | int) -> Self:
        return type(self)(self.value ^ self._operand(other))

    def __floordiv__(self, other: Self | int) -> Self:
        return type(self)(self.value // self._divisor(other))

    def __mod__(self, other: Self | int) -> Self:
        return type(self)(self.value % self._divisor(other))

    def __radd__(self, other: int) -> Self:
        return type(self)(self._operand(other) + self.value)

    def __rsub__(self, other: int) -> Self:
        return type(self)(self._operand(other) - self.value)

    def __rmul__(self, other: int) -> Self:
        return type(self)(self._operand(other) * self.value)

    def __rand__(self, other: int) -> Self:
        return type(self)(self._operand(other) & self.value)

    def __ror__(self, other: int) -> Self:
        return type(self)(self._operand(other) | self.value)

    def __rxor__(self, other: int) -> Self:
        return type(self)(self._operand(other) ^ self.value)

    def __rfloordiv__(self, other: int) -> Self:
        return type(self)(self._divisor(other) // self.value)

    def __rmod__(self, other: int) -> Self:
        return type(self)(self._divisor(other) % self.value)

    def __lshift__(self, other: Word | int) -> Self:
        return type(self)(self.value << self._amount(other))

    def __rshift__(self, other: Word | int) -> Self:
        return type(self)(self.value >> self._amount(other))

    def __neg__(self) -> Self:
        return type(self)(-self.value)

    def __invert__(self) -> Self:
        return type(self)(~self.value)

    def __lt__(self, other: Self | int) -> bool:
        return self.value < self._comparand(other)

    def __le__(self, other: Self | int) -> bool:
        return self.value <= self._comparand(other)

    def __gt__(self, other: Self | int) -> bool:
        return self.value > self._comparand(other)

    def __ge__(self, other: Self | int) -> bool:
        return self.value >= self._comparand(other)

    def __eq__(self, other: object) -> bool:
        if type(other) is type(self) or type(other) is int:
            return self.value == self._comparand(other)
        raise self._mixed(other)

    def __hash__(self) -> int:
        return hash(self.value)

    def __index__(self) -> int:
        return self.value

    def __bool__(self) -> bool:
        raise TypeError("a word is no truth value: write x != 0")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.value:#x})"


class u8(Word, bits=8, signed=False): ...


class u16(Word, bits=16, signed=False): ...


class u32(Word, bits=32, signed=False): ...


class u64(Word, bits=64, signed=False): ...


class u128(Word, bits=128, signed=False): ...


class u256(Word, bits=256, signed=False): ...


class u320(Word, bits=320, signed=False): ...


class u512(Word, bits=512, signed=False): ...


class s8(Word, bits=8, signed=True): ...


class s16(Word, bits=16, signed=True): ...


class s32(Word, bits=32, signed=True): ...


class s64(Word, bits=64, signed=True): ...


class s128(Word, bits=128, signed=True): ...


class s256(Word, bits=256, signed=True): ...


W = TypeVar("W", bound=Word)


class Float(Generic[W]):
    """An IEEE 754 number, held as its bit pattern so that every NaN survives.

    `f64(pattern)` takes the u64 (f32: u32) whose bits it is, `x.pattern` gives them back; both
    are free natively. Arithmetic and comparisons are functions of `floats`; `==` here compares
    patterns and is for tests only.
    """

    __slots__ = ("pattern",)
    bits: ClassVar[int]
    word: ClassVar[type[Word]]
    pattern: W

    def __init_subclass__(cls, *, word: type[Word]) -> None:
        cls.word, cls.bits = word, word.bits

    def __init__(self, pattern: W) -> None:
        if type(pattern) is not self.word:
            name, word = type(self).__name__, self.word.__name__
            raise TypeError(f"{name}({pattern!r}): its bit pattern, a {word}, is needed")
        self.pattern = pattern

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.pattern == other.pattern

    def __hash__(self) -> int:
        return hash(self.pattern)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.pattern.value:#x})"


class f32(Float[u32], word=u32):
    """An IEEE 754 binary32."""

    __slots__ = ()


class f64(Float[u64], word=u64):
    """An IEEE 754 binary64."""

    __slots__ = ()
