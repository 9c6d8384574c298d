"""The list of commands, each imported when it is needed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

import click

import maquina as package
from maquina.errors import MaquinaError, UsageError

COMMANDS = ("run", "pull", "images", "disk", "doctor")
TROUBLE, TROUBLE_OF_RUN, USAGE = 1, 125, 2


class Commands(click.Group):
    """Finds commands in modules of their names, and says errors in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(
            importlib.import_module(f"maquina.cli.{cmd_name}"), cmd_name
        )
        return command

    def main(self, args: Sequence[str] | None = None, **extra: Any) -> Any:  # type: ignore[override]
        """Run a command; never a traceback for what a user or the host got wrong."""
        words = list(sys.argv[1:] if args is None else args)
        try:
            return super().main(words, **extra)
        except MaquinaError as error:
            click.echo(f"maquina: {error}", err=True)
            raise SystemExit(_status(error, words)) from None
        except BrokenPipeError:
            raise SystemExit(TROUBLE) from None


def _status(error: MaquinaError, words: Sequence[str]) -> int:
    if isinstance(error, UsageError):
        return USAGE
    return TROUBLE_OF_RUN if words[:1] == ["run"] else TROUBLE


@click.command(cls=Commands)
@click.version_option(package.__version__, message="%(version)s")
def maquina() -> None:
    """Real computers to run code in: a Linux prompt, or one command, in a machine of its own."""
