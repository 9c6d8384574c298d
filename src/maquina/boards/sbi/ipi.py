"""sPI, interrupts to other harts (chapter 7)."""

from __future__ import annotations

from maquina.boards.sbi.calls import DONE, INVALID, Answer, Call, Extension

EXTENSION_ID = 0x735049
SSIP = 1


def send_ipi(call: Call) -> Answer:
    """Raise the supervisor software interrupt of the harts in a0, a1."""
    targets = call.harts(call.arguments[0], call.arguments[1])
    if targets is None:
        return INVALID
    for target in targets:
        target.hart.set_interrupt(SSIP, True)
    return DONE


FUNCTIONS: Extension = {0: send_ipi}
