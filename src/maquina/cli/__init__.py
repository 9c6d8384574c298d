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

import os
import sys

INTERRUPTED = 130  # what a shell says of a command that Ctrl-C ended


def main() -> None:
    """Entry point of the command line."""
    try:
        _open_closed_streams()
        from maquina.cli.commands import maquina

        maquina()
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


def _open_closed_streams() -> None:
    """Have something behind 0, 1 and 2: a file of ours that took such a number would get what a
    command writes."""
    for fd, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
            setattr(sys, name, os.fdopen(fd, mode, closefd=False))
