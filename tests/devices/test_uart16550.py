"""The serial port, register by register (PC16550D data sheet, chapter 8)."""

from __future__ import annotations

import random

import pytest

from maquina.devices.uart16550 import Uart16550
from maquina.errors import StateError
from maquina.machine.interrupts import Line
from maquina.machine.state import State

DATA, IER, IIR, FCR, LCR, MCR, LSR, MSR, SCR = 0, 1, 2, 2, 3, 4, 5, 6, 7


def is_up(line: Line) -> bool:
    return line.level


class Terminal:
    """The other end; what does not fit waits in `typed`, as a backend has it."""

    def __init__(self) -> None:
        self.shown = b""
        self.typed = b""
        self.line = Line()
        self.uart = Uart16550(self, self.line)

    def attach(self, receive: object) -> None:
        """The uart is known already."""

    def write(self, data: bytes) -> None:
        self.shown += data

    def ready(self) -> None:
        self.typed = self.typed[self.uart.receive(self.typed) :]

    def type(self, data: bytes) -> None:
        self.typed += data
        self.ready()

    def get(self, register: int) -> int:
        return self.uart.read(register, 1)

    def put(self, register: int, value: int) -> None:
        self.uart.write(register, 1, value)

    def drain(self) -> bytes:
        data = b""
        while self.get(LSR) & 1:
            data += bytes([self.get(DATA)])
        return data


@pytest.fixture
def terminal() -> Terminal:
    return Terminal()


def test_output_is_sent_and_the_transmitter_is_always_empty(terminal: Terminal) -> None:
    for byte in b"hello\x00\xff":
        terminal.put(DATA, byte)
        assert terminal.get(LSR) == 0x60
    assert terminal.shown == b"hello\x00\xff"


def test_the_divisor_hides_the_first_two_registers(terminal: Terminal) -> None:
    terminal.put(IER, 0x0F)
    terminal.put(LCR, 0x83)
    terminal.put(DATA, 0x34)
    terminal.put(IER, 0x12)
    assert (terminal.get(DATA), terminal.get(IER), terminal.get(LCR)) == (0x34, 0x12, 0x83)
    terminal.put(LCR, 3)
    assert terminal.get(IER) == 0x0F
    assert terminal.shown == b""


def test_scratch_keeps_a_byte_and_upper_bits_of_enables_do_not_exist(terminal: Terminal) -> None:
    terminal.put(SCR, 0xA5)
    terminal.put(IER, 0xF0)
    terminal.put(MCR, 0xE0)
    assert [terminal.get(at) for at in (SCR, IER, MCR)] == [0xA5, 0, 0]


def test_without_fifo_one_byte_is_held_and_the_rest_waits(terminal: Terminal) -> None:
    terminal.type(b"abc")
    assert terminal.typed == b"bc"
    assert terminal.drain() == b"abc"


def test_with_fifo_sixteen_are_held_and_nothing_is_lost(terminal: Terminal) -> None:
    terminal.put(FCR, 0x01)
    assert terminal.get(IIR) == 0xC1
    data = bytes(range(256)) * 2
    terminal.type(data)
    assert len(terminal.typed) == len(data) - 16
    assert terminal.drain() == data


@pytest.mark.parametrize(("bits", "level"), [(0, 1), (1, 4), (2, 8), (3, 14)])
def test_trigger_levels_tell_data_from_a_timeout(
    terminal: Terminal, bits: int, level: int
) -> None:
    terminal.put(FCR, 0x01 | bits << 6)
    terminal.put(IER, 1)
    for count in range(1, level):
        terminal.type(b"x")
        assert is_up(terminal.line)
        assert terminal.get(IIR) == 0xCC, count
    terminal.type(b"x")
    assert terminal.get(IIR) == 0xC4
    terminal.drain()
    assert terminal.get(IIR) == 0xC1
    assert not is_up(terminal.line)


def test_transmitter_empty_interrupts_until_the_cause_is_read(terminal: Terminal) -> None:
    terminal.put(IER, 2)
    assert is_up(terminal.line)
    assert terminal.get(IIR) == 2
    assert not is_up(terminal.line)
    assert terminal.get(IIR) == 1
    terminal.put(DATA, 0x41)
    assert terminal.get(IIR) == 2
    terminal.put(IER, 0)
    terminal.put(DATA, 0x41)
    assert not is_up(terminal.line)
    terminal.put(IER, 2)
    assert is_up(terminal.line)


