"""The machine as an object: boot a kernel with an initramfs made here, follow its console."""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from maquina import Configuration, Machine, debian
from maquina.images.initramfs import build_initramfs

INIT = """#!/bin/sh
/bin/busybox mount -t proc proc /proc
echo "up after $(/bin/busybox cut -d' ' -f1 /proc/uptime) s"
/bin/busybox poweroff -f
"""


class Console:
    """Print what the guest prints; it has nobody who types."""

    def attach(self, receive: Callable[[bytes], int]) -> None: ...

    def write(self, data: bytes) -> None:
        sys.stdout.write(data.decode(errors="replace"))
        sys.stdout.flush()

    def ready(self) -> None: ...


def main() -> None:
    guest = debian()
    with tempfile.TemporaryDirectory() as directory:
        initrd = Path(directory, "initrd")
        initrd.write_bytes(build_initramfs(guest.busybox, INIT))
        wanted = Configuration(
            kernel=guest.kernel.image,
            initrd=initrd,
            command_line=f"{guest.kernel.tuned} console=ttyS0",
            serial=Console(),
            memory_bytes=256 << 20,
        )
        with Machine(wanted) as machine:
            machine.start()
            ending = machine.wait(timeout_s=120)
            print(ending, machine.statistics().instructions > 0)


if __name__ == "__main__":
    main()
