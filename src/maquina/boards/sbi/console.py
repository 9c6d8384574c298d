"""DBCN, the debug console (chapter 12): the board's UART, driven by polling as firmware does."""

from __future__ import annotations

from maquina.boards.addresses import UART
from maquina.boards.sbi.calls import DONE, INVALID, Answer, Call, Extension, Platform, value
from maquina.errors import GuestFault

EXTENSION_ID = 0x4442434E
MAX_BYTES = 4096  # a call for 2^64 bytes must come back; callers repeat short writes (12.1)
DATA, LINE_STATUS = 0, 5  # 16550 registers
DATA_READY = 1


def put(platform: Platform, character: int) -> None:
    """Send one byte through the UART, whose transmitter is always ready."""
    platform.bus.write(UART.base + DATA, 1, character)


def get(platform: Platform) -> int | None:
    """A byte that the UART has received, if there is one."""
    if not (platform.bus.read(UART.base + LINE_STATUS, 1) or 0) & DATA_READY:
        return None
    return platform.bus.read(UART.base + DATA, 1)


def console_write(call: Call) -> Answer:
    """Write a0 bytes at address a1; answers how many it took."""
    length = min(call.arguments[0], MAX_BYTES)
    try:
        data = call.platform.memory.read(_address(call), length)
    except GuestFault:
        return INVALID
    for character in data:
        put(call.platform, character)
    return value(len(data))


def console_read(call: Call) -> Answer:
    """Read at most a0 bytes to address a1; answers how many there were."""
    length = min(call.arguments[0], MAX_BYTES)
    received = bytearray()
    try:
        call.platform.memory.view(_address(call), length)
    except GuestFault:
        return INVALID
    while len(received) < length and (character := get(call.platform)) is not None:
        received.append(character)
    call.platform.memory.write(_address(call), received)
    return value(len(received))


def console_write_byte(call: Call) -> Answer:
    """Write the byte in a0."""
    put(call.platform, call.arguments[0] & 0xFF)
    return DONE


def _address(call: Call) -> int:
    return call.arguments[1] | call.arguments[2] << 64


FUNCTIONS: Extension = {0: console_write, 1: console_read, 2: console_write_byte}
