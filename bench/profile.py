"""Where a boot's time goes: `python -m bench.profile [--stock]`.

Boots to /init in this process and prints what the hart counted, the exits to the board, and, where
`perf` is installed, the native functions that took the most time.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from bench.boot import CONSOLE
from bench.materials import REACHED, guest, write_initrd
from maquina.boards.configuration import Configuration
from maquina.boards.harts import Harts, make_harts
from maquina.boards.machine import Machine
from maquina.cpu.riscv.hart import Hart
from maquina.machine.bus import AddressSpace
from maquina.machine.memory import GuestMemory

MEMORY_BYTES = 512 << 20
PATIENCE_S = 120.0
HOTTEST = 40
HOT = re.compile(r"^ *[0-9.]+% +\[.\] .*?(?=  |$)", re.MULTILINE)
INSIDE = "--inside"  # what the process that perf watches is started with
COUNTERS = ("misses", "decoded", "flushes")


class _Console:
    """Hears when /init speaks."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._tail = b""

    def attach(self, receive: Callable[[bytes], int]) -> None: ...

    def write(self, data: bytes) -> None:
        self._tail = (self._tail + data)[-1000:]
        if REACHED.encode() in self._tail:
            self.reached.set()

    def ready(self) -> None: ...


def boot(is_stock: bool, initrd: Path) -> None:
    """Boot once and print the counters."""
    kernel = guest().kernel
    console = _Console()
    wanted = Configuration(
        memory_bytes=MEMORY_BYTES,
        kernel=kernel.image,
        initrd=initrd,
        command_line=f"{CONSOLE} {kernel.stock if is_stock else kernel.tuned}",
        serial=console,
    )
    harts: list[Hart] = []

    def make(memory: GuestMemory, bus: AddressSpace, origin_ns: int) -> Harts:
        made = make_harts(wanted, memory, bus, origin_ns)
        harts.extend(made)
        return made

    with Machine(wanted, make) as machine:
        before = time.process_time()
        machine.start()
        if not console.reached.wait(PATIENCE_S):
            raise RuntimeError("the guest never reached /init")
        spent = time.process_time() - before
        done = machine.statistics()
        counted = {name: getattr(harts[0].state, name).value for name in COUNTERS}
        machine.stop()
    retired = harts[0].instructions
    print(f"{retired / 1e6:.0f} M instructions, {retired / 1e6 / spent:.0f} M per CPU second")
    for name, count in {**counted, **done.exits}.items():
        print(f"{count:12} {name:12} one in {retired / max(count, 1):.0f} instructions")


def watch(arguments: list[str]) -> None:
    """Run it under perf, and print the functions that take the most time."""
    with tempfile.TemporaryDirectory(prefix="maquina-bench-") as directory:
        data = Path(directory) / "perf.data"
        inside = [sys.executable, "-m", "bench.profile", INSIDE, *arguments]
        subprocess.run(
            ["perf", "record", "-q", "-e", "cpu-clock", "-F", "2000", "-o", str(data), *inside],
            check=True,
            env={**os.environ, "MAQUINA_DEBUG_NATIVE": "1"},
        )
        report = ["perf", "report", "-i", str(data), "--stdio", "-q", "--sort", "symbol"]
        said = subprocess.run(report, check=True, capture_output=True, text=True).stdout
    print("\n".join(HOT.findall(said)[:HOTTEST]))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__)
    parser.add_argument("--stock", action="store_true", help="Debian's own command line")
    parser.add_argument(INSIDE, action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.inside and shutil.which("perf"):
        watch(["--stock"] if options.stock else [])
        return
    with tempfile.TemporaryDirectory(prefix="maquina-bench-") as directory:
        boot(options.stock, write_initrd(Path(directory)))


if __name__ == "__main__":
    main()
