"""The same accesses on QEMU's devices and on ours: registers must read alike."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.devices.backends import DISK_SIZE, Disk, Program
from tests.devices.driver import Driver, Pci, PciView
from tests.devices.qemu import Qemu, QemuMemory, QemuSpace, make_disk

from maquina.devices.aclint import Clint
from maquina.devices.plic import Plic
from maquina.devices.uart16550 import Uart16550
from maquina.devices.virtio.block import Block
from maquina.devices.virtio.console import Console
from maquina.machine.bus import AddressSpace
from maquina.machine.device import Device
from maquina.machine.interrupts import Line

pytestmark = pytest.mark.conformance

UART, PLIC, CLINT = 0x1000_0000, 0x0C00_0000, 0x0200_0000
UART_SOURCE = 10
IER, IIR, FCR, LCR, MCR, LSR, MSR = 1, 2, 2, 3, 4, 5, 6


@pytest.fixture
def qemu() -> Iterator[Qemu]:
    made = Qemu("-serial", "null")
    yield made
    made.close()


class Twins:
    """One device of ours at its address beside QEMU's."""

    def __init__(self, qemu: Qemu, base: int, device: Device) -> None:
        self._qemu, self._space, self._base, self._device = qemu, QemuSpace(qemu), base, device
        self.history: list[str] = []

    def write(self, offset: int, size: int, value: int) -> None:
        self.history.append(f"write {offset:#x} {size} {value:#x}")
        self._space.write(self._base + offset, size, value)
        self._device.write(offset, size, value)

    def check(self, offset: int, size: int, mask: int = -1) -> None:
        theirs = self._space.read(self._base + offset, size)
        assert theirs is not None
        ours = self._device.read(offset, size)
        self.history.append(f"read {offset:#x} {size} = {ours:#x}")
        assert ours & mask == theirs & mask, "\n".join(self.history[-30:])


class Nobody(Program):
    """A CharBackend that nobody listens at."""

    def write(self, data: bytes) -> int:
        return len(data)


@pytest.mark.parametrize("seed", range(4))
def test_the_serial_port_in_loopback(qemu: Qemu, seed: int) -> None:
    """Loopback gives input and overruns without a terminal.

    What QEMU lacks is left out: changes of modem lines in loopback, and, its clock being stopped,
    the time-out for fewer bytes than the trigger level.
    """
    choice = random.Random(seed)
    uart = Uart16550(Nobody(), Line())  # type: ignore[arg-type]
    twins = Twins(qemu, UART, uart)
    twins.write(MCR, 1, 0x10)
    for _ in range(300):
        register = choice.choice([0, 0, 0, 0, IER, FCR, LCR, MCR, 7])
        value = choice.getrandbits(8)
        if register == IER:
            value &= ~8
        if register == MCR:
            value = value & 0x0F | 0x10
        if register == FCR:
            value &= 0x3F
        if register == LCR:
            value &= 0x83  # a break in loopback is received; we have no line to break
        twins.write(register, 1, value)
        for register in choice.sample([IER, IIR, LCR, MCR, LSR, MSR, 7], 3):
            twins.check(register, 1, 0xF0 if register == MSR else -1)
        if choice.random() < 0.4 and uart.save()["fifo"]:  # empty, it reads as anything
            twins.check(0, 1)


def test_the_interrupt_controller(qemu: Qemu) -> None:
    """The serial port is the source. Contexts are M and S of two harts; 96 sources."""
    choice = random.Random(7)
    plic = Plic(96, [Line() for _ in range(4)])
    uart = Uart16550(Nobody(), plic.lines[UART_SOURCE])  # type: ignore[arg-type]
    registers, port = Twins(qemu, PLIC, plic), Twins(qemu, UART, uart)
    registers.history = port.history
    for source in range(1, 96):
        registers.write(4 * source, 4, choice.getrandbits(3))
    for context in range(4):
        for word in range(3):
            bits = choice.getrandbits(32) & ~1 | 1 << UART_SOURCE  # QEMU 7 keeps source 0's
            registers.write(0x2000 + 0x80 * context + 4 * word, 4, bits)
    for source in range(97):
        registers.check(4 * source, 4)
    for context in range(4):
        for word in range(3):
            registers.check(0x2000 + 0x80 * context + 4 * word, 4)
    registers.write(4 * UART_SOURCE, 4, 3)
    for _ in range(150):
        context = choice.randrange(4)
        at = 0x200000 + 0x1000 * context
        registers.write(at, 4, choice.randrange(5))
        registers.check(at, 4)
        port.write(IER, 1, 2)  # the transmitter is empty: the wire goes up
        registers.check(0x1000, 4)
        registers.check(at + 4, 4)
        registers.check(0x1000, 4)
        if choice.random() < 0.5:
            port.check(IIR, 1)  # the wire goes down
        for each in range(4):
            registers.write(0x200004 + 0x1000 * each, 4, UART_SOURCE)
        port.write(IER, 1, 0)


class Stopped:
    def now(self) -> int:
        return 0

    def set(self, ticks: int) -> None:
        """Time stands still."""


