"""The floating-point environment of a thread: five flags that stay raised, and how to round.

Natively this is a control register of the host (see `mxcsr`), so flags cost nothing until they
are read. The bodies below are the reference: an environment per thread, in Python.

Code that computes with floats brackets itself with `enter_environment` and `leave_environment`:
the process around it may have any rounding mode, and may flush subnormal numbers to zero (a
shared library built with -ffast-math switches that on for the whole thread).
"""

from __future__ import annotations

import threading

from maquina.jit.words import u32

INEXACT, UNDERFLOW, OVERFLOW, DIVIDE_BY_ZERO, INVALID = (u32(1 << n) for n in range(5))
"""The exceptions of IEEE 754, section 7, as flags: numbered as RISC-V and its manual do."""
ALL_FLAGS = u32(31)

TO_NEAREST, TOWARD_ZERO, DOWN, UP, TO_NEAREST_AWAY = (u32(n) for n in range(5))
"""The rounding directions of IEEE 754, section 4.3. `TO_NEAREST` breaks ties to even. Hosts lack
`TO_NEAREST_AWAY`, which breaks them away from zero: no environment has it, `softfloat` does."""


class _Environment(threading.local):
    def __init__(self) -> None:
        self.flags = 0
        self.rounding = TO_NEAREST.value


_environment = _Environment()


def get_flags() -> u32:
    """The flags that are raised."""
    return u32(_environment.flags)


def set_flags(flags: u32) -> None:
    """Raise these flags and lower all others."""
    _environment.flags = flags.value & ALL_FLAGS.value


def raise_flags(flags: u32) -> None:
    """Raise these flags and leave the others as they are."""
    _environment.flags |= flags.value & ALL_FLAGS.value


def get_rounding() -> u32:
    """How results are rounded: `TO_NEAREST`, `TOWARD_ZERO`, `DOWN` or `UP`."""
    return u32(_environment.rounding)


def set_rounding(rounding: u32) -> None:
    """Round results so from now on. Undefined natively (ValueError here) but for the four."""
    if rounding > UP:
        raise ValueError(f"no host rounds as {rounding!r} says")
    _environment.rounding = rounding.value


def enter_environment(rounding: u32) -> u32:
    """Begin with no flags and this rounding; the word that `leave_environment` needs."""
    previous = u32(_environment.rounding << 8 | _environment.flags)
    _environment.flags = 0
    set_rounding(rounding)
    return previous


def leave_environment(previous: u32) -> None:
    """Go back to the environment that `enter_environment` found."""
    _environment.flags = previous.value & ALL_FLAGS.value
    _environment.rounding = previous.value >> 8
