"""The command lines that are compared: `maquina run`, and QEMU's machine that ours looks like."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

QEMU = "qemu-system-riscv64"
MEMORY = "512M"
MAQUINA = (sys.executable, "-c", "from maquina.cli import main; main()")


@dataclass(frozen=True, kw_only=True)
class Computer:
    """What both are to be: the same kernel, initial RAM disk, memory, disk and published port."""

    kernel: Path | None = None
    initrd: Path | None = None
    firmware: Path | None = None
    append: str = ""
    disk: Path | None = None
    published: Sequence[tuple[int, int, int]] = ()  # ports: our host's, QEMU's host's, the guest's


def ours(wanted: Computer) -> list[str]:
    """`maquina run` with it."""
    argv = [*MAQUINA, "run", "--memory", MEMORY]
    for option, path in (
        ("--kernel", wanted.kernel),
        ("--initrd", wanted.initrd),
        ("--firmware", wanted.firmware),
        ("--drive", wanted.disk),
    ):
        argv += [] if path is None else [option, str(path)]
    argv += ["--append", wanted.append]
    for host, _, guest in wanted.published:
        argv += ["--publish", f"{host}:{guest}"]
    return argv if wanted.published else [*argv, "--network", "none"]


def qemu(wanted: Computer) -> list[str]:
    """QEMU's `virt` machine with it, its devices on PCI as ours are."""
    argv = [QEMU, "-machine", "virt", "-smp", "1", "-m", MEMORY, "-nographic"]
    for option, path in (
        ("-kernel", wanted.kernel),
        ("-initrd", wanted.initrd),
        ("-bios", wanted.firmware),
    ):
        argv += [] if path is None else [option, str(path)]
    argv += ["-append", wanted.append] if wanted.kernel else []
    if wanted.disk is not None:
        argv += ["-drive", f"file={wanted.disk},format=raw,if=none,id=disk"]
        argv += ["-device", "virtio-blk-pci,drive=disk"]
    if not wanted.published:
        return [*argv, "-nic", "none"]
    ports = "".join(f",hostfwd=tcp:127.0.0.1:{host}-:{to}" for _, host, to in wanted.published)
    return [*argv, "-netdev", f"user,id=net{ports}", "-device", "virtio-net-pci,netdev=net"]
