"""`python -m maquina` is the `maquina` command."""

from __future__ import annotations

from maquina.cli import main

main()
