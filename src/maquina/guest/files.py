"""What a guest must have on its disk: one directory with three files."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from maquina.errors import ImageError

DIRECTORY = ".maquina"
INIT = f"/{DIRECTORY}/init"
BOOT_WORDS = f"init={INIT} devtmpfs.mount=1"
"""For the kernel's command line."""


@dataclass(frozen=True)
class File:
    """A file to be: its path without a leading slash, its mode, its contents."""

    path: str
    mode: int
    data: bytes


def guest_files(busybox: Path) -> list[File]:
    """The files, with a static busybox for the guest's processor."""
    try:
        program = busybox.read_bytes()
    except OSError as error:
        raise ImageError(f"cannot read {busybox}: {error.strerror}", "fetch it again") from error
    here = files("maquina.guest")
    return [
        File(f"{DIRECTORY}/busybox", 0o755, program),
        File(f"{DIRECTORY}/init", 0o755, (here / "init.sh").read_bytes()),
        File(f"{DIRECTORY}/fstab", 0o644, (here / "fstab").read_bytes()),
    ]
