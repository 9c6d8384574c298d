"""What an SBI function is given, what it answers, and what it may ask of the board."""

from __future__ import annotations

from collections.abc import Callable, MutableSequence, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol, TypeAlias

from maquina.bits import mask
from maquina.machine.bus import AddressSpace
from maquina.machine.memory import GuestMemory

ALL_HARTS = mask(64)  # as hart_mask_base: the mask is ignored (3.1)


class Error(IntEnum):
    """Standard error codes (table 1)."""

    SUCCESS = 0
    FAILED = -1
    NOT_SUPPORTED = -2
    INVALID_PARAM = -3
    DENIED = -4
    INVALID_ADDRESS = -5
    ALREADY_AVAILABLE = -6
    ALREADY_STARTED = -7
    ALREADY_STOPPED = -8


class PowerState(IntEnum):
    """States of a hart that HSM knows, by its numbers (table 9)."""

    STARTED = 0
    STOPPED = 1
    SUSPENDED = 4


class Hart(Protocol):
    """A hart as SBI sees it. Used from the hart's own thread, or while it does not run."""

    @property
    def x(self) -> MutableSequence[int]:
        """The integer registers."""
        ...

    def write_csr(self, number: int, value: int, /) -> None: ...

    def set_interrupt(self, bit: int, level: bool, /) -> None:
        """Drive a bit of mip. Any thread may call it."""
        ...

    def flush_tlb(self, address: int | None, size: int | None, asid: int | None, /) -> None:
        """Forget translations: of a range or all, of an address space or all."""
        ...

    def fence_i(self) -> None: ...


class Processor(Protocol):
    """A hart with its number and its power state."""

    @property
    def hart_id(self) -> int: ...

    @property
    def hart(self) -> Hart: ...

    @property
    def power(self) -> PowerState: ...

    def enter(self, address: int, opaque: int) -> None:
        """Begin in S-mode at `address` with the hart's number in a0 and `opaque` in a1."""
        ...

    def halt(self) -> None:
        """Stop executing until `enter`."""
        ...

    def suspend(self) -> None:
        """Stop executing until an interrupt is pending."""
        ...


class Platform(Protocol):
    """What the board does for SBI functions."""

    @property
    def memory(self) -> GuestMemory: ...

    @property
    def bus(self) -> AddressSpace: ...

    @property
    def processors(self) -> Sequence[Processor]: ...

    def on_harts(
        self, caller: Processor, targets: Sequence[Processor], action: Callable[[Hart], None]
    ) -> None:
        """Do `action` on each target between two of its instructions; return when all have."""
        ...

    def power_off(self, status: int) -> None: ...

    def reset(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Call:
    """One call: who calls, on which board, with a0 to a5."""

    platform: Platform
    caller: Processor
    arguments: Sequence[int]

    def harts(self, hart_mask: int, base: int) -> list[Processor] | None:
        """The harts that a mask names (3.1); None if it names one that does not exist."""
        everyone = self.platform.processors
        if base == ALL_HARTS:
            return list(everyone)
        if hart_mask >> max(len(everyone) - base, 0):
            return None
        return [
            one for one in everyone if one.hart_id >= base and hart_mask >> one.hart_id - base & 1
        ]


Answer: TypeAlias = tuple[Error, int] | None  # None: the call does not return
Function: TypeAlias = Callable[[Call], Answer]
Extension: TypeAlias = dict[int, Function]

DONE: Answer = (Error.SUCCESS, 0)
INVALID: Answer = (Error.INVALID_PARAM, 0)


def value(number: int) -> Answer:
    """Success, with a number."""
    return Error.SUCCESS, number
