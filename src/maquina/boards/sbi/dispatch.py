"""From an `ecall` to the function that answers it."""

from __future__ import annotations

from maquina.bits import mask
from maquina.boards.sbi import base, console, hsm, ipi, legacy, reset, rfence, timer
from maquina.boards.sbi.calls import Call, Error, Extension, Platform, Processor

A0, A1, A6, A7 = 10, 11, 16, 17

EXTENSIONS: dict[int, Extension] = {
    timer.EXTENSION_ID: timer.FUNCTIONS,
    ipi.EXTENSION_ID: ipi.FUNCTIONS,
    rfence.EXTENSION_ID: rfence.FUNCTIONS,
    hsm.EXTENSION_ID: hsm.FUNCTIONS,
    reset.EXTENSION_ID: reset.FUNCTIONS,
    console.EXTENSION_ID: console.FUNCTIONS,
}
EXTENSIONS[base.EXTENSION_ID] = base.functions({base.EXTENSION_ID, *EXTENSIONS, *legacy.FUNCTIONS})


def answer(platform: Platform, caller: Processor) -> None:
    """Serve the call that `caller` has just made; its pc is already behind the `ecall`."""
    registers = caller.hart.x
    call = Call(platform, caller, [registers[A0 + index] for index in range(6)])
    extension = registers[A7]
    if extension in legacy.FUNCTIONS:
        registers[A0] = legacy.FUNCTIONS[extension](call) & mask(64)
        return
    function = EXTENSIONS.get(extension, {}).get(registers[A6])
    result = (Error.NOT_SUPPORTED, 0) if function is None else function(call)
    if result is not None:
        registers[A0] = result[0] & mask(64)
        registers[A1] = result[1]
