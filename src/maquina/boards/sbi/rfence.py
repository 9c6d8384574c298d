"""RFNC, fences on other harts (chapter 8)."""

from __future__ import annotations

from collections.abc import Callable

from maquina.bits import mask
from maquina.boards.sbi.calls import DONE, INVALID, Answer, Call, Extension, Hart

EXTENSION_ID = 0x52464E43
EVERYTHING = mask(64)


def fence_i(call: Call) -> Answer:
    """FENCE.I on the harts in a0, a1."""
    return _everywhere(call, lambda hart: hart.fence_i())


def sfence_vma(call: Call) -> Answer:
    """SFENCE.VMA for the a3 bytes at a2, or for everything, in all address spaces."""
    return _sfence(call, None)


def sfence_vma_asid(call: Call) -> Answer:
    """The same, in the address space a4 only."""
    return _sfence(call, call.arguments[4])


def _sfence(call: Call, asid: int | None) -> Answer:
    start, size = call.arguments[2], call.arguments[3]
    if size == EVERYTHING or start == size == 0:
        return _everywhere(call, lambda hart: hart.flush_tlb(None, None, asid))
    if start + size > 1 << 64:
        return INVALID
    return _everywhere(call, lambda hart: hart.flush_tlb(start, size, asid))


def _everywhere(call: Call, action: Callable[[Hart], None]) -> Answer:
    targets = call.harts(call.arguments[0], call.arguments[1])
    if targets is None:
        return INVALID
    call.platform.on_harts(call.caller, targets, action)
    return DONE


FUNCTIONS: Extension = {0: fence_i, 1: sfence_vma, 2: sfence_vma_asid}
