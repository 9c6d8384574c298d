"""HSM, hart state management (chapter 9): starting, stopping and suspending harts."""

from __future__ import annotations

from maquina.boards.sbi.calls import (
    DONE,
    INVALID,
    Answer,
    Call,
    Error,
    Extension,
    PowerState,
    value,
)

EXTENSION_ID = 0x48534D
RETENTIVE, NON_RETENTIVE = 0x0000_0000, 0x8000_0000  # the default suspend types (table 10)


def hart_start(call: Call) -> Answer:
    """Start hart a0 in S-mode at a1 with a2 in its a1."""
    hart_id, address, opaque = call.arguments[:3]
    processors = call.platform.processors
    if hart_id >= len(processors):
        return INVALID
    if address not in call.platform.memory:
        return Error.INVALID_ADDRESS, 0
    if processors[hart_id].power is not PowerState.STOPPED:
        return Error.ALREADY_AVAILABLE, 0
    processors[hart_id].enter(address, opaque)
    return DONE


def hart_stop(call: Call) -> Answer:
    """Stop the caller; only hart_start brings it back."""
    call.caller.halt()
    return None


def hart_get_status(call: Call) -> Answer:
    """The state of hart a0."""
    if call.arguments[0] >= len(call.platform.processors):
        return INVALID
    return value(call.platform.processors[call.arguments[0]].power)


def hart_suspend(call: Call) -> Answer:
    """Suspend the caller until an interrupt; state is kept, or it resumes at a1 with a2."""
    kind, address, opaque = call.arguments[:3]
    if kind & 0xFFFF_FFFF == RETENTIVE:
        call.caller.suspend()
        return DONE
    if kind & 0xFFFF_FFFF != NON_RETENTIVE:
        return INVALID
    if address not in call.platform.memory:
        return Error.INVALID_ADDRESS, 0
    call.caller.suspend()
    call.caller.enter(address, opaque)
    return None


FUNCTIONS: Extension = {0: hart_start, 1: hart_stop, 2: hart_get_status, 3: hart_suspend}
