"""`maquina pull`: have an image in the cache before it is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(short_help="Download an image, or what is new of it.")
@click.option("--suite", help="Debian release  [default: trixie].")
@click.option("--package", "packages", multiple=True, help="Add a Debian package.")
@click.option("--guest-kernel", default="small", show_default=True, help="small, or a suite.")
@click.option("--mirror", help="A Debian mirror  [default: as apt has it].")
@click.option(
    "--keyring", type=click.Path(dir_okay=False, path_type=Path), help="Keys to believe."
)
@click.option(
    "--prepare/--no-prepare",
    default=True,
    envvar="MAQUINA_PREPARE",
    show_envvar=True,
    help="Configure added packages and compile Python's library in it.",
)
@click.argument("image", type=click.Choice(["debian"]))
def pull(image: str, **options: Any) -> None:  # noqa: ARG001  there is one
    """Download IMAGE, asking its mirror for what is new, and prepare it."""
    from maquina.hypervisor.preparing import prepare
    from maquina.images import debian, on_terminal

    with on_terminal() as progress:
        guest = debian(
            options["suite"],
            options["packages"],
            options["guest_kernel"],
            options["mirror"],
            options["keyring"],
            progress,
            refresh=True,
        )
        if options["prepare"]:
            guest = prepare(guest, progress, again=True)
    click.echo(f"{guest.name}, Linux {guest.kernel.version}")
