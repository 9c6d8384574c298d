"""Software interrupts and the timer of RISC-V (ACLINT specification 1.0-rc4).

`Clint` is what SiFive's CLINT was: MSWI and MTIMER in one window; `Sswi` is a window of its own.

    0x0000 + 4 * hart   msip       machine software interrupt, a level
    0x4000 + 8 * hart   mtimecmp   machine timer interrupt while mtime >= mtimecmp
    0xBFF8              mtime

No thread watches the clock here. Whoever runs the harts either calls `poll`, which brings the
timer lines up to date and tells when to come again, or takes the compare values from
`on_compare` and has the harts compare by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from maquina.machine.interrupts import Line
from maquina.machine.state import Fields, State

CLINT_SIZE, SSWI_SIZE = 0x1_0000, 0x4000
FREQUENCY_HZ = 10_000_000
MAX_HARTS = 4095
MTIMECMP, MTIME = 0x4000, 0xBFF8
NEVER = (1 << 64) - 1
WORD = 0xFFFF_FFFF


class TickClock(Protocol):
    """The time that `mtime` and the harts' `time` show, in ticks of FREQUENCY_HZ."""

    def now(self) -> int: ...

    def set(self, ticks: int) -> None:
        """The guest writes mtime."""
        ...


class Clint:
    """MSWI and MTIMER: `software` and `timer` are a line for each hart."""

    def __init__(
        self,
        clock: TickClock,
        software: Sequence[Line],
        timer: Sequence[Line],
        on_compare: Callable[[int, int], None] | None = None,
    ) -> None:
        """`on_compare` hears of each write to mtimecmp: which hart, and the new value."""
        if len(software) != len(timer) or not 0 < len(timer) <= MAX_HARTS:
            raise ValueError("a CLINT has one software and one timer line for each hart")
        self._clock, self._on_compare = clock, on_compare
        self._software, self._timer = tuple(software), tuple(timer)
        self.compare = [NEVER] * len(timer)

    def poll(self) -> int | None:
        """Bring the timer lines up to date; answers in how many ticks the next is due."""
        now = self._clock.now()
        for line, ticks in zip(self._timer, self.compare, strict=True):
            line.set(now >= ticks)
        return min((ticks - now for ticks in self.compare if now < ticks < NEVER), default=None)

    # -- as registers --------------------------------------------------------------------------

    def read(self, offset: int, size: int) -> int:
        """32 bits, or 64 of the timer's registers; other widths reach nothing."""
        if size not in (4, 8) or offset % size:
            return 0
        if offset < MTIMECMP:
            hart = offset // 4
            return int(hart < len(self._software) and self._software[hart].level)
        return _part(self._timer_register(offset), offset, size)

    def write(self, offset: int, size: int, value: int) -> None:
        if size not in (4, 8) or offset % size:
            return
        if offset < MTIMECMP:
            if offset // 4 < len(self._software):
                self._software[offset // 4].set(bool(value & 1))
            return
        value = _merge(self._timer_register(offset), offset, size, value)
        hart = (offset - MTIMECMP) // 8
        if offset >= MTIME:
            self._set_time(value)
        elif hart < len(self.compare):
            self.compare[hart] = value
            self._report_compare(hart)
            self.poll()

    def _timer_register(self, offset: int) -> int:
        if offset >= MTIME:
            return self._clock.now() if offset < MTIME + 8 else 0
        hart = (offset - MTIMECMP) // 8
        return self.compare[hart] if hart < len(self.compare) else 0

    def _report_compare(self, hart: int) -> None:
        if self._on_compare is not None:
            self._on_compare(hart, self.compare[hart])

    def _set_time(self, ticks: int) -> None:
        self._clock.set(ticks)
        self.poll()

    # -- saving --------------------------------------------------------------------------------

    def save(self) -> dict[str, State]:
        """The time itself is the clock's to save."""
        return {
            "software": [int(line.level) for line in self._software],
            "compare": list(self.compare),
        }

    def restore(self, state: dict[str, State]) -> None:
        fields = Fields(state, "the CLINT")
        levels = fields.integers("software", len(self._software), 0, 1)
        compare = fields.integers("compare", len(self.compare), 0, NEVER)
        self.compare = compare
        for hart, level in enumerate(levels):
            self._software[hart].set(bool(level))
            self._report_compare(hart)
        self.poll()


class Sswi:
    """SSWI: writing 1 to setssip of a hart calls its function once; it reads as 0 (chapter 4)."""

    def __init__(self, raise_interrupt: Sequence[Callable[[], None]]) -> None:
        self._raise = tuple(raise_interrupt)

    def read(self, offset: int, size: int) -> int:  # noqa: ARG002
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        if size == 4 and offset % 4 == 0 and value & 1 and offset // 4 < len(self._raise):
            self._raise[offset // 4]()


def _part(register: int, offset: int, size: int) -> int:
    """All of a 64-bit register or the half at `offset`."""
    return register if size == 8 else register >> 8 * (offset % 8) & WORD


def _merge(register: int, offset: int, size: int, value: int) -> int:
    """A 64-bit register of which all or the half at `offset` was written."""
    if size == 8:
        return value
    shift = 8 * (offset % 8)
    return register & ~(WORD << shift) | value << shift
