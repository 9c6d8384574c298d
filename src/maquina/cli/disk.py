"""`maquina disk`: disk images, without a machine."""

from __future__ import annotations

from pathlib import Path

import click

from maquina.cli.sizes import Size
from maquina.errors import FormatError, UsageError

FILE = click.Path(dir_okay=False, path_type=Path)
MEBIBYTE = 1 << 20


@click.group(short_help="Look at, check and make disk images.")
def disk() -> None:
    """Look at, check and make disk images (raw and qcow2)."""


@disk.command()
@click.argument("image", type=FILE)
def info(image: Path) -> None:
    """Say what IMAGE is."""
    from maquina.storage.info import image_info

    found = image_info(image)
    click.echo(f"format   {found.format}")
    click.echo(f"disk     {found.size_bytes / MEBIBYTE:.1f} MiB")
    click.echo(f"on host  {found.host_bytes / MEBIBYTE:.1f} MiB")
    if found.qcow2 is not None and found.qcow2.backing_name is not None:
        click.echo(f"lies on  {found.qcow2.backing_name}")


@disk.command()
@click.option("--repair", is_flag=True, help="Mend what can be mended.")
@click.argument("image", type=FILE)
def check(repair: bool, image: Path) -> None:
    """Check the tables of a qcow2 IMAGE."""
    from maquina.storage.qcow2.check import Repair
    from maquina.storage.qcow2.check import check as check_image

    report = check_image(image, repair=Repair.ALL if repair else Repair.NOTHING)
    for message in report.messages:
        click.echo(message)
    click.echo(f"{report.errors} errors, {report.leaks} leaks, {report.repaired} repaired")
    if report.errors:
        raise FormatError(f"{image} is damaged", "run it with --repair, on a copy")


@disk.command()
@click.option("--on", "base", type=FILE, help="Show this image until it is written to.")
@click.option("--on-format", help="The format of that image.")
@click.argument("image", type=FILE)
@click.argument("size", type=Size(), required=False)
def create(base: Path | None, on_format: str | None, image: Path, size: int | None) -> None:
    """Make an empty qcow2 IMAGE of SIZE, or an overlay."""
    from maquina.storage.formats import create_overlay
    from maquina.storage.qcow2.create import create as create_image

    if base is not None:
        create_overlay(base, image, base_format=on_format, size_bytes=size)
    elif size is None:
        raise UsageError("an image of no size", "give a SIZE such as 10G, or --on IMAGE")
    else:
        create_image(image, size)