def test_the_timer_and_software_interrupts(qemu: Qemu) -> None:
    choice = random.Random(8)
    clint = Clint(Stopped(), [Line(), Line()], [Line(), Line()])
    twins = Twins(qemu, CLINT, clint)
    for hart in range(2):
        twins.write(0x4000 + 8 * hart, 8, choice.getrandbits(64))
    for _ in range(100):
        offset, size = choice.choice([(0, 4), (4, 4), (0x4000, 8), (0x4008, 8), (0x4004, 4)])
        twins.write(offset, size, choice.getrandbits(8 * size))
        for at, width in ((0, 4), (4, 4), (8, 4), (0x4000, 8), (0x4008, 4), (0x400C, 4)):
            twins.check(at, width)


def run_disk_requests(pci: PciView) -> list[object]:
    """What a driver sees of a disk of 8 MiB: features, configuration, answers."""
    driver = Driver(pci)
    common = 1 << 2 | 1 << 6 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 13 | 1 << 14
    (ring,) = driver.start(common | 1 << 28 | 1 << 29)
    seen: list[object] = [driver.features, driver.config(0, 8), driver.config(20, 4)]
    last = DISK_SIZE // 512 - 1
    data = random.Random(9).randbytes(4096)
    whole = struct.pack("<QII", 8, 8, 0)
    for kind, sector, body, room in (
        (1, 8, data, 0),
        (0, 8, b"", 4096),
        (0, last, b"", 512),
        (0, last, b"", 1024),
        (0, last + 1, b"", 512),
        (1, last, data, 0),
        (0, 0, b"", 100),
        (4, 0, b"", 0),
        (13, 0, whole, 0),
        (0, 8, b"", 4096),
        (13, 0, struct.pack("<QII", last, 2, 0), 0),
        (11, 0, whole, 0),
        (11, 0, struct.pack("<QII", 0, 8, 1), 0),
        (99, 0, b"", 0),
    ):
        for pieces in (1, 3):
            request = struct.pack("<IIQ", kind, 0, sector) + body
            answer = ring.request(request, room + 1, pieces=pieces, indirect=pieces == 3)
            assert answer is not None
            seen.append((kind, sector, answer[-1], answer if answer[-1] == 0 else None))
    pci.patience_s = 0
    ring.request(b"short", 1)  # no request, so no answer
    seen.append(driver.status)
    driver.status = 0
    seen.append(driver.status)
    return seen


def run_console_dialogue(pci: PciView) -> list[object]:
    """What a driver hears of a console port, 0, and a named one, 1."""
    driver = Driver(pci)
    rings = driver.start(2)
    buffers = {}
    for _ in range(16):
        address = pci.allocate(64)
        buffers[rings[2].add([(address, 64, True)])] = address
    rings[2].kick()
    heard: list[object] = [driver.features & 2, driver.get(0x12, 2), driver.config(4, 4)]
    for number, event in ((0, 0), (1, 3), (0, 3), (9, 3), (1, 6), (0, 6)):
        rings[3].request(struct.pack("<IHH", number, event, 1))
        for head, size in rings[2].collect():
            raw = pci.memory.read(buffers[head], size)
            heard.append((event, *struct.unpack_from("<IHH", raw), raw[8:].rstrip(b"\0")))
    heard.append(rings[5].request(b"to nowhere"))
    heard.append(rings[1].request(b"to nowhere"))
    return heard


def test_a_console_says_alike(tmp_path: Path) -> None:
    serial = "virtio-serial-pci,addr=1,disable-legacy=on,vectors=0,max_ports=4"
    options = ["-chardev", "null,id=a", "-chardev", f"file,id=b,path={tmp_path / 'stream'}"]
    options += ["-device", serial, "-device", "virtconsole,chardev=a,nr=0,name=tty"]
    peer = Qemu(*options, "-device", "virtserialport,chardev=b,nr=1,name=stream")
    console = Console(AddressSpace().lock, max_ports=4)
    console.add_port("tty", Program(), is_console=True)
    console.add_port("stream", Program())
    ours = Pci(console)
    try:
        theirs = PciView(QemuSpace(peer), QemuMemory(peer))
        theirs.patience_s = 10
        assert run_console_dialogue(ours) == run_console_dialogue(theirs)
    finally:
        ours.close()
        peer.close()


def test_a_disk_answers_alike(tmp_path: Path) -> None:
    drive = make_disk(tmp_path / "disk", DISK_SIZE)
    device = "virtio-blk-pci,addr=1,drive=disk,disable-legacy=on,vectors=0,num-queues=1"
    peer = Qemu("-drive", drive, "-device", device)
    ours = Pci(Block(Disk()))
    try:
        theirs = PciView(QemuSpace(peer), QemuMemory(peer))
        theirs.patience_s = 10
        assert run_disk_requests(ours) == run_disk_requests(theirs)
        for register in (0x00, 0x08, 0x2C, 0x3D):
            assert ours.config_read(1, register, 1) == theirs.config_read(1, register, 1)
    finally:
        ours.close()
        peer.close()
