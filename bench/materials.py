"""What is measured with: Debian's kernel, an initial RAM disk with a shell, compute kernels.

The kernel, its modules and busybox are those of `maquina run debian`, from its cache.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from bench.ratios import Missing
from maquina.hypervisor.preparing import prepare
from maquina.images import Guest, debian, on_terminal
from maquina.images.initramfs import build_initramfs

KERNELS_VARIABLE = "MAQUINA_BENCH_KERNELS"
CROSS_COMPILER, HOST_COMPILER = "riscv64-linux-gnu-gcc", "gcc"
COMPILER_OPTIONS = ("-O2", "-static", "-ffp-contract=off")
REACHED, READY = "INIT REACHED", "INIT READY"

# Says that it is there, then runs the lines that it reads, each answered by its status.
INIT = f"""#!/bin/sh
echo {REACHED}
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs devtmpfs /dev
mount -t proc proc /proc
mount -t sysfs sysfs /sys
echo {READY}
while read -r line; do eval "$line"; echo "DONE $?"; done
"""

# Writes "!" to the serial port of the `virt` machine, then waits for ever.
FIRST_WORDS = struct.pack(
    "<7I",
    0x10000537,  # lui a0, 0x10000
    0x02100593,  # li a1, '!'
    0x00B50023,  # sb a1, 0(a0)
    0x00A00593,  # li a1, '\n'
    0x00B50023,  # sb a1, 0(a0)
    0x10500073,  # wfi
    0xFFDFF06F,  # j .-4
)


@cache
def guest() -> Guest:
    """The system of `maquina run debian`; fetched and prepared if it is not in the cache."""
    progress = on_terminal()
    return prepare(debian(progress=progress), progress)


def write_initrd(
    directory: Path, modules: Sequence[Path] = (), files: Mapping[str, bytes] | None = None
) -> Path:
    """An initial RAM disk with INIT."""
    path = directory / "initrd.cpio"
    path.write_bytes(build_initramfs(guest().busybox, INIT, modules, files))
    return path


def kernel_sources() -> list[Path]:
    """The C programs to compute with, as the environment names them."""
    directory = os.environ.get(KERNELS_VARIABLE)
    if not directory:
        raise Missing(f"set {KERNELS_VARIABLE} to a directory of C programs")
    sources = sorted(Path(directory).glob("*.c"))
    if not sources:
        raise Missing(f"{directory} has no C programs")
    return sources


def compile_program(source: Path, target: Path, compiler: str) -> Path:
    """A static program. Missing if there is no compiler."""
    if shutil.which(compiler) is None:
        raise Missing(f"{compiler} is not installed")
    subprocess.run([compiler, *COMPILER_OPTIONS, "-o", target, source], check=True)
    return target
