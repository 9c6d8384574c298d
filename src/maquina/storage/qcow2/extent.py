"""What a stretch of the guest's disk is made of."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple, Protocol


class Kind(Enum):
    """How to read a stretch, and whether it can be written in place."""

    BACKING = "not in this image: the backing file's contents, or zeros"
    ZERO = "reads as zeros"
    DATA = "in the file, ours alone"
    SHARED = "in the file, shared with a snapshot: copied before it is written"
    COMPRESSED = "a compressed cluster, written elsewhere when it changes"


class Extent(NamedTuple):
    """`length` bytes of one kind; `host` is a file offset (for COMPRESSED the whole L2 entry)."""

    kind: Kind
    host: int
    length: int


class Plan(NamedTuple):
    """Where a write goes that cannot be done in place.

    All of `start` to `stop` (guest offsets) must be filled. `host` is where `start` goes in a
    cluster that is ours already, None if clusters must be allocated.
    """

    host: int | None
    start: int
    stop: int


class Mapping(Protocol):
    """The map from guest offsets to host offsets. All ranges given lie inside one L2 table."""

    unit: int
    """Zeros and links are kept per so many bytes."""

    def find(self, offset: int, length: int) -> Extent:
        """The first stretch of a range. FormatError if the tables are damaged."""
        ...

    def plan(self, offset: int, length: int) -> Plan:
        """How to write a stretch that `find` found not to be DATA."""
        ...

    def link(self, start: int, stop: int, host: int) -> None:
        """Let `start` to `stop`, as planned, be read from `host` on; release what was there."""
        ...

    def zero(self, start: int, stop: int, *, hide_backing: bool) -> None:
        """Let whole units read as zeros, or, where nothing backs them, be unallocated."""
        ...
