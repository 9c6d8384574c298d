"""What a guest must have on its disk: one directory.

/.maquina/busybox    the only program
/.maquina/init       the first process and the agent
/.maquina/fstab      what it mounts
/.maquina/dev        what it adds to /dev, which is made anew at each start
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from stat import S_IFDIR, S_IFLNK, S_IFREG

from maquina.errors import ImageError

DIRECTORY = ".maquina"
INIT = f"/{DIRECTORY}/init"
BOOT_WORDS = f"init={INIT} devtmpfs.mount=1"
"""For the kernel's command line."""

DIRECTORIES = (DIRECTORY, f"{DIRECTORY}/dev", f"{DIRECTORY}/dev/pts", f"{DIRECTORY}/dev/shm")
DEVICE_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}


@dataclass(frozen=True)
class File:
    """A file to be: its path, its type and mode, its contents or a link's target."""

    path: str
    mode: int
    data: bytes = b""


def guest_files(busybox: Path) -> list[File]:
    """The files in an order in which they can be made; `busybox` is static, for the guest."""
    try:
        program = busybox.read_bytes()
    except OSError as error:
        raise ImageError(f"cannot read {busybox}: {error.strerror}", "fetch it again") from error
    here = files("maquina.guest")
    return [
        *(File(path, S_IFDIR | 0o755) for path in DIRECTORIES),
        File(f"{DIRECTORY}/busybox", S_IFREG | 0o755, program),
        File(f"{DIRECTORY}/init", S_IFREG | 0o755, (here / "init.sh").read_bytes()),
        File(f"{DIRECTORY}/fstab", S_IFREG | 0o644, (here / "fstab").read_bytes()),
        *(
            File(f"{DIRECTORY}/dev/{name}", S_IFLNK | 0o777, target.encode())
            for name, target in DEVICE_LINKS.items()
        ),
    ]
