"""BASE, what this SBI is and what it has (chapter 4)."""

from __future__ import annotations

from collections.abc import Container

from maquina.boards.sbi.calls import Extension, value

EXTENSION_ID = 0x10
SPECIFICATION = 2 << 24  # 2.0
IMPLEMENTATION = 0x4D51  # not one of the registered numbers (table 4)
IMPLEMENTATION_VERSION = 1


def functions(known: Container[int]) -> Extension:
    """The table, for an SBI that has the extensions in `known`."""
    return {
        0: lambda _: value(SPECIFICATION),
        1: lambda _: value(IMPLEMENTATION),
        2: lambda _: value(IMPLEMENTATION_VERSION),
        3: lambda call: value(int(call.arguments[0] in known)),
        4: lambda _: value(0),  # mvendorid, marchid, mimpid: not implemented
        5: lambda _: value(0),
        6: lambda _: value(0),
    }
