"""The `maquina` command: one file per subcommand, thin."""

from __future__ import annotations


def main() -> None:
    """Entry point of the command line."""
    raise SystemExit("maquina: no commands yet")
