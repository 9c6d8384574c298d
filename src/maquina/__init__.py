"""Real computers to run code in.

A machine has virtual CPUs, memory, storage, a network and a console, boots unmodified operating
systems, and what runs in it cannot leave it. `ARCHITECTURE.md` has the map; each package's
docstring is its charter and says where to begin reading.

The names below are loaded when they are first used, so that importing a part stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maquina.boards.configuration import Configuration
    from maquina.boards.machine import Machine
    from maquina.hypervisor.preparing import prepare
    from maquina.hypervisor.recipes import Wanted
    from maquina.hypervisor.session import Session
    from maquina.images.catalog import debian

__version__ = "0.1.0"
__all__ = ["Configuration", "Machine", "Session", "Wanted", "debian", "prepare"]

_HOMES = {
    "Configuration": "maquina.boards.configuration",
    "Machine": "maquina.boards.machine",
    "Session": "maquina.hypervisor.session",
    "Wanted": "maquina.hypervisor.recipes",
    "debian": "maquina.images.catalog",
    "prepare": "maquina.hypervisor.preparing",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
