"""The power switch of RISC-V boards: SiFive's test device, "sifive,test1" (sifive_test.c in QEMU).

One register: the low half of what is written is a command, the high half an exit status. OpenSBI
uses it, and Linux by way of `syscon-poweroff` and `syscon-reboot`.
"""

from __future__ import annotations

from collections.abc import Callable

SIZE = 0x1000
FAIL, PASS, RESET = 0x3333, 0x5555, 0x7777


class TestFinisher:
    """Calls `power_off` with the exit status that the guest chose, or `reset`."""

    __test__ = False  # not a test, whatever pytest makes of the name

    def __init__(self, power_off: Callable[[int], None], reset: Callable[[], None]) -> None:
        self._power_off, self._reset = power_off, reset

    def read(self, offset: int, size: int) -> int:  # noqa: ARG002
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        if offset != 0 or size < 2:
            return
        command, status = value & 0xFFFF, value >> 16 & 0xFFFF
        if command == PASS:
            self._power_off(0)
        elif command == FAIL:
            self._power_off(status)
        elif command == RESET:
            self._reset()
