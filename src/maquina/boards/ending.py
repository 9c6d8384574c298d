"""How a machine's run ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class How(Enum):
    """How a machine's run ended."""

    POWER_OFF = "the guest switched it off"
    RESET = "the guest asked for a reset"
    STOPPED = "it was stopped from outside"
    FAILED = "an error in the machine itself"


@dataclass(frozen=True)
class Ending:
    """How it ended, the guest's exit status, and the error if that was it."""

    how: How
    status: int = 0
    error: Exception | None = None
