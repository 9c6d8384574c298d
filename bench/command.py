"""One command in a machine of its own: `maquina run debian -- true`, from start to exit.

No peer does this: QEMU boots the same kernel, tuned alike, with an initial RAM disk whose /init is
`true` and then switches off. It has no Debian, no network and no agent to start.
"""

from __future__ import annotations

from pathlib import Path

from bench.boot import CONSOLE
from bench.contenders import MAQUINA, Computer, qemu
from bench.materials import guest
from bench.programs import run
from bench.ratios import Promise, Result, alternate, compare
from maquina.images.initramfs import build_initramfs

INIT = "#!/bin/sh\n/bin/busybox true\n/bin/busybox poweroff -f\n"


def measure(directory: Path, pairs: int) -> list[Result]:
    initrd = directory / "true.cpio"
    initrd.write_bytes(build_initramfs(guest().busybox, INIT))
    kernel = guest().kernel
    computer = Computer(
        kernel=kernel.image, initrd=initrd, append=f"{CONSOLE} {kernel.tuned}".strip()
    )
    command = [*MAQUINA, "run", "debian", "--", "true"]
    state = {"XDG_STATE_HOME": str(directory)}
    samples = alternate(lambda: run(command, state), lambda: run(qemu(computer)), pairs)
    promise = Promise.value_below(2, "s")
    return [compare("run debian -- true", "s", "QEMU, busybox true", samples, promise)]
