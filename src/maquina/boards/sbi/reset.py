"""SRST, system reset (chapter 10)."""

from __future__ import annotations

from maquina.boards.sbi.calls import INVALID, Answer, Call, Extension

EXTENSION_ID = 0x53525354
SHUTDOWN, COLD_REBOOT, WARM_REBOOT = range(3)
NO_REASON, SYSTEM_FAILURE = range(2)


def system_reset(call: Call) -> Answer:
    """Power off or start again (a0); the machine's exit status tells a failure (a1)."""
    kind, reason = (argument & 0xFFFF_FFFF for argument in call.arguments[:2])
    if kind > WARM_REBOOT or reason > SYSTEM_FAILURE:
        return INVALID
    if kind == SHUTDOWN:
        call.platform.power_off(1 if reason == SYSTEM_FAILURE else 0)
    else:
        call.platform.reset()
    return None


FUNCTIONS: Extension = {0: system_reset}
