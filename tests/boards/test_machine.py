"""A machine's life, with harts that are Python functions."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.boards.fake_harts import FakeHart, sbi
from tests.devices.backends import Disk

from maquina.boards import addresses as at
from maquina.boards import configuration as configurations
from maquina.boards.configuration import Configuration
from maquina.boards.ending import How
from maquina.boards.machine import Machine
from maquina.boards.sbi import hsm, reset
from maquina.boards.virt import MakeHarts
from maquina.errors import FormatError, HostError, UsageError
from maquina.machine.bus import AddressSpace
from maquina.machine.memory import GuestMemory
from maquina.machine.vcpu import Exit

TIMEOUT_S = 10
MEMORY_BYTES = 16 << 20


class BoardHart(FakeHart):
    """A fake hart that reaches the board's bus."""

    bus: AddressSpace
    memory: GuestMemory


def with_program(program: Callable[[BoardHart], Iterator[Exit]]) -> MakeHarts:
    def make(memory: GuestMemory, bus: AddressSpace, origin_ns: int) -> list[BoardHart]:
        harts = [BoardHart(program), BoardHart(program)]  # type: ignore[arg-type]
        for hart in harts:
            hart.bus, hart.memory, hart.origin_ns = bus, memory, origin_ns
        return harts

    return make


def spin(hart: BoardHart) -> Iterator[Exit]:
    while True:
        time.sleep(0.0001)
        yield Exit.LIMIT


def idle(hart: BoardHart) -> Iterator[Exit]:
    while True:
        yield Exit.IDLE


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    header = struct.pack("<8xQQQI12x8s4sI", 0x20_0000, 0x10_0000, 0, 2, b"", b"RSC\x05", 0)
    (tmp_path / "Image").write_bytes(header)
    return Configuration(kernel=tmp_path / "Image", memory_bytes=MEMORY_BYTES, harts=2)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def test_power_off_by_the_finisher_carries_the_status(configuration: Configuration) -> None:
    def program(hart: BoardHart) -> Iterator[Exit]:
        hart.bus.write(at.TEST.base, 4, 3 << 16 | 0x3333)
        yield from spin(hart)

    with Machine(configuration, with_program(program)) as machine:
        machine.start()
        ending = machine.wait(TIMEOUT_S)
        assert ending is not None
        assert (ending.how, ending.status) == (How.POWER_OFF, 3)


def test_reset_reads_the_files_anew(configuration: Configuration) -> None:
    boots: list[int] = []

    def program(hart: BoardHart) -> Iterator[Exit]:
        boots.append(hart.memory.read(hart.pc + 0x100, 1)[0])
        hart.memory.write(hart.pc + 0x100, b"\x01")
        yield from sbi(hart, reset.EXTENSION_ID, 0, 0 if len(boots) == 3 else 1)
        yield from spin(hart)

    with Machine(configuration, with_program(program)) as machine:
        machine.start()
        ending = machine.wait(TIMEOUT_S)
        assert ending is not None
        assert ending.how is How.POWER_OFF
        assert boots == [0, 0, 0]
        assert machine.statistics().boots == 3
        assert machine.statistics().exits["call"] == 3


def test_harts_wake_each_other(configuration: Configuration) -> None:
    def program(hart: BoardHart) -> Iterator[Exit]:
        if hart.x[10] == 1:
            assert hart.x[11] == 0x77
            hart.bus.write(at.TEST.base, 4, 0x5555)
        else:
            yield from sbi(hart, hsm.EXTENSION_ID, 0, 1, at.RAM_BASE, 0x77)
            assert hart.x[10] == 0
        yield from idle(hart)

    with Machine(configuration, with_program(program)) as machine:
        machine.start()
        ending = machine.wait(TIMEOUT_S)
        assert ending is not None
        assert ending.status == 0


@pytest.mark.parametrize("name", ["spin", "idle"])
def test_stop(configuration: Configuration, name: str) -> None:
    with Machine(configuration, with_program({"spin": spin, "idle": idle}[name])) as machine:
        machine.start()
        assert machine.wait(0.02) is None
        assert machine.is_running
        machine.stop()
        ending = machine.wait(TIMEOUT_S)
        assert ending is not None
        assert ending.how is How.STOPPED


