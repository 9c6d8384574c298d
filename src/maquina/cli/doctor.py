"""`maquina doctor`: what this host has, and what would stop a machine."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path

import click

from maquina.errors import MaquinaError

GIBIBYTE = 1 << 30
ENOUGH_MEMORY, ENOUGH_DISK = 2 * GIBIBYTE, 1 * GIBIBYTE
KEYRINGS = (Path("/usr/share/keyrings"), Path("/etc/apt/trusted.gpg.d"))


class Lacking(Exception):
    """What the host lacks, and what to do."""


def _memory() -> str:
    from maquina.boards.configuration import host_memory_bytes

    total = host_memory_bytes()
    text = f"{total / GIBIBYTE:.1f} GiB for this process, {os.cpu_count()} processors"
    if total < ENOUGH_MEMORY:
        raise Lacking(f"{text}: ask for machines with less than --memory 1G")
    return text


def _processor() -> str:
    from maquina.jit.link import host

    llvmlite_version, *_, name, _features = host().split(" ")
    if platform.machine() != "x86_64":
        raise Lacking(
            f"{platform.machine()}: compiled code is for x86-64 so far; use --accel reference"
        )
    return f"{name}, llvmlite {llvmlite_version}"


def _cache() -> str:
    from maquina.images.cache import Cache

    return _room(Cache.of_user().root)


def _state() -> str:
    from maquina.hypervisor.recipes import state_directory

    return _room(state_directory())


def _room(directory: Path) -> str:
    present = next(path for path in (directory, *directory.parents) if path.exists())
    free = shutil.disk_usage(present).free
    if not os.access(present, os.W_OK):
        raise Lacking(f"{directory} cannot be written: set XDG_CACHE_HOME and XDG_STATE_HOME")
    text = f"{directory}, {free / GIBIBYTE:.1f} GiB free"
    if free < ENOUGH_DISK:
        raise Lacking(f"{text}: make room")
    return text


def _mirror() -> str:
    from maquina.images.sources import read_configuration, without_credentials

    mirrors = read_configuration().mirrors()
    if not mirrors:
        raise Lacking("apt names none: give --mirror")
    return without_credentials(mirrors[0])


def _keys() -> str:
    found = [path for folder in KEYRINGS for path in folder.glob("debian-archive*")]
    if not found:
        raise Lacking("Debian's keys are not here: give --keyring")
    return str(found[0].parent)


CHECKS: dict[str, Callable[[], str]] = {
    "memory": _memory,
    "processor": _processor,
    "cache": _cache,
    "state": _state,
    "mirror": _mirror,
    "keys": _keys,
}


@click.command(short_help="Say what this host has, and what it lacks.")
def doctor() -> None:
    """Look at what a machine needs of this host. The status is 1 if something is missing."""
    is_well = True
    for name, look in CHECKS.items():
        try:
            click.echo(f"ok       {name:10} {look()}")
        except (Lacking, MaquinaError) as finding:
            is_well = False
            click.echo(f"lacking  {name:10} {finding}")
    raise SystemExit(0 if is_well else 1)
