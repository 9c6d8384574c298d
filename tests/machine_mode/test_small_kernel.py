"""A kernel of a hundred instructions in M-mode that drives the hardware by itself.

It prints by interrupts through the PLIC, waits for the CLINT's timer, reads a sector by virtio,
and switches off with the sector's first byte as the status.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.devices.backends import Disk
from tests.machine_mode.assembler import (
    S0,
    S1,
    S2,
    S3,
    S4,
    S5,
    T0,
    T1,
    T2,
    T3,
    T4,
    T5,
    T6,
    ZERO,
    Program,
)

from maquina.boards import addresses as at
from maquina.boards.configuration import Configuration
from maquina.boards.ending import How
from maquina.boards.machine import Machine

TIMEOUT_S = 60
MSTATUS, MIE, MTVEC, MCAUSE, MHARTID = 0x300, 0x304, 0x305, 0x342, 0xF14
MSTATUS_MIE, TIMER_AND_EXTERNAL = 8, 0x880
UART_DONE, TIMER_DONE, DISK_DONE = 1, 2, 4  # in s5
TRAP = 0x400
DATA = at.RAM_BASE + 0x1000
TABLE, AVAILABLE, USED, HEADER, STATUS, MESSAGE = (
    DATA + offset for offset in (0, 0x100, 0x200, 0x300, 0x310, 0x400)
)
BUFFER = DATA + 0x1000
WORDS = b"hello from M-mode\n"
SECTOR = 3


def wait_for(program: Program, bit: int) -> None:
    """Sleep until the trap handler has set a bit of s5; interrupts are off while it looks."""
    name = f"wait {bit}"
    program.label(name)
    program.put("csrrci", csr=MSTATUS, uimm=MSTATUS_MIE)
    program.put("andi", rd=T0, rs1=S5, imm=bit)
    program.put("bne", f"{name} done", rs1=T0, rs2=ZERO)
    program.put("wfi")
    program.put("csrrsi", csr=MSTATUS, uimm=MSTATUS_MIE)
    program.jump(name)
    program.label(f"{name} done")


def begin(program: Program) -> None:
    program.put("csrrs", rd=T0, rs1=ZERO, csr=MHARTID)
    program.put("beq", "first hart", rs1=T0, rs2=ZERO)
    program.label("park")
    program.put("wfi")
    program.jump("park")
    program.label("first hart")
    program.address(T0, at.RAM_BASE + TRAP)
    program.put("csrrw", rs1=T0, csr=MTVEC)
    program.set_csr(MIE, TIMER_AND_EXTERNAL)
    for register, value in (
        (S0, at.UART.base),
        (S2, at.PLIC.base + 0x20_0004),
        (S3, at.VIRTIO_SLOTS[0].base),
        (S4, at.ACLINT.base + 0x4000),
        (T1, at.PLIC.base),
        (T2, at.PLIC.base + 0x2000),
    ):
        program.constant(register, value)
    program.put("addi", rd=S5, rs1=ZERO, imm=0)
    program.store_words(T1, (4 * at.UART_INTERRUPT, 1), (4 * at.VIRTIO_INTERRUPT, 1))
    program.store_words(T2, (0, 1 << at.UART_INTERRUPT | 1 << at.VIRTIO_INTERRUPT))


def talk_and_wait(program: Program) -> None:
    program.address(S1, MESSAGE)
    program.put("addi", rd=T0, rs1=ZERO, imm=2)
    program.put("sb", rs1=S0, rs2=T0, imm=1)  # interrupt when the transmitter is empty
    wait_for(program, UART_DONE)
    program.constant(T0, at.ACLINT.base + 0xC000)
    program.put("ld", rd=T1, rs1=T0, imm=-8)  # mtime
    program.put("addi", rd=T1, rs1=T1, imm=1000)
    program.put("sd", rs1=S4, rs2=T1, imm=0)
    wait_for(program, TIMER_DONE)


def read_sector(program: Program) -> None:
    program.store_words(S3, (0x70, 0), (0x70, 1), (0x70, 3))
    program.store_words(S3, (0x24, 1), (0x20, 1), (0x24, 0), (0x20, 0), (0x70, 0xB))
    program.store_words(S3, (0x30, 0), (0x38, 8))
    for offset, address in ((0x80, TABLE), (0x90, AVAILABLE), (0xA0, USED)):
        program.store_words(S3, (offset, address), (offset + 4, 0))
    program.store_words(S3, (0x44, 1), (0x70, 0xF), (0x50, 0))
    wait_for(program, DISK_DONE)
    program.address(T0, BUFFER)
    program.put("lbu", rd=T1, rs1=T0, imm=0)
    program.label("power off")
    program.put("slli", rd=T1, rs1=T1, shamt=16)
    program.constant(T2, 0x3333)
    program.put("or", rd=T1, rs1=T1, rs2=T2)
    program.constant(T3, at.TEST.base)
    program.put("sw", rs1=T3, rs2=T1, imm=0)
    program.jump("park")


def handle_traps(program: Program) -> None:
    program.put("csrrs", rd=T4, rs1=ZERO, csr=MCAUSE)
    program.put("blt", "interrupt", rs1=T4, rs2=ZERO)
    program.put("addi", rd=T1, rs1=ZERO, imm=99)
    program.jump("power off")
    program.label("interrupt")
    program.put("andi", rd=T4, rs1=T4, imm=0xFF)
    program.put("addi", rd=T5, rs1=ZERO, imm=7)
    program.put("beq", "timer", rs1=T4, rs2=T5)
    program.put("lw", rd=T6, rs1=S2, imm=0)
    program.put("addi", rd=T5, rs1=ZERO, imm=at.UART_INTERRUPT)
    program.put("beq", "serial", rs1=T6, rs2=T5)
    program.put("lw", rd=T5, rs1=S3, imm=0x60)
    program.put("sw", rs1=S3, rs2=T5, imm=0x64)
    program.put("ori", rd=S5, rs1=S5, imm=DISK_DONE)
    program.jump("complete")
    program.label("serial")
    program.put("lbu", rd=T5, rs1=S0, imm=2)
    program.put("lbu", rd=T5, rs1=S1, imm=0)
    program.put("beq", "said", rs1=T5, rs2=ZERO)
    program.put("sb", rs1=S0, rs2=T5, imm=0)
    program.put("addi", rd=S1, rs1=S1, imm=1)
    program.jump("complete")
    program.label("said")
    program.put("sb", rs1=S0, rs2=ZERO, imm=1)
    program.put("ori", rd=S5, rs1=S5, imm=UART_DONE)
    program.label("complete")
    program.put("sw", rs1=S2, rs2=T6, imm=0)
    program.put("mret")
    program.label("timer")
    program.put("addi", rd=T5, rs1=ZERO, imm=-1)
    program.put("sd", rs1=S4, rs2=T5, imm=0)
    program.put("ori", rd=S5, rs1=S5, imm=TIMER_DONE)
    program.put("mret")


def small_kernel() -> bytes:
    program = Program(at.RAM_BASE)
    begin(program)
    talk_and_wait(program)
    read_sector(program)
    assert program.here <= at.RAM_BASE + TRAP
    while program.here < at.RAM_BASE + TRAP:
        program.put("wfi")
    handle_traps(program)
    chain = ((HEADER, 16, 1, 1), (BUFFER, 512, 3, 2), (STATUS, 1, 2, 0))
    data = {
        TABLE: b"".join(struct.pack("<QIHH", *row) for row in chain),
        AVAILABLE: struct.pack("<HHH", 0, 1, 0),
        HEADER: struct.pack("<IIQ", 0, 0, SECTOR),
        MESSAGE: WORDS + b"\0",
    }
    image = bytearray(bytes(program).ljust(0x2000, b"\0"))
    for address, piece in data.items():
        image[address - at.RAM_BASE : address - at.RAM_BASE + len(piece)] = piece
    return bytes(image)


class Recorder:
    """A console that remembers."""

    def __init__(self) -> None:
        self.output = b""

    def attach(self, receive: Callable[[bytes], int]) -> None: ...

    def write(self, data: bytes) -> None:
        self.output += data

    def ready(self) -> None: ...


@pytest.mark.parametrize(("accel", "harts"), [("interp", 1), ("interp", 3), ("reference", 1)])
def test_it_prints_waits_reads_and_switches_off(tmp_path: Path, accel: str, harts: int) -> None:
    (tmp_path / "kernel").write_bytes(small_kernel())
    disk, serial = Disk(), Recorder()
    disk.data[SECTOR * 512] = 42
    configuration = Configuration(
        firmware=tmp_path / "kernel",
        memory_bytes=16 << 20,
        harts=harts,
        accel=accel,
        mmio_drives=[disk],
        serial=serial,
    )
    before = threading.active_count()
    with Machine(configuration) as machine:
        machine.start()
        ending = machine.wait(TIMEOUT_S)
    assert ending is not None
    assert (ending.how, ending.status) == (How.POWER_OFF, 42)
    assert serial.output == WORDS
    assert threading.active_count() == before
