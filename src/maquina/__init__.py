"""Real computers to run code in.

A machine has virtual CPUs, memory, storage, a network and a console, boots unmodified operating
systems, and what runs in it cannot leave it. `ARCHITECTURE.md` has the map; each package's
docstring is its charter and says where to begin reading.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maquina.boards.configuration import Configuration as Configuration
    from maquina.boards.machine import Machine as Machine
    from maquina.hypervisor.recipes import Wanted as Wanted
    from maquina.hypervisor.session import Session as Session

__version__ = "0.1.0"

_EXPORTS = {
    "Configuration": "maquina.boards.configuration",
    "Machine": "maquina.boards.machine",
    "Session": "maquina.hypervisor.session",
    "Wanted": "maquina.hypervisor.recipes",
}


def __getattr__(name: str) -> object:
    """The public names, imported when they are first asked for."""
    if name not in _EXPORTS:
        raise AttributeError(f"module 'maquina' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_EXPORTS[name]), name)