def test_causes_are_reported_by_priority(terminal: Terminal) -> None:
    terminal.put(IER, 0x0F)
    terminal.put(MCR, 0x10)  # into loopback: all modem inputs fall
    terminal.put(DATA, 1)
    terminal.put(DATA, 2)  # no FIFO: an overrun
    assert terminal.get(IIR) == 6
    assert terminal.get(LSR) == 0x63
    assert terminal.get(LSR) == 0x61
    assert terminal.get(IIR) == 4
    assert terminal.get(DATA) == 2
    assert terminal.get(IIR) == 2
    assert terminal.get(IIR) == 0
    assert terminal.get(MSR) & 0x0F == 0x0B
    assert terminal.get(IIR) == 1


def test_loopback_wires_modem_outputs_to_inputs(terminal: Terminal) -> None:
    assert terminal.get(MSR) == 0xB0
    for out, status in ((0x01, 0x20), (0x02, 0x10), (0x04, 0x40), (0x08, 0x80)):
        terminal.put(MCR, 0x10 | out)
        assert terminal.get(MSR) & 0xF0 == status
    terminal.put(MCR, 0x14)
    terminal.get(MSR)
    terminal.put(MCR, 0x10)
    assert terminal.get(MSR) == 0x04  # the ring's trailing edge
    terminal.put(DATA, 0x5A)
    assert terminal.shown == b""
    assert terminal.drain() == b"\x5a"


def test_input_waits_during_loopback(terminal: Terminal) -> None:
    terminal.put(MCR, 0x10)
    terminal.type(b"later")
    assert terminal.drain() == b""
    terminal.put(MCR, 0x00)
    assert terminal.drain() == b"later"


def test_clearing_the_receiver_asks_for_more(terminal: Terminal) -> None:
    terminal.put(FCR, 1)
    terminal.type(bytes(20))
    terminal.put(FCR, 3)
    assert terminal.drain() == bytes(4)


def test_a_break_is_an_error_with_a_zero(terminal: Terminal) -> None:
    terminal.put(IER, 4)
    terminal.uart.receive_break()
    assert terminal.get(IIR) == 6
    assert terminal.get(LSR) == 0x71
    assert terminal.get(DATA) == 0


def test_a_port_is_restored_with_what_it_holds(terminal: Terminal) -> None:
    terminal.put(FCR, 0x41)
    terminal.put(IER, 3)
    terminal.put(LCR, 3)
    terminal.type(b"0123456789")
    twin = Terminal()
    twin.uart.restore(terminal.uart.save())
    assert is_up(twin.line)
    assert twin.get(IIR) == 0xC4
    twin.type(b"!")
    assert twin.drain() == b"0123456789!"


@pytest.mark.parametrize(
    ("field", "value"),
    [("fifo", bytes(2)), ("fcr", 2), ("ier", 16), ("divisor", None), ("is_empty_new", 1)],
)
def test_a_state_that_cannot_be_is_refused(terminal: Terminal, field: str, value: State) -> None:
    state = terminal.uart.save()
    with pytest.raises(StateError):
        terminal.uart.restore({**state, field: value})
    assert terminal.uart.save() == state


def test_random_use(terminal: Terminal) -> None:
    """Invariant: reads answer a byte, and the wire is up exactly while IIR reports a cause."""
    choice = random.Random(4)
    for _ in range(5000):
        register, size = choice.randrange(10), choice.choice([1, 1, 2, 4, 8])
        action = choice.randrange(4)
        if action == 0:
            terminal.type(choice.randbytes(choice.randrange(20)))
        elif action == 1:
            assert 0 <= terminal.uart.read(register, size) < 256
        elif action == 2:
            terminal.uart.write(register, size, choice.getrandbits(8 * size))
        else:
            was_up = terminal.line.level
            assert was_up == (terminal.get(IIR) & 1 == 0)


def test_the_wire_rises_anew_whenever_something_happens(terminal: Terminal) -> None:
    rises: list[bool] = []
    terminal.line.connect(lambda level: rises.append(level) if level else None)

    def happened() -> bool:
        count = len(rises)
        rises.clear()
        return bool(count)

    terminal.put(FCR, 1)
    terminal.put(IER, 3)
    assert happened()  # the transmitter is empty
    terminal.put(DATA, ord("a"))
    assert happened()
    terminal.get(LSR)
    assert not happened()
    terminal.type(b"bc")
    assert happened()
    terminal.get(DATA)
    assert happened()  # another byte waits
    terminal.get(IIR)
    terminal.put(IER, 1)
    terminal.get(DATA)
    happened()
    terminal.get(LSR)
    assert not happened()
    assert not is_up(terminal.line)
