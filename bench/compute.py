"""Computing: C programs inside the guest, on our machine and on QEMU, checked against the host.

Programs come from the directory in MAQUINA_BENCH_KERNELS. Each is `PROGRAM SIZE` and prints
`RESULT name checksum seconds` for its timed region. Both machines run at the same time and take
turns: one idles while the other computes.
"""

from __future__ import annotations

import math
import re
import subprocess
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench.boot import CONSOLE
from bench.contenders import Computer, ours, qemu
from bench.materials import (
    CROSS_COMPILER,
    HOST_COMPILER,
    READY,
    compile_program,
    guest,
    kernel_sources,
    write_initrd,
)
from bench.programs import DONE, Program
from bench.ratios import Result, Sample, alternate, compare

RESULT = re.compile(rb"RESULT (\w+) ([0-9a-f]+) ([0-9.]+)\r?\n")
SIZES = {"sieve": 10, "sha": 32, "mandel": 400, "memcp": 50, "interp": 60000}
"""About 0.1 s of the host's own time each; programs not named here get their own default."""


def measure(directory: Path, pairs: int) -> list[Result]:
    sources = kernel_sources()
    files = {}
    for source in sources:
        built = compile_program(source, directory / f"{source.stem}.riscv64", CROSS_COMPILER)
        files[f"kernels/{source.stem}"] = built.read_bytes()
    kernel = guest().kernel
    computer = Computer(
        kernel=kernel.image,
        initrd=write_initrd(directory, files=files),
        append=f"{CONSOLE} {kernel.tuned}",
    )
    with Program(ours(computer)) as our_machine, Program(qemu(computer)) as their_machine:
        for machine in (our_machine, their_machine):
            machine.match(READY.encode())
        results = [
            _measure_program(source, directory, (our_machine, their_machine), pairs)
            for source in sources
        ]
    return [*results, _mean(results)]


def _measure_program(
    source: Path, directory: Path, machines: tuple[Program, Program], pairs: int
) -> Result:
    native = compile_program(source, directory / f"{source.stem}.host", HOST_COMPILER)
    size = [str(SIZES[source.stem])] if source.stem in SIZES else []
    said = RESULT.search(subprocess.run([native, *size], check=True, capture_output=True).stdout)
    if said is None:
        raise RuntimeError(f"{source.name} prints no result")
    line = " ".join([f"/kernels/{source.stem}", *size])
    turns = [partial(_compute, machine, line, said[2]) for machine in machines]
    for turn in turns:
        turn()  # what is still going on after the boot, and code seen for the first time
    samples = alternate(turns[0], turns[1], pairs)
    result = compare(f"compute {source.stem}", "s", "QEMU", samples)
    print(f"  {source.stem}: {result.ours / max(float(said[3]), 1e-4):.1f} x the host's own time")
    return result


def _compute(machine: Program, line: str, checksum: bytes) -> Sample:
    before = machine.user_s()
    machine.send(line)
    result = machine.match(RESULT)
    machine.match(DONE)
    if result[2] != checksum:
        raise RuntimeError(f"{line}: {result[2].decode()} is not {checksum.decode()}")
    return Sample(float(result[3]), machine.user_s() - before)


def _mean(results: list[Result]) -> Result:
    """The geometric mean of the ratios."""

    def mean(values: list[float]) -> float:
        return math.exp(sum(map(math.log, values)) / len(values))

    cpu = [result.cpu_ratio for result in results if result.cpu_ratio is not None]
    return replace(
        results[0],
        name="compute, geometric mean",
        ours=mean([result.ours for result in results]),
        theirs=mean([result.theirs for result in results]),
        ratio=mean([result.ratio for result in results]),
        cpu_ratio=mean(cpu) if len(cpu) == len(results) else None,
    )
