"""Real computers to run code in.

A machine has virtual CPUs, memory, storage, a network and a console, boots unmodified operating
systems, and what runs in it cannot leave it. `ARCHITECTURE.md` has the map; each package's
docstring is its charter and says where to begin reading.
"""

from __future__ import annotations

__version__ = "0.1.0"
