"""Running a session with the person, or the pipes, that this process has."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from maquina.errors import HostError, MaquinaError

if TYPE_CHECKING:
    from maquina.guest.agent import Command
    from maquina.hypervisor.session import Session

STDIN, STDOUT, STDERR = 0, 1, 2
TIMED_OUT, INTERRUPTED = 124, 130
INTERRUPT_GRACE_S = 10.0  # for a command to end after Ctrl-C, before its machine is switched off


def run_command(
    session: Session, argv: Sequence[str], variables: dict[str, str], timeout_s: float | None
) -> int:
    """Run a command on our own streams.

    Ctrl-C interrupts it; a second one, or none that helps, ends it all.
    """
    command = session.start_command(argv, (_usable_stdin(), STDOUT, STDERR), variables)
    try:
        status = session.wait(command, timeout_s)
    except KeyboardInterrupt:
        _interrupt(session, command)
        return INTERRUPTED
    if status is None:
        return _time_out(session, command)
    if session.output_error is not None:
        reason = session.output_error.strerror
        raise HostError(f"cannot write the command's output: {reason}", "see where it goes")
    return status


def _time_out(session: Session, command: Command) -> int:
    session.abort()
    if command.pid is None:
        words = session.log.last_lines() or " nothing"
        click.echo(f"maquina: the guest did not come up in time; it said:{words}", err=True)
    return TIMED_OUT


def _interrupt(session: Session, command: Command) -> None:
    command.signal("INT")
    try:
        if command.pid is not None and session.wait(command, INTERRUPT_GRACE_S) is not None:
            return
    except KeyboardInterrupt:
        pass
    session.abort()


def _usable_stdin() -> int | None:
    """Standard input, unless it is a terminal that somebody else reads."""
    is_ours = not os.isatty(STDIN) or os.tcgetpgrp(STDIN) == os.getpgrp()
    return STDIN if is_ours else None


def run_on_terminal(
    session: Session, argv: Sequence[str], variables: dict[str, str], timeout_s: float | None
) -> int:
    """Run a command, or a login shell, on our terminal."""
    with _Terminal(session) as leaving:
        variables = {"TERM": os.environ.get("TERM", "dumb"), **variables}
        command = session.start_terminal(argv, (STDIN, STDOUT), variables, leaving.escapes)
        try:
            status = session.wait(command, timeout_s)
        except MaquinaError:
            if leaving.has_left:
                return 0
            raise
    return _time_out(session, command) if status is None else status


def run_bare(session: Session, timeout_s: float | None) -> int:
    """A system whose serial port is this terminal, or standard input and output."""
    with _Terminal(session) as leaving:
        session.start_bare((_usable_stdin(), STDOUT), leaving.escapes)
        status = session.wait_bare(timeout_s)
    if status is None:
        session.abort()
        return TIMED_OUT
    return status


class _Terminal(ExitStack):
    """Raw mode and the window's size, where standard input is a terminal."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.has_left = False
        self.escapes = None
        self._session = session
        if os.isatty(STDIN):
            from maquina.cli.terminal import Escapes, raw

            self.escapes = Escapes(self._leave)
            self.enter_context(raw(STDIN))
            before = signal.signal(signal.SIGWINCH, lambda *_: self._resize())
            self.callback(signal.signal, signal.SIGWINCH, before)
            self._resize()

    def _leave(self) -> None:
        self.has_left = True
        self._session.abort()

    def _resize(self) -> None:
        from maquina.cli.terminal import size_of

        self._session.resize(*size_of(STDIN))
