"""The device status, a state machine (virtio 1.3, sections 2.1 and 3.1.1).

Theory of operation. The driver only ever adds bits, in one order, and each bit it adds is a
request to enter the next stage. The value of a stage is the status byte that a driver reads there.

    RESET ─ACKNOWLEDGE→ ACKNOWLEDGED ─DRIVER→ DRIVEN ─FEATURES_OK→ NEGOTIATED ─DRIVER_OK→ LIVE
      ↑                                                                                     │
      └───────────────── writing 0, from anywhere and always ───────────────────────────────┘

FEATURES_OK is granted only if the device can serve the driver's features; the driver reads the
byte back to find out. Until NEGOTIATED no queue can be enabled, until LIVE no queue is served.

Two more bits lie across the stages and end only in a reset: the driver gives up with FAILED, and
the device asks for a reset with NEEDS_RESET; with either of them nothing is served and no stage
is entered. A write that takes a bit back, leaves one out or adds one too early is no request at
all (2.1.1: "the driver MUST NOT"), and changes nothing from that bit on. A driver may add several
bits at once, as small drivers do: they are taken in the order above. DRIVER says ACKNOWLEDGE too:
U-Boot resets a device that it has acknowledged, and goes on with DRIVER.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag


class Bit(IntFlag):
    """Of the status byte."""

    ACKNOWLEDGE = 1
    DRIVER = 2
    DRIVER_OK = 4
    FEATURES_OK = 8
    NEEDS_RESET = 64
    FAILED = 128


class Stage(IntEnum):
    """How far initialisation has come."""

    RESET = 0
    ACKNOWLEDGED = Bit.ACKNOWLEDGE
    DRIVEN = Bit.ACKNOWLEDGE | Bit.DRIVER
    NEGOTIATED = Bit.ACKNOWLEDGE | Bit.DRIVER | Bit.FEATURES_OK
    LIVE = Bit.ACKNOWLEDGE | Bit.DRIVER | Bit.FEATURES_OK | Bit.DRIVER_OK


STEPS: dict[Stage, tuple[Bit, Stage]] = {
    Stage.RESET: (Bit.ACKNOWLEDGE, Stage.ACKNOWLEDGED),
    Stage.ACKNOWLEDGED: (Bit.DRIVER, Stage.DRIVEN),
    Stage.DRIVEN: (Bit.FEATURES_OK, Stage.NEGOTIATED),
    Stage.NEGOTIATED: (Bit.DRIVER_OK, Stage.LIVE),
}


def stages_requested(stage: Stage, written: int) -> list[Stage]:
    """The stages that a write asks to enter, one after another; none if it takes a bit back."""
    if written & Bit.DRIVER:
        written |= Bit.ACKNOWLEDGE
    if stage & ~written:
        return []
    requested = []
    while stage in STEPS:
        bit, following = STEPS[stage]
        if not written & bit:
            break
        requested.append(following)
        stage = following
    return requested
