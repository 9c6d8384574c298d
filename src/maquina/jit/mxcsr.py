"""The floating-point environment of an x86-64 host: the register MXCSR.

Its flags stay raised until they are lowered; its masks keep exceptions from becoming signals.
(Intel SDM, volume 1, section 10.2.3.)
"""

from __future__ import annotations

from maquina.jit.native import native
from maquina.jit.words import u32

FLAGS = 0x3F  # with the one for subnormal operands, which IEEE 754 does not know
ALL_MASKED = u32(0x1F80)
ROUNDING_BIT = 13
ROUNDING = 3 << ROUNDING_BIT

TO_HOST = u32(0b10_01_11_00)
"""MXCSR's number for each rounding direction of `fenv`, two bits each."""
FROM_HOST = u32(0b01_11_10_00)
"""The direction for each number of MXCSR."""


def read_mxcsr() -> u32:
    """The register. Only machine code has one: in CPython `fenv` is the environment."""
    raise TypeError("MXCSR is read by machine code only")


def write_mxcsr(value: u32) -> None:
    """Change the register; bits that the host does not have must be 0."""
    raise TypeError(f"MXCSR is written, here with {value!r}, by machine code only")


@native(inline=True)
def get_flags() -> u32:
    raised = read_mxcsr()
    high = (raised & 1) << 4 | (raised & 4) << 1 | raised >> 1 & 4
    return high | raised >> 3 & 2 | raised >> 5 & 1


@native(inline=True)
def host_flags(flags: u32) -> u32:
    low = (flags & 1) << 5 | (flags & 2) << 3 | (flags & 4) << 1
    return low | flags >> 1 & 4 | flags >> 4 & 1


@native(inline=True)
def set_flags(flags: u32) -> None:
    write_mxcsr(read_mxcsr() & ~u32(FLAGS) | host_flags(flags))


@native(inline=True)
def raise_flags(flags: u32) -> None:
    write_mxcsr(read_mxcsr() | host_flags(flags))


@native(inline=True)
def get_rounding() -> u32:
    return FROM_HOST >> (read_mxcsr() >> (ROUNDING_BIT - 1) & 6) & 3


@native(inline=True)
def host_rounding(rounding: u32) -> u32:
    return (TO_HOST >> (rounding << 1 & 6) & 3) << ROUNDING_BIT


@native(inline=True)
def set_rounding(rounding: u32) -> None:
    write_mxcsr(read_mxcsr() & ~u32(ROUNDING) | host_rounding(rounding))


@native(inline=True)
def enter_environment(rounding: u32) -> u32:
    previous = read_mxcsr()
    write_mxcsr(ALL_MASKED | host_rounding(rounding))
    return previous


@native(inline=True)
def leave_environment(previous: u32) -> None:
    write_mxcsr(previous)
