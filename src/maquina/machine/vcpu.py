"""What a processor is to the rest of a machine."""

from __future__ import annotations

from enum import Enum
from typing import Protocol


class Exit(Enum):
    """Why a vCPU came back from `run`."""

    LIMIT = "the instruction limit was reached"
    IDLE = "it waits for an interrupt"
    CALL = "it asks the board for a service (an SBI call)"
    STOPPED = "somebody called stop"


class Vcpu(Protocol):
    """A virtual processor, run by one thread at a time."""

    def run(self, limit: int) -> Exit:
        """Execute until an exit, at most `limit` instructions."""
        ...

    def stop(self) -> None:
        """Make `run` return soon. Any thread may call it."""
        ...
