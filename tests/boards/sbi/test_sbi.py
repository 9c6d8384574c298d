"""SBI calls as a kernel makes them, answered by a board of fake harts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.boards.fake_harts import FakeHart

from maquina.boards.addresses import RAM_BASE, UART
from maquina.boards.processors import Processor, Processors
from maquina.boards.sbi import base, calls, console, dispatch, hsm, ipi, reset, rfence, timer
from maquina.boards.sbi.calls import Error, PowerState
from maquina.devices.uart16550 import Uart16550
from maquina.machine.bus import AddressSpace
from maquina.machine.interrupts import Line
from maquina.machine.memory import GuestMemory
from maquina.machine.vcpu import Exit

A0, A1, A6, A7 = 10, 11, 16, 17
ALL = (1 << 64) - 1


class Recorder:
    """A console that remembers, and has nothing more to say than it is given."""

    def __init__(self) -> None:
        self.output = bytearray()

    def attach(self, receive: Callable[[bytes], int]) -> None: ...

    def write(self, data: bytes) -> None:
        self.output += data

    def ready(self) -> None: ...


class Platform:
    """A board without threads: its harts are parked, so requests are served at once."""

    def __init__(self, harts: int) -> None:
        self.memory = GuestMemory(RAM_BASE, 1 << 16)
        self.bus = AddressSpace()
        self.console = Recorder()
        self.uart = Uart16550(self.console, Line())
        self.bus.attach(UART.base, UART.size, self.uart, "uart")
        self.harts = [FakeHart(_nothing) for _ in range(harts)]
        self.group = Processors(self.harts, lambda _: None, _raise)
        self.group.all[0].begin(1, RAM_BASE, ())
        self.ended: list[str | int] = []

    @property
    def processors(self) -> Sequence[Processor]:
        return self.group.all

    def on_harts(
        self,
        caller: calls.Processor,
        targets: Sequence[calls.Processor],
        action: Callable[[calls.Hart], None],
    ) -> None:
        self.group.on_harts(caller, targets, action)

    def power_off(self, status: int) -> None:
        self.ended.append(status)

    def reset(self) -> None:
        self.ended.append("reset")

    def call(self, extension: int, function: int, *arguments: int) -> tuple[int, int]:
        """What hart 0 finds in a0 and a1 after an ecall."""
        x = self.harts[0].x
        x[A0 : A0 + 6] = [*arguments, *[0] * (6 - len(arguments))]
        x[A6], x[A7] = function, extension
        dispatch.answer(self, self.group.all[0])
        return x[A0] - (x[A0] >> 63 << 64), x[A1]


def _nothing(_: FakeHart) -> Iterator[Exit]:
    yield Exit.IDLE


def _raise(error: Exception) -> None:
    raise error


@pytest.fixture
def platform() -> Iterator[Platform]:
    platform = Platform(3)
    yield platform
    platform.memory.close()


def test_base_says_what_there_is(platform: Platform) -> None:
    assert platform.call(base.EXTENSION_ID, 0) == (0, 0x0200_0000)
    for extension in (0x10, 0x54494D45, 0x735049, 0x52464E43, 0x48534D, 0x53525354, 0x4442434E, 1):
        assert platform.call(base.EXTENSION_ID, 3, extension) == (0, 1)
    assert platform.call(base.EXTENSION_ID, 3, 0x504D55) == (0, 0)


def test_unknown_extensions_and_functions(platform: Platform) -> None:
    assert platform.call(0x504D55, 0) == (Error.NOT_SUPPORTED, 0)
    assert platform.call(base.EXTENSION_ID, 7) == (Error.NOT_SUPPORTED, 0)
    assert platform.call(rfence.EXTENSION_ID, 3) == (Error.NOT_SUPPORTED, 0)


def test_timer(platform: Platform) -> None:
    assert platform.call(timer.EXTENSION_ID, 0, 12345) == (0, 0)
    assert platform.harts[0].csrs[0x14D] == 12345


@pytest.mark.parametrize(
    ("mask", "start", "reached"),
    [(0b101, 0, {0, 2}), (0b11, 1, {1, 2}), (0, ALL, {0, 1, 2}), (0, 0, set()), (0, 9, set())],
)
def test_ipi(platform: Platform, mask: int, start: int, reached: set[int]) -> None:
    assert platform.call(ipi.EXTENSION_ID, 0, mask, start) == (0, 0)
    assert {number for number, hart in enumerate(platform.harts) if hart.pending} == reached


@pytest.mark.parametrize(("mask", "start"), [(0b1000, 0), (0b100, 1), (1, 3), (1, ALL - 1)])
def test_harts_that_do_not_exist(platform: Platform, mask: int, start: int) -> None:
    assert platform.call(ipi.EXTENSION_ID, 0, mask, start) == (Error.INVALID_PARAM, 0)
    assert platform.call(rfence.EXTENSION_ID, 0, mask, start) == (Error.INVALID_PARAM, 0)


def test_rfence(platform: Platform) -> None:
    assert platform.call(rfence.EXTENSION_ID, 0, 0b010, 0) == (0, 0)
    assert platform.call(rfence.EXTENSION_ID, 1, 0b010, 0, 0x4000, 0x2000) == (0, 0)
    assert platform.call(rfence.EXTENSION_ID, 2, 0b011, 0, 0x4000, ALL, 7) == (0, 0)
    assert platform.call(rfence.EXTENSION_ID, 1, 0b010, 0, 0, 0) == (0, 0)
    assert platform.harts[0].flushes == [(None, None, 7)]
    assert platform.harts[1].flushes == [
        "fence_i",
        (0x4000, 0x2000, None),
        (None, None, 7),
        (None, None, None),
    ]
    assert platform.call(rfence.EXTENSION_ID, 1, 1, 0, ALL, 2) == (Error.INVALID_PARAM, 0)


def test_hart_start(platform: Platform) -> None:
    started, stopped = PowerState.STARTED, PowerState.STOPPED
    assert platform.call(hsm.EXTENSION_ID, 2, 1) == (0, stopped)
    assert platform.call(hsm.EXTENSION_ID, 0, 1, RAM_BASE + 0x100, 99) == (0, 0)
    hart = platform.harts[1]
    assert (hart.pc, hart.privilege, hart.x[10], hart.x[11]) == (RAM_BASE + 0x100, 1, 1, 99)
    assert hart.csrs[0x180] == 0
    assert platform.call(hsm.EXTENSION_ID, 2, 1) == (0, started)
    again = platform.call(hsm.EXTENSION_ID, 0, 1, RAM_BASE, 0)
    assert again == (Error.ALREADY_AVAILABLE, 0)
    assert platform.call(hsm.EXTENSION_ID, 0, 2, 0x1000, 0) == (Error.INVALID_ADDRESS, 0)
    assert platform.call(hsm.EXTENSION_ID, 0, 3, RAM_BASE, 0) == (Error.INVALID_PARAM, 0)
    assert platform.call(hsm.EXTENSION_ID, 2, 3) == (Error.INVALID_PARAM, 0)


def test_hart_stop_and_suspend(platform: Platform) -> None:
    platform.call(hsm.EXTENSION_ID, 1)
    assert platform.processors[0].power is PowerState.STOPPED
    platform.call(hsm.EXTENSION_ID, 3, 0x8000_0000, RAM_BASE + 8, 5)
    assert (platform.harts[0].pc, platform.harts[0].x[11]) == (RAM_BASE + 8, 5)
    assert platform.call(hsm.EXTENSION_ID, 3, 0)[0] == 0
    assert platform.call(hsm.EXTENSION_ID, 3, 7)[0] == Error.INVALID_PARAM
    assert platform.call(hsm.EXTENSION_ID, 3, 0x8000_0000, 8)[0] == Error.INVALID_ADDRESS


def test_system_reset(platform: Platform) -> None:
    for kind, reason in ((0, 0), (0, 1), (1, 0), (2, 1)):
        platform.call(reset.EXTENSION_ID, 0, kind, reason)
    assert platform.ended == [0, 1, "reset", "reset"]
    assert platform.call(reset.EXTENSION_ID, 0, 3, 0) == (Error.INVALID_PARAM, 0)


def test_debug_console(platform: Platform) -> None:
    platform.memory.write(RAM_BASE + 16, b"hello\n")
    assert platform.call(console.EXTENSION_ID, 0, 6, RAM_BASE + 16, 0) == (0, 6)
    assert platform.call(console.EXTENSION_ID, 2, ord("!")) == (0, 0)
    assert platform.console.output == b"hello\n!"
    assert platform.call(console.EXTENSION_ID, 1, 64, RAM_BASE, 0) == (0, 0)
    platform.uart.receive(b"k")
    assert platform.call(console.EXTENSION_ID, 1, 64, RAM_BASE, 0) == (0, 1)
    assert platform.memory.read(RAM_BASE, 1) == b"k"
    for size, low, high in ((6, 0, 0), (6, RAM_BASE, 1), (ALL, RAM_BASE + 0xFFFF, 0)):
        assert platform.call(console.EXTENSION_ID, 0, size, low, high)[0] == Error.INVALID_PARAM


def test_legacy(platform: Platform) -> None:
    platform.harts[0].x[A1] = 0x55
    platform.call(1, 0, ord("x"))
    assert platform.console.output == b"x"
    assert platform.call(2, 0)[0] == -1
    platform.uart.receive(b"k")
    assert platform.call(2, 0)[0] == ord("k")
    platform.call(0, 0, 77)
    assert platform.harts[0].csrs[0x14D] == 77
    platform.call(8, 0)
    assert platform.ended == [0]


NUMBERS = st.one_of(
    st.integers(0, 8), st.integers(0, ALL), st.sampled_from([RAM_BASE, RAM_BASE + 0xFFF8, ALL])
)


@settings(derandomize=True, max_examples=500)
@given(
    st.sampled_from(sorted(dispatch.EXTENSIONS)), st.integers(0, 8), st.lists(NUMBERS, max_size=6)
)
def test_arbitrary_calls(extension: int, function: int, arguments: list[int]) -> None:
    """Invariant: no call raises, and each answers with a standard error and 64-bit registers."""
    platform = Platform(2)
    try:
        error, _ = platform.call(extension, function, *arguments)
        assert platform.ended or error in set(Error) or function in (1, 3)
        assert all(0 <= register <= ALL for register in platform.harts[0].x)
    finally:
        platform.memory.close()
