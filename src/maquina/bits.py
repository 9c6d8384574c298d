"""The arithmetic Python lacks: masks, sign extension, alignment."""

from __future__ import annotations


def mask(width: int) -> int:
    """`width` ones."""
    return (1 << width) - 1


def field(word: int, high: int, low: int) -> int:
    """Bits `high` down to `low` of `word`, as manuals write them: word[high:low]."""
    return word >> low & mask(high - low + 1)


def sign_extend(value: int, width: int) -> int:
    """The two's complement number in the low `width` bits of `value`."""
    value &= mask(width)
    return value - (1 << width) if value >> width - 1 else value


def align_down(value: int, step: int) -> int:
    """The largest multiple of `step` that is not above `value`."""
    return value // step * step


def align_up(value: int, step: int) -> int:
    """The smallest multiple of `step` that is not below `value`."""
    return -(-value // step) * step
