"""Trap: the one exception of native code."""

from __future__ import annotations

from maquina.jit.words import u64


class Trap(Exception):
    """What native code raises and catches. Natively: two more registers beside the result.

    `cause` and `value` mean what the processor at hand says they mean. The largest cause,
    2**64 - 1, is reserved: natively the register holds cause + 1, and 0 for no trap.
    """

    def __init__(self, cause: u64, value: u64) -> None:
        super().__init__(cause, value)
        self.cause, self.value = cause, value
