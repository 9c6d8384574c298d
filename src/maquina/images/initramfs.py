"""An initial root file system: busybox, kernel modules, and an init.

For a root on a disk, whose drivers are modules, and for tests that want no more than a shell. The
kernel starts `/init`; it finds the modules in MODULES, in the order that a file `order` names.
"""

from __future__ import annotations

import gzip
import io
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from maquina.images.cpio import CpioWriter
from maquina.images.guest import MODULES

_DIRECTORIES = ("bin", "dev", "etc", "lib", "mnt", "proc", "root", "run", "sys", "tmp")
_DEVICES = {"console": (5, 1, 0o600), "null": (1, 3, 0o666), "kmsg": (1, 11, 0o600)}

# For a system on the first virtio disk: load its drivers, wait for it, continue there.
DISK_INIT = f"""#!/bin/sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs devtmpfs /dev
mount -t proc proc /proc
cd /{MODULES} && while read -r module; do insmod "$module"; done < order
cd /
root=/dev/vda init=/sbin/init mode=ro type=
for word in $(cat /proc/cmdline); do
    case $word in
        root=/dev/*) root=${{word#root=}} ;;
        rootfstype=*) type="-t ${{word#rootfstype=}}" ;;
        init=*) init=${{word#init=}} ;;
        rw) mode=rw ;;
    esac
done
tries=0
while [ ! -b "$root" ] && [ $tries -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
mount $type -o "$mode" "$root" /mnt || exec sh
mount --move /dev /mnt/dev
umount /proc
exec switch_root /mnt "$init"
"""


def build_initramfs(
    busybox: Path,
    init: str,
    modules: Sequence[Path] = (),
    files: Mapping[str, bytes] | None = None,
    is_compressed: bool = False,
) -> bytes:
    """The archive. `files` are executable ones to add. `init` is a script for busybox's shell: it
    finds other programs once it has said `/bin/busybox --install -s /bin`."""
    out = io.BytesIO()
    archive = CpioWriter(out)
    known: set[str] = set()
    for path in (*_DIRECTORIES, MODULES):
        _directories(archive, path, known)
    for name, (major, minor, mode) in _DEVICES.items():
        archive.device(f"dev/{name}", stat.S_IFCHR | mode, os.makedev(major, minor))
    archive.file("bin/busybox", busybox.read_bytes(), 0o755)
    archive.symlink("bin/sh", "busybox")
    archive.file("init", init.encode(), 0o755)
    for module in modules:
        archive.file(f"{MODULES}/{module.name}", module.read_bytes())
    archive.file(f"{MODULES}/order", "".join(f"{each.name}\n" for each in modules).encode())
    for path, data in (files or {}).items():
        _directories(archive, str(PurePosixPath(path).parent), known)
        archive.file(path, data, 0o755)
    archive.finish()
    return gzip.compress(out.getvalue(), 6, mtime=0) if is_compressed else out.getvalue()


def _directories(archive: CpioWriter, path: str, known: set[str]) -> None:
    """A directory and those above it, each once."""
    parts = PurePosixPath(path).parts
    for depth in range(1, len(parts) + 1):
        directory = "/".join(parts[:depth])
        if directory not in known:
            known.add(directory)
            archive.directory(directory)
