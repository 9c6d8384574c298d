"""What a machine is made of: sizes, files to start, and the host's side of each device."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock

from maquina.boards.addresses import MAX_RAM_BYTES, VIRTIO_SLOTS
from maquina.devices.virtio.console import Console
from maquina.errors import HostError, UsageError
from maquina.machine.backends import BlockBackend, CharBackend, NetBackend
from maquina.machine.files import FileTree
from maquina.machine.memory import PAGE_SIZE

MIN_RAM_BYTES = 4 << 20  # below this not even the device tree has a place
MAX_HARTS = 64  # a thread each, and one word of a hart mask
ROOT_TAG = "rootfs"
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


class Silence:
    """A console that nobody listens to."""

    def attach(self, receive: Callable[[bytes], int]) -> None: ...

    def write(self, data: bytes) -> None: ...

    def ready(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class NetworkCard:
    """A network card and the other end of its cable."""

    backend: NetBackend
    mac: bytes = b"\x52\x54\x00\x12\x34\x56"
    mtu: int = 1500
    has_checksums: bool = True  # whether frames at the backend have valid TCP and UDP checksums


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A machine to be. Backends stay the caller's: it opens them before and closes them after.

    Without `firmware`, the kernel starts in S-mode and the board answers SBI calls; with it, the
    firmware starts in M-mode and finds the kernel by OpenSBI's dynamic information.
    """

    memory_bytes: int = 1 << 30
    harts: int = 1
    accel: str = "interp"
    trace: Callable[[str], None] | None = None  # is given a line for each instruction
    kernel: Path | None = None
    initrd: Path | None = None
    firmware: Path | None = None
    command_line: str = ""
    rng_seed: bytes | None = None  # fresh from the host at each boot if None
    serial: CharBackend = field(default_factory=Silence)
    drives: Sequence[BlockBackend] = ()
    mmio_drives: Sequence[BlockBackend] = ()  # for kernels that know nothing of PCI
    network: NetworkCard | None = None
    root: FileTree | None = None  # shared by virtio-fs under the tag ROOT_TAG
    plug: Callable[[Console], None] | None = None  # adds ports to the console of each new boot
    console_ports: int = 8
    is_reset_final: bool = False  # a reset by the guest ends the machine
    lock: AbstractContextManager[bool] = field(default_factory=RLock)  # devices, ports: all

    def check(self) -> None:
        """UsageError if it makes no sense, HostError if this host cannot carry it."""
        if not 1 <= self.harts <= MAX_HARTS:
            raise UsageError(f"{self.harts} harts", f"ask for 1 to {MAX_HARTS}")
        if self.memory_bytes % PAGE_SIZE or not (
            MIN_RAM_BYTES <= self.memory_bytes <= MAX_RAM_BYTES
        ):
            raise UsageError(
                f"{self.memory_bytes} bytes of memory",
                f"ask for {MIN_RAM_BYTES >> 20}M to {MAX_RAM_BYTES >> 30}G in whole pages",
            )
        if len(self.mmio_drives) > len(VIRTIO_SLOTS):
            raise UsageError(
                f"{len(self.mmio_drives)} drives on virtio-mmio",
                f"attach at most {len(VIRTIO_SLOTS)} there, and others to PCI",
            )
        available = host_memory_bytes()
        if self.memory_bytes > available:
            raise HostError(
                f"{self.memory_bytes >> 20} MiB of memory asked for,"
                f" and this host has {available >> 20} MiB",
                "ask for less memory",
            )


def host_memory_bytes() -> int:
    """The host's memory, or as much of it as the control group of this process may use."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = CGROUP_LIMIT.read_text().strip()
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdigit() else total
