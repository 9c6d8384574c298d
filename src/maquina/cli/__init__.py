"""The `maquina` command: one file per subcommand, thin.

Reading order: `commands` (the list), `sizes`, `signals` and `terminal` (what several need),
`run` (from options to what is wanted) and `attended` (a machine with a person, or pipes), then
any other command.
Command modules import nothing heavy before they run: `maquina --help` must be quick.

Exit statuses: 2 for a command line that makes no sense; `run` passes on the status of what ran in
the machine, and has 125 for trouble of its own, 124 when the time is over, 128 and the signal when
it was stopped by one; other commands have 1 for trouble.
"""

from __future__ import annotations


def main() -> None:
    """Entry point of the command line."""
    from maquina.cli.commands import maquina

    maquina()
