"""Comparing Debian version numbers (Debian Policy 5.6.12, deb-version(7))."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import zip_longest

_PIECES = re.compile(r"(\D*)(\d*)")

RELATIONS: dict[str, Callable[[int], bool]] = {
    "<<": lambda order: order < 0,
    "<=": lambda order: order <= 0,
    "=": lambda order: order == 0,
    ">=": lambda order: order >= 0,
    ">>": lambda order: order > 0,
}


def compare(left: str, right: str) -> int:
    """Negative if `left` is the older version, positive if the newer, 0 if they are equal."""
    left_key, right_key = key(left), key(right)
    return (left_key > right_key) - (left_key < right_key)


def satisfies(version: str, relation: str, wanted: str) -> bool:
    """Whether `version relation wanted` holds, as in `(>= 2.36)`."""
    return RELATIONS[relation](compare(version, wanted))


def key(version: str) -> tuple[int, _Part, _Part]:
    """Something that sorts as versions do."""
    epoch, colon, rest = version.strip().partition(":")
    if not colon:
        epoch, rest = "0", version.strip()
    upstream, dash, revision = rest.rpartition("-")
    if not dash:
        upstream, revision = rest, "0"
    return int(epoch) if epoch.isdigit() else 0, _Part(upstream), _Part(revision)


class _Part:
    """An upstream version or a revision: text and numbers by turns."""

    __slots__ = ("pieces",)

    def __init__(self, text: str) -> None:
        self.pieces = [
            (_weights(word), int(number or 0)) for word, number in _PIECES.findall(text)
        ]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Part) and self._order(other) == 0

    def __hash__(self) -> int:
        raise TypeError("equal versions may be spelled differently")

    def __lt__(self, other: _Part) -> bool:
        return self._order(other) < 0

    def __gt__(self, other: _Part) -> bool:
        return self._order(other) > 0

    def _order(self, other: _Part) -> int:
        nothing = (_weights(""), 0)
        for mine, theirs in zip_longest(self.pieces, other.pieces, fillvalue=nothing):
            if mine != theirs:
                return 1 if mine > theirs else -1
        return 0


def _weights(word: str) -> tuple[int, ...]:
    """Letters sort before other characters, `~` before everything, even before the end."""
    weights = [-1 if c == "~" else ord(c) if c.isalpha() else ord(c) + 256 for c in word]
    return (*weights, 0)