def test_a_bug_in_a_device_is_raised_by_wait(configuration: Configuration) -> None:
    def program(hart: BoardHart) -> Iterator[Exit]:
        yield [Exit.LIMIT][1 // (hart.x[11] - hart.x[11])]

    with Machine(configuration, with_program(program)) as machine:
        machine.start()
        with pytest.raises(ZeroDivisionError):
            machine.wait(TIMEOUT_S)


class Keyboard:
    """A console whose other end types."""

    receive: Callable[[bytes], int]

    def __init__(self) -> None:
        self.output = bytearray()

    def attach(self, receive: Callable[[bytes], int]) -> None:
        self.receive = receive

    def write(self, data: bytes) -> None:
        self.output += data

    def ready(self) -> None: ...


def test_serial_line(configuration: Configuration) -> None:
    """Input interrupts the hart through UART, PLIC and mip; output reaches the backend."""

    def program(hart: BoardHart) -> Iterator[Exit]:
        context = 1  # hart 0 in S-mode
        hart.bus.write(at.PLIC.base + 4 * at.UART_INTERRUPT, 4, 1)
        hart.bus.write(at.PLIC.base + 0x2000 + 0x80 * context, 4, 1 << at.UART_INTERRUPT)
        hart.bus.write(at.UART.base + 1, 1, 1)
        ready.set()
        while 9 not in hart.pending:
            yield Exit.IDLE
        key = hart.bus.read(at.UART.base, 1)
        assert key is not None
        hart.bus.write(at.UART.base, 1, key + 1)
        hart.bus.write(at.TEST.base, 4, 0x5555)
        yield from spin(hart)

    ready = threading.Event()
    keyboard = Keyboard()
    wanted = Configuration(kernel=configuration.kernel, memory_bytes=MEMORY_BYTES, serial=keyboard)
    with Machine(wanted, with_program(program)) as machine:
        machine.start()
        assert ready.wait(TIMEOUT_S)
        assert keyboard.receive(b"a") == 1
        machine.wait(TIMEOUT_S)
        assert keyboard.output == b"b"
        assert keyboard.receive(b"a") == 0, "input for a machine that is over"


def test_machine_timer_interrupts_an_idle_hart(configuration: Configuration) -> None:
    def program(hart: BoardHart) -> Iterator[Exit]:
        now = hart.bus.read(at.ACLINT.base + 0xBFF8, 8)
        assert now is not None
        hart.bus.write(at.ACLINT.base + 0x4000, 8, now + at.TIMEBASE_HZ // 50)
        while hart.deadline is None or time.monotonic() < hart.deadline:
            yield Exit.IDLE
        hart.bus.write(at.TEST.base, 4, 0x5555)
        yield from spin(hart)

    with Machine(configuration, with_program(program)) as machine:
        machine.start()
        assert machine.wait(TIMEOUT_S) is not None
        assert machine.statistics().seconds >= 0.02


def test_what_cannot_start(configuration: Configuration, tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"\0" * 100)
    machine = Machine(
        Configuration(kernel=tmp_path / "bad", memory_bytes=MEMORY_BYTES), with_program(spin)
    )
    with pytest.raises(FormatError):
        machine.start()
    machine.close()


def test_sizes_that_make_no_sense() -> None:
    for wrong in (
        Configuration(harts=0),
        Configuration(harts=65),
        Configuration(memory_bytes=1 << 20),
        Configuration(memory_bytes=(1 << 30) + 1),
        Configuration(mmio_drives=[Disk()] * 9),
    ):
        with pytest.raises(UsageError):
            Machine(wrong, with_program(spin))


def test_memory_larger_than_the_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configurations, "host_memory_bytes", lambda: 1 << 29)
    with pytest.raises(HostError, match="1024 MiB of memory asked for, and this host has 512 MiB"):
        Machine(Configuration(memory_bytes=1 << 30), with_program(spin))


def test_control_group_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "limit").write_text("4096\n")
    monkeypatch.setattr(configurations, "CGROUP_LIMIT", tmp_path / "limit")
    assert configurations.host_memory_bytes() == 4096
    (tmp_path / "limit").write_text("max\n")
    assert configurations.host_memory_bytes() > 1 << 20
