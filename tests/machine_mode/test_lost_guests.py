"""Guests in M-mode that lost their way: nothing they do keeps a machine from being stopped."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tests.machine_mode.assembler import T0, ZERO, Program

from maquina.boards.addresses import RAM_BASE
from maquina.boards.configuration import Configuration
from maquina.boards.ending import How
from maquina.boards.machine import Machine

MSTATUS, MIE, MTVEC, PMPCFG0, PMPADDR0 = 0x300, 0x304, 0x305, 0x3A0, 0x3B0
LOCKED_NAPOT_OF_NOTHING = 0x98
MAIN = "from maquina.cli import main; main()"


def jump_into_nothing(program: Program) -> None:
    """There is nothing at 0, and that is where the handler would be, too."""
    program.put("jalr", rd=ZERO, rs1=ZERO, imm=0)


def trap_in_the_trap_handler(program: Program) -> None:
    program.address(T0, program.base + 0x100)
    program.put("csrrw", rs1=T0, csr=MTVEC)
    program.put("ebreak")


def shut_memory_on_itself(program: Program) -> None:
    program.put("addi", rd=T0, rs1=ZERO, imm=-1)
    program.put("csrrw", rs1=T0, csr=PMPADDR0)
    program.put("addi", rd=T0, rs1=ZERO, imm=LOCKED_NAPOT_OF_NOTHING)
    program.put("csrrw", rs1=T0, csr=PMPCFG0)


def spin(program: Program) -> None:
    program.label("here")
    program.jump("here")


def sleep_for_ever(program: Program) -> None:
    program.label("here")
    program.put("wfi")
    program.jump("here")


LOST = [jump_into_nothing, trap_in_the_trap_handler, shut_memory_on_itself, spin, sleep_for_ever]


def images() -> dict[str, bytes]:
    made = {}
    for write in LOST:
        program = Program(RAM_BASE)
        write(program)
        made[write.__name__] = bytes(program)
    for seed in range(4):
        made[f"garbage{seed}"] = random.Random(seed).randbytes(1 << 16)
    return made


IMAGES = images()


@pytest.mark.parametrize(("accel", "harts"), [("interp", 1), ("interp", 2), ("reference", 1)])
@pytest.mark.parametrize("name", IMAGES)
def test_it_can_be_stopped(tmp_path: Path, name: str, accel: str, harts: int) -> None:
    """Invariant: after `stop` the machine ends soon and leaves no thread, whatever the guest."""
    (tmp_path / "lost").write_bytes(IMAGES[name])
    before = threading.active_count()
    lost = tmp_path / "lost"
    with Machine(
        Configuration(firmware=lost, memory_bytes=16 << 20, harts=harts, accel=accel)
    ) as machine:
        machine.start()
        assert machine.wait(0.1) is None
        machine.stop()
        ending = machine.wait(10)
    assert ending is not None
    assert ending.how is How.STOPPED
    assert threading.active_count() == before


@pytest.mark.parametrize("name", ["jump_into_nothing", "shut_memory_on_itself"])
def test_the_command_ends_by_its_timeout_and_by_ctrl_c(tmp_path: Path, name: str) -> None:
    (tmp_path / "lost").write_bytes(IMAGES[name])
    words = ["run", "--memory", "16M", "--network", "none", "--firmware", str(tmp_path / "lost")]
    command = [sys.executable, "-c", MAIN, *words]
    timed = subprocess.run(
        [*command, "--timeout", "0.5"], stdin=subprocess.DEVNULL, timeout=60, check=False
    )
    assert timed.returncode == 124
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
