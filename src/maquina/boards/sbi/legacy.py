"""The functions of SBI 0.1 that small kernels still use (chapter 5): timer, console, shutdown.

Each is an extension of its own, whatever a6 holds, and answers in a0 alone.
"""

from __future__ import annotations

from collections.abc import Callable

from maquina.boards.sbi import console, timer
from maquina.boards.sbi.calls import Call


def set_timer(call: Call) -> int:
    """Interrupt the caller when `time` reaches a0."""
    timer.set_timer(call)
    return 0


def console_putchar(call: Call) -> int:
    """Write the byte in a0."""
    console.put(call.platform, call.arguments[0] & 0xFF)
    return 0


def console_getchar(call: Call) -> int:
    """A byte that has arrived, or -1."""
    character = console.get(call.platform)
    return -1 if character is None else character


def shutdown(call: Call) -> int:
    """Power off."""
    call.platform.power_off(0)
    return 0


FUNCTIONS: dict[int, Callable[[Call], int]] = {
    0: set_timer,
    1: console_putchar,
    2: console_getchar,
    8: shutdown,
}
