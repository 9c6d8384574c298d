"""Start-up: `maquina --help`, and from the start of the process to the first guest instruction.

The guest is seven instructions that write to the serial port, started in M-mode on both sides.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bench.contenders import MAQUINA, Computer, ours, qemu
from bench.materials import FIRST_WORDS
from bench.programs import Program, run
from bench.ratios import Promise, Result, Sample, alternate, compare


def measure(directory: Path, pairs: int) -> list[Result]:
    program = directory / "first.bin"
    program.write_bytes(FIRST_WORDS)
    computer = Computer(firmware=program)

    def first_word(argv: list[str]) -> Sample:
        with Program(argv) as started:
            return started.expect(rb"!")

    first_word(ours(computer))  # compiles the interpreter if nobody has before
    words = alternate(
        lambda: first_word(ours(computer)), lambda: first_word(qemu(computer)), 3 * pairs
    )
    nothing = [sys.executable, "-c", "pass"]
    helps = alternate(lambda: run([*MAQUINA, "--help"]), lambda: run(nothing), 3 * pairs)
    return [
        compare("first guest instruction", "s", "QEMU", words, Promise.value_below(0.4, "s")),
        compare("maquina --help", "s", "python -c pass", helps, Promise.value_below(0.25, "s")),
    ]
