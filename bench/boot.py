"""Boot: from the start of the process to the guest's /init, seen on the serial port.

The same kernel and initial RAM disk; QEMU's firmware, OpenSBI, is part of its time. `bare` is no
more than a console on the command line, so that all the kernel's messages pass the serial port.
"""

from __future__ import annotations

from pathlib import Path

from bench.contenders import Computer, ours, qemu
from bench.materials import REACHED, guest, write_initrd
from bench.programs import Program
from bench.ratios import Promise, Result, Sample, alternate, compare

CONSOLE = "console=ttyS0"


def measure(directory: Path, pairs: int) -> list[Result]:
    kernel = guest().kernel
    initrd = write_initrd(directory)
    lines = (
        ("bare", "", 3),
        ("stock", kernel.stock, 3),
        ("tuned", kernel.tuned, 1.5),
    )
    results = []
    for name, words, bound in lines:
        computer = Computer(
            kernel=kernel.image, initrd=initrd, append=f"{CONSOLE} {words}".strip()
        )
        samples = alternate(
            lambda it=computer: boot(ours(it)),  # type: ignore[misc]
            lambda it=computer: boot(qemu(it)),  # type: ignore[misc]
            pairs,
        )
        promise = Promise.ratio_below(bound)
        results.append(compare(f"boot to /init, {name}", "s", "QEMU", samples, promise))
    return results


def boot(argv: list[str]) -> Sample:
    """Until /init speaks."""
    with Program(argv) as machine:
        return machine.expect(REACHED.encode())
