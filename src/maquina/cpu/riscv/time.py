"""What time a hart reads: ticks of 100 ns, from the host's clock or from the instruction count."""

from __future__ import annotations

from maquina.cpu.riscv.state import HartState
from maquina.jit import Ptr, call_address, native, s32, u64

NANOSECONDS_PER_TICK = 100
CLOCK_MONOTONIC = 1
INSTRUCTIONS_PER_TICK = 100
"""Of a hart whose time is its instruction count: as if it ran at 1 GHz, one per cycle. Traps take
time too; that they count keeps time from going back when a slice ends."""


@native(external=True)
def clock_gettime(clock: s32, result: Ptr[u64]) -> s32:  # type: ignore[empty-body]
    """The C library's function."""


@native
def read_time(hart: HartState) -> u64:
    """The time CSR."""
    if hart.counts_time != 0:
        return (hart.spent + u64(hart.slice - hart.budget)) // INSTRUCTIONS_PER_TICK
    call_address(
        clock_gettime, hart.clock_gettime, s32(CLOCK_MONOTONIC), Ptr[u64](hart.clock.address)
    )
    now = hart.clock[0] * 1_000_000_000 + hart.clock[1]
    return (now - hart.clock_origin) // NANOSECONDS_PER_TICK
