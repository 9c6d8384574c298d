"""A clock with the date: Goldfish RTC (Android emulator, "goldfish-rtc"; goldfish_rtc.c in QEMU).

Time is 64 bits of nanoseconds since 1970, in halves: reading the low one latches the high one,
and writing the low alarm half arms the alarm, so guests write the high half first.
"""

from __future__ import annotations

from maquina.machine.clock import Clock
from maquina.machine.interrupts import Line
from maquina.machine.state import Fields, State

SIZE = 0x1000
TIME_LOW, TIME_HIGH, ALARM_LOW, ALARM_HIGH = 0x00, 0x04, 0x08, 0x0C
IRQ_ENABLED, CLEAR_ALARM, ALARM_STATUS, CLEAR_INTERRUPT = 0x10, 0x14, 0x18, 0x1C
WORD, LONG = 0xFFFF_FFFF, (1 << 64) - 1


class RtcGoldfish:
    """The guest may set the time; the host's clock goes on behind it."""

    def __init__(self, clock: Clock, line: Line) -> None:
        self._clock, self._line = clock, line
        self._offset = 0  # the guest's time minus the host's
        self._latched = self._alarm = 0
        self._is_armed = self._is_pending = self._is_enabled = False

    def poll(self) -> int | None:
        """Raise the alarm if it is due; answers in how many nanoseconds it will be."""
        left = self._alarm - self._now()
        if self._is_armed and left <= 0:
            self._is_armed, self._is_pending = False, True
            self._update()
        return left if self._is_armed else None

    def _now(self) -> int:
        return (self._clock.wall_ns() + self._offset) & LONG

    def _update(self) -> None:
        self._line.set(self._is_pending and self._is_enabled)

    # -- as registers --------------------------------------------------------------------------

    def read(self, offset: int, size: int) -> int:
        if size != 4:
            return 0
        if offset == TIME_LOW:
            now = self._now()
            self._latched = now >> 32
            return now & WORD
        values = {
            TIME_HIGH: self._latched,
            ALARM_LOW: self._alarm & WORD,
            ALARM_HIGH: self._alarm >> 32,
            IRQ_ENABLED: self._is_enabled,
            ALARM_STATUS: self._is_armed,
        }
        return int(values.get(offset, 0))

    def write(self, offset: int, size: int, value: int) -> None:
        if size != 4:
            return
        if offset in (TIME_LOW, TIME_HIGH):
            now = self._now()
            self._offset += _with_half(now, offset == TIME_HIGH, value) - now
        elif offset == ALARM_HIGH:
            self._alarm = _with_half(self._alarm, True, value)
        elif offset == ALARM_LOW:
            self._alarm = _with_half(self._alarm, False, value)
            self._is_armed = True
        elif offset == IRQ_ENABLED:
            self._is_enabled = bool(value & 1)
        elif offset == CLEAR_ALARM:
            self._is_armed = False
        elif offset == CLEAR_INTERRUPT:
            self._is_pending = False
        self._update()
        self.poll()

    # -- saving --------------------------------------------------------------------------------

    def save(self) -> dict[str, State]:
        """The difference to the host's time is saved, so that a clock goes on while stopped."""
        return {
            "offset": self._offset,
            "latched": self._latched,
            "alarm": self._alarm,
            "is_armed": self._is_armed,
            "is_pending": self._is_pending,
            "is_enabled": self._is_enabled,
        }

    def restore(self, state: dict[str, State]) -> None:
        fields = Fields(state, "the RTC")
        offset = fields.integer("offset", -LONG, LONG)
        latched = fields.integer("latched", 0, WORD)
        alarm = fields.integer("alarm", 0, LONG)
        flags = [fields.flag(name) for name in ("is_armed", "is_pending", "is_enabled")]
        self._offset, self._latched, self._alarm = offset, latched, alarm
        self._is_armed, self._is_pending, self._is_enabled = flags
        self._update()
        self.poll()


def _with_half(value: int, is_high: bool, half: int) -> int:
    """`value` with one of its 32-bit halves replaced."""
    return value & WORD | half << 32 if is_high else value & ~WORD | half
