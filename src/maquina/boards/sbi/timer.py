"""TIME, the timer extension (chapter 6)."""

from __future__ import annotations

from maquina.boards.sbi.calls import DONE, Answer, Call, Extension

EXTENSION_ID = 0x54494D45
STIMECMP = 0x14D


def set_timer(call: Call) -> Answer:
    """Interrupt the caller when `time` reaches a0; all ones is never."""
    call.caller.hart.write_csr(STIMECMP, call.arguments[0])
    return DONE


FUNCTIONS: Extension = {0: set_timer}
