"""What Python calls in native code: by name, as machine code or as the reference.

Nothing of the interpreter is imported before it is needed: machine code that is in the cache is
linked by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from maquina.jit import Native, Program, u64

Accel = Literal["interp", "reference"]
HANDLERS = ("decode", "go_on")
"""Reached by jumps only."""


@cache
def functions() -> Mapping[str, Native[..., Any]]:
    """The functions themselves."""
    from maquina.cpu.riscv import code, csr, dispatch, interpreter, traps, views

    return {
        "run": interpreter.run,
        "post": interpreter.post,
        "ask": interpreter.ask,
        "note_write": code.note_write,
        "catch_up": code.catch_up,
        "read_csr": csr.read_csr,
        "write_csr": csr.write_csr,
        "pending_interrupts": traps.pending_interrupts,
        "forget_views": views.forget_views,
        "forget_address_space": views.forget_address_space,
        "forget_page": views.forget_page,
        "decode": interpreter.decode,
        "go_on": dispatch.go_on,
    }


@cache
def program() -> Program:
    """The interpreter as machine code, shared by all harts of the process."""
    return Program(Path(__file__).parent.glob("*.py"), functions)


def call(name: str, accel: Accel) -> Callable[..., Any]:
    """One of the functions, on integers."""
    if accel == "interp":
        return program().entry(name)
    function = functions()[name]
    kinds = list(function.parameters.values())

    def run(*arguments: int) -> Any:
        words = [
            u64(a) if k is u64 else k.at(u64(a)) for a, k in zip(arguments, kinds, strict=True)
        ]
        result = function(*words)
        return None if result is None else int(result)

    return run


def handler(name: str, accel: Accel) -> u64:
    """What a record holds to have one of the HANDLERS run."""
    if accel == "interp":
        return u64(program().address(name))
    return functions()[name].stand_in
