"""An idle guest: the memory of its process beyond the guest's own, and the CPU time it takes.

The guests: a shell in an initial RAM disk, on our machine and on QEMU; and the login shell of
`maquina run debian`, which QEMU's same shell stands beside again. Memory is what is resident
(Rss) outside the mapping that is the guest's RAM. User and system CPU time both count.
"""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path

from bench.boot import CONSOLE
from bench.contenders import MAQUINA, MEMORY, Computer, ours, qemu
from bench.materials import READY, guest, write_initrd
from bench.programs import Program
from bench.ratios import Promise, Result, Sample, compare

SETTLE_S = 6.0  # until the kernel has done what it put off
WATCH_S = 10.0
OUR_RAM = re.compile("memfd:maquina-ram")
THEIR_RAM_KB = int(MEMORY.removesuffix("M")) << 10
MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \S+ *(.*)$")
PROMPT = rb"[#$] $"


def measure(directory: Path, pairs: int) -> list[Result]:
    kernel = guest().kernel
    computer = Computer(
        kernel=kernel.image, initrd=write_initrd(directory), append=f"{CONSOLE} {kernel.tuned}"
    )
    debian = [*MAQUINA, "run", "debian"]
    with (
        Program(ours(computer)) as shell,
        Program(qemu(computer)) as peer,
        Program(debian, {"XDG_STATE_HOME": str(directory)}) as prompt,
    ):
        for machine in (shell, peer):
            machine.match(READY.encode())
        prompt.match(PROMPT)
        time.sleep(SETTLE_S)
        machines = (shell, peer, prompt)
        rests = [Sample(overhead_mb(machine)) for machine in machines]
        idle = [idle_shares(machines) for _ in range(max(1, pairs // 2))]
    results = []
    for at, name in ((0, "initial RAM disk"), (2, "run debian, prompt")):
        few = Promise.value_below(150, "MB")
        rare = Promise.value_below(2, "%")
        shares = [(Sample(each[at]), Sample(each[1])) for each in idle]
        memory = compare(f"memory, {name}", "MB", "QEMU", [(rests[at], rests[1])], few)
        results += [memory, compare(f"idle CPU, {name}", "%", "QEMU", shares, rare)]
    return [replace(result, cpu_ratio=None) for result in results]


def overhead_mb(machine: Program) -> float:
    """Resident megabytes outside the guest's RAM."""
    total_kb = 0
    is_ram = False
    for line in Path(f"/proc/{machine.pid}/smaps").read_text().splitlines():
        if found := MAPPING.match(line):
            is_ram = bool(OUR_RAM.search(found[1]))
        elif line.startswith("Size:"):
            is_ram = is_ram or int(line.split()[1]) == THEIR_RAM_KB
        elif line.startswith("Rss:") and not is_ram:
            total_kb += int(line.split()[1])
    return total_kb * 1024 / 1e6


def idle_shares(machines: tuple[Program, ...]) -> list[float]:
    """Per cent of one core that each uses, watched at the same time."""
    before = [machine.cpu_s() for machine in machines]
    time.sleep(WATCH_S)
    used = [machine.cpu_s() - was for machine, was in zip(machines, before, strict=True)]
    return [max(100 * each / WATCH_S, 0.01) for each in used]
