"""`maquina images`: what is in the cache."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from maquina.images.cache import Entry

DAY_S = 86_400
MEBIBYTE = 1 << 20
ADDED_UP = ("packages", "indexes")


@click.command(short_help="List what is in the cache, or remove what is not used.")
@click.option("--prune", is_flag=True, help="Remove what no machine uses now.")
@click.option(
    "--days",
    type=click.FloatRange(min=0),
    default=0,
    help="With --prune: and nobody asked for so long.",
)
def images(prune: bool, days: float) -> None:
    """List the kinds of things in the cache, their sizes, and when they were last asked for."""
    from maquina.images.cache import Cache

    cache = Cache.of_user()
    if prune:
        click.echo(f"freed {cache.prune(days * DAY_S) / MEBIBYTE:.0f} MiB")
        return
    for size, age, what in _lines(cache.entries()):
        click.echo(f"{size / MEBIBYTE:8.1f} MiB  {age / DAY_S:5.1f} days ago  {what}")
    click.echo(f"in {cache.root}")


def _lines(entries: Sequence[Entry]) -> Iterator[tuple[int, float, str]]:
    """Size, age in seconds and name; what comes in great numbers is added up."""
    now = time.time()
    for entry in entries:
        if entry.kind not in ADDED_UP:
            yield entry.size_bytes, now - entry.used_at, f"{entry.kind}/{entry.name}"
    for kind in ADDED_UP:
        some = [entry for entry in entries if entry.kind == kind]
        if some:
            latest = max(entry.used_at for entry in some)
            size = sum(entry.size_bytes for entry in some)
            yield size, now - latest, f"{kind} ({len(some)})"
