"""The console and its ports, driven by a guest's driver over PCI."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

import pytest
from tests.devices.backends import Program
from tests.devices.driver import EVENT_IDX, Driver, Pci

from maquina.devices.virtio.console import Console
from maquina.errors import StateError, UsageError
from maquina.machine.bus import AddressSpace

READY, ADD, REMOVE, PORT_READY, CONSOLE, RESIZE, OPEN, NAME = range(8)
MULTIPORT = 2


class Guest:
    def __init__(self, *names: str, features: int = MULTIPORT | EVENT_IDX) -> None:
        self.console = Console(AddressSpace().lock, max_ports=4)
        self.pci = Pci(self.console)
        self.console.lock = self.pci.space.lock
        self.programs: dict[int, Program] = {}
        for name in names:
            self.plug(name)
        self.driver = Driver(self.pci)
        self.rings = self.driver.start(features)
        self.buffers: dict[tuple[int, int], int] = {}
        self.post(2, count=16)

    def plug(self, name: str, *, is_console: bool = False, room: int = 1 << 30) -> int:
        program = Program(room)
        number = self.console.add_port(name, program, is_console=is_console)
        self.programs[number] = program
        return number

    def post(self, index: int, size: int = 64, count: int = 1) -> None:
        for _ in range(count):
            address = self.pci.allocate(size)
            self.buffers[index, self.rings[index].add([(address, size, True)])] = address
        self.rings[index].kick()

    def taken(self, index: int) -> list[bytes]:
        return [
            self.pci.memory.read(self.buffers[index, head], size)
            for head, size in self.rings[index].collect()
        ]

    def messages(self) -> list[tuple[int, int, int, bytes]]:
        found = [(*struct.unpack_from("<IHH", raw), raw[8:]) for raw in self.taken(2)]
        self.post(2, count=len(found))
        return found

    def tell(self, number: int, event: int, value: int = 1) -> None:
        assert self.rings[3].request(struct.pack("<IHH", number, event, value)) == b""

    def bring_up(self, *numbers: int) -> None:
        """As Linux does: device ready, each port ready, each port opened by a program."""
        self.tell(0, READY)
        for number in numbers:
            self.tell(number, PORT_READY)
            self.tell(number, OPEN)
        self.messages()

    def queue(self, number: int, way: int) -> int:
        return way + (2 * number + 2 if number else 0)

    def write(self, number: int, data: bytes, pieces: int = 1) -> bool:
        """Whether the host took all of it."""
        return self.rings[self.queue(number, 1)].request(data, pieces=pieces) == b""


@pytest.fixture
def guest() -> Iterator[Guest]:
    made = Guest("first", "second")
    yield made
    made.pci.close()


def test_configuration_tells_how_many_ports_there_can_be(guest: Guest) -> None:
    assert guest.driver.config(4, 4) == 4
    assert guest.driver.get(0x12, 2) == 10
    guest.console.resize(80, 25)
    assert guest.driver.acknowledge() & 2
    assert (guest.driver.config(0, 2), guest.driver.config(2, 2)) == (80, 25)


def test_ports_are_announced_and_introduced_when_the_driver_is_ready(guest: Guest) -> None:
    assert guest.messages() == []
    guest.tell(0, READY)
    assert guest.messages() == [(0, ADD, 1, b""), (1, ADD, 1, b"")]
    guest.tell(1, PORT_READY)
    assert guest.messages() == [(1, NAME, 1, b"second"), (1, OPEN, 1, b"")]


def test_a_console_port_is_a_terminal_with_a_size(guest: Guest) -> None:
    guest.console.resize(132, 43)
    number = guest.plug("tty", is_console=True)
    guest.tell(0, READY)
    guest.messages()
    guest.tell(number, PORT_READY)
    assert guest.messages() == [
        (2, CONSOLE, 1, b""),
        (2, RESIZE, 1, struct.pack("<HH", 132, 43)),
        (2, NAME, 1, b"tty"),
        (2, OPEN, 1, b""),
    ]
    guest.console.resize(80, 25)
    assert guest.messages() == [(2, RESIZE, 1, struct.pack("<HH", 80, 25))]


def test_streams_are_binary_safe_both_ways(guest: Guest) -> None:
    guest.bring_up(0, 1)
    data = random.Random(6).randbytes(200_000)
    for number in (0, 1):
        program = guest.programs[number]
        assert guest.write(number, data, pieces=7)
        assert program.output == data
        program.say(data[:300])
        received = b""
        while len(received) < 300:
            guest.post(guest.queue(number, 0))
            received += b"".join(guest.taken(guest.queue(number, 0)))
        assert received == data[:300]


def test_output_waits_in_the_guest_until_the_host_has_room(guest: Guest) -> None:
    guest.bring_up(1)
    program = guest.programs[1]
    program.room = 3
    assert not guest.write(1, b"0123456789", pieces=3)
    ring = guest.rings[guest.queue(1, 1)]
    for room, output in ((1, b"0123"), (5, b"012345678")):
        program.make_room(room)
        assert program.output == output
        assert ring.collect() == []
    program.make_room(100)
    assert program.output == b"0123456789"
    assert len(ring.collect()) == 1


def test_input_waits_at_the_host_until_the_guest_opens_and_has_buffers(guest: Guest) -> None:
    program = guest.programs[1]
    program.say(b"early")
    guest.tell(0, READY)
    guest.tell(1, PORT_READY)
    guest.post(4, size=4)
    assert guest.taken(4) == []
    guest.tell(1, OPEN)
    assert guest.taken(4) == [b"earl"]
    assert program.input == b"y"
    guest.post(4)
    assert guest.taken(4) == [b"y"]
    assert guest.driver.acknowledge() & 1


def test_each_side_learns_when_the_other_opens_and_closes(guest: Guest) -> None:
    guest.bring_up(1)
    guest.tell(1, OPEN, 0)
    guest.tell(1, OPEN, 1)
    assert guest.programs[1].opened == [True, False, True]
    guest.programs[1].set_open(False)
    guest.programs[1].set_open(False)
    assert guest.messages() == [(1, OPEN, 0, b"")]
    assert guest.write(1, b"to nobody")
    guest.programs[1].set_open(True)
    assert guest.messages() == [(1, OPEN, 1, b"")]
    assert guest.programs[1].output == b""


def test_ports_come_and_go_while_the_guest_runs(guest: Guest) -> None:
    guest.bring_up(0, 1)
    number = guest.plug("third")
    assert guest.messages() == [(2, ADD, 1, b"")]
    guest.console.remove_port(1)
    assert guest.messages() == [(1, REMOVE, 1, b"")]
    assert guest.write(1, b"late")
    guest.tell(1, OPEN, 1)
    assert guest.plug("again") == 1
    assert guest.messages() == [(1, ADD, 1, b"")]
    guest.plug("last")
    with pytest.raises(UsageError, match="close one"):
        guest.plug("one too many")
    assert number == 2


def test_a_port_that_went_before_it_was_announced_was_never_there(guest: Guest) -> None:
    guest.tell(0, READY)
    guest.messages()
    guest.rings[2].collect()
    while guest.console.queues[2].pop():  # no buffers for messages
        pass
    guest.console.remove_port(guest.plug("short-lived"))
    guest.console.remove_port(1)
    guest.plug("second life")
    guest.post(2, count=3)
    assert guest.messages() == [(1, REMOVE, 1, b""), (1, ADD, 1, b"")]


def test_messages_that_make_no_sense_are_ignored(guest: Guest) -> None:
    guest.bring_up(0)
    for number, event in ((3, PORT_READY), (0xFFFF_FFFF, OPEN), (0, ADD), (0, 99), (1, OPEN)):
        guest.tell(number, event)
    guest.rings[3].request(b"short")
    guest.rings[3].request(bytes(1000))
    assert guest.programs[1].opened == []
    assert guest.driver.status == 0xF


def test_a_guest_that_takes_no_messages_makes_nothing_grow(guest: Guest) -> None:
    for _ in range(500):
        guest.tell(0, READY)
        guest.tell(1, PORT_READY)
        for at in (False, True):
            guest.programs[1].set_open(at)
    assert len(guest.console._owed) <= 8


def test_without_multiport_there_is_port_zero() -> None:
    guest = Guest("only", features=0)
    program = guest.programs[0]
    assert program.opened == [True]
    program.say(b"in")
    guest.post(0)
    assert guest.taken(0) == [b"in"]
    assert guest.write(0, b"out")
    assert program.output == b"out"
    guest.pci.close()


def test_a_reset_closes_what_the_guest_had_open(guest: Guest) -> None:
    guest.bring_up(0, 1)
    guest.programs[1].room = 2
    guest.write(1, b"abcdef")
    while guest.console.queues[2].pop():  # no buffers for messages
        pass
    guest.programs[1].set_open(False)
    guest.programs[1].set_open(True)
    guest.driver.status = 0
    assert guest.programs[1].opened == [True, False]
    guest.programs[1].make_room(100)
    assert guest.programs[1].output == b"ab"
    guest.programs[1].say(b"kept")
    assert guest.programs[1].input == b"kept"
    guest.rings = guest.driver.start(MULTIPORT)
    guest.post(2, count=8)
    assert guest.messages() == []
    guest.post(4)
    guest.bring_up(1)
    assert guest.taken(4) == [b"kept"]
    assert guest.write(1, b"abcdef")
    assert guest.programs[1].output == b"ababcdef"


def test_after_a_reset_of_the_bus_ports_find_no_guest(guest: Guest) -> None:
    guest.bring_up(0, 1)
    guest.post(4)
    guest.pci.host.reset()
    assert guest.programs[1].opened == [True, False]
    assert guest.pci.space.find(guest.driver.base, 4) is None
    assert guest.pci.config_read(1, 0x10) == 4
    assert not any(line.level for line in guest.pci.lines)
    guest.pci.memory.bytes[:4] = b"gone"
    guest.programs[1].say(b"anybody there?")
    guest.programs[1].make_room(10)
    guest.programs[1].set_open(False)
    assert guest.programs[1].input == b"anybody there?"


def test_a_console_is_restored_in_the_middle_of_a_write(guest: Guest) -> None:
    guest.bring_up(0, 1)
    guest.programs[1].room = 4
    guest.write(1, b"0123456789")
    state = guest.pci.host.save()
    guest.driver.status = 0
    guest.programs[1].room = 1 << 20
    guest.pci.host.restore(state)
    guest.pci.host.resume()
    assert guest.programs[1].output == b"0123456789"
    assert len(guest.rings[5].collect()) == 1
    guest.programs[1].say(b"hello")
    guest.post(4)
    assert guest.taken(4) == [b"hello"]


def test_of_a_restored_port_without_backend_the_host_is_closed(guest: Guest) -> None:
    guest.bring_up(0, 1)
    state = guest.pci.host.save()
    del guest.console.ports[1]
    guest.pci.host.restore(state)
    guest.pci.host.resume()
    assert guest.messages() == [(1, OPEN, 0, b"")]
    assert guest.write(1, b"to nobody")
    assert not guest.console.ports[1].is_host_open
    guest.plug("unknown then")
    with pytest.raises(StateError, match="unknown then"):
        guest.pci.host.restore(state)


def test_a_state_that_cannot_be_is_refused(guest: Guest) -> None:
    guest.bring_up(0, 1)
    state = guest.console.save()
    port = guest.console.ports[1].save()
    for field, value in (
        ("owed", struct.pack("<IHH", 3, NAME, 1)),
        ("owed", b"123"),
        ("ports", {"0": port}),
        ("ports", {"9": port}),
        ("ports", {"0": {**port, "name": "first"}, "1": {**port, "sent": -1}}),
        ("columns", 1 << 16),
    ):
        with pytest.raises(StateError):
            guest.console.restore({**state, field: value})  # type: ignore[dict-item]
    assert guest.console.save() == state
