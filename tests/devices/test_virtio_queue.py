"""Split virtqueues, from well-formed to hostile."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maquina.devices.virtio.buffers import gather, scatter, size_of, split
from maquina.devices.virtio.queue import (
    FEATURE_EVENT_IDX,
    FEATURE_INDIRECT_DESC,
    MAX_INDIRECT,
    Queue,
)
from maquina.errors import GuestFault, StateError
from maquina.machine.memory import GuestMemory

BASE, SIZE = 0x8000_0000, 8 << 20
TABLE, AVAILABLE, USED, DATA, INDIRECT_AT = (
    BASE + at for at in (0, 0x1000, 0x2000, 0x8000, 0x4000)
)
NEXT, WRITE, INDIRECT = 1, 2, 4


class Driven:
    """A queue of eight, its guest memory, and what a driver does to it."""

    def __init__(self, features: int = FEATURE_INDIRECT_DESC, size: int = 8) -> None:
        self.memory = GuestMemory(BASE, SIZE)
        self.interrupts = 0
        self.queue = Queue(self.memory, size, self.interrupt)
        self.queue.descriptor_area, self.queue.driver_area = TABLE, AVAILABLE
        self.queue.device_area = USED
        self.queue.enable(features)
        self.available = 0

    def interrupt(self) -> None:
        self.interrupts += 1

    def describe(self, at: int, entry: tuple[int, int, int, int], table: int = TABLE) -> None:
        self.memory.write(table + 16 * at, struct.pack("<QIHH", *entry))

    def offer(self, *heads: int) -> None:
        for head in heads:
            slot = AVAILABLE + 4 + 2 * (self.available % self.queue.size)
            self.memory.write(slot, struct.pack("<H", head))
            self.available = (self.available + 1) & 0xFFFF
        self.memory.write(AVAILABLE + 2, struct.pack("<H", self.available))

    def used_index(self) -> int:
        return int.from_bytes(self.memory.read(USED + 2, 2), "little")

    def start_at(self, index: int) -> None:
        """As if `index` chains had passed."""
        state = self.queue.save()
        numbers = {"next_available": index, "next_used": index, "signalled": index}
        self.queue.restore({**state, **numbers}, FEATURE_INDIRECT_DESC | FEATURE_EVENT_IDX)
        self.available = index
        self.memory.write(AVAILABLE + 2, struct.pack("<H", index))


@pytest.fixture
def driven() -> Iterator[Driven]:
    made = Driven()
    yield made
    made.memory.close()


def test_a_chain_is_readable_buffers_then_writable_ones(driven: Driven) -> None:
    driven.describe(3, (DATA, 4, NEXT, 1))
    driven.describe(1, (DATA + 4, 2, NEXT, 7))
    driven.describe(7, (DATA + 16, 8, NEXT | WRITE, 0))
    driven.describe(0, (DATA + 64, 1, WRITE, 5))
    driven.memory.write(DATA, b"abcdef")
    driven.offer(3)
    chain = driven.queue.pop()
    assert chain
    assert (chain.head, gather(chain.readable, 99), size_of(chain.writable)) == (3, b"abcdef", 9)
    scatter(chain.writable, b"123456789")
    driven.queue.push(chain, 9)
    assert driven.memory.read(DATA + 16, 8) + driven.memory.read(DATA + 64, 1) == b"123456789"
    assert driven.memory.read(USED + 2, 10) == struct.pack("<HII", 1, 3, 9)
    assert driven.queue.pop() is None


def test_an_indirect_table_may_follow_direct_descriptors(driven: Driven) -> None:
    driven.describe(0, (DATA, 3, NEXT, 1))
    driven.describe(1, (INDIRECT_AT, 32, INDIRECT | WRITE, 9))  # WRITE is ignored here
    driven.describe(0, (DATA + 3, 3, NEXT, 1), INDIRECT_AT)
    driven.describe(1, (DATA + 32, 5, WRITE, 0), INDIRECT_AT)
    driven.memory.write(DATA, b"abcdef")
    driven.offer(0)
    chain = driven.queue.pop()
    assert chain
    assert (gather(chain.readable, 6), size_of(chain.writable)) == (b"abcdef", 5)


END = BASE + SIZE
MALFORMED = {
    "head out of the table": ([], 8),
    "next out of the table": ([(DATA, 1, NEXT, 8)], 0),
    "cycle": ([(DATA, 1, NEXT, 1), (DATA, 1, NEXT, 0)], 0),
    "cycle to itself": ([(DATA, 0, NEXT, 0)], 0),
    "not memory": ([(0x1000, 1, 0, 0)], 0),
    "beyond memory": ([(END - 1, 2, 0, 0)], 0),
    "address wraps": ([((1 << 64) - 1, 2, 0, 0)], 0),
    "length beyond memory": ([(DATA, 0xFFFF_FFFF, 0, 0)], 0),
    "readable after writable": ([(DATA, 1, NEXT | WRITE, 1), (DATA, 1, 0, 0)], 0),
    "indirect and next": ([(INDIRECT_AT, 16, INDIRECT | NEXT, 1)], 0),
    "indirect of no descriptor": ([(INDIRECT_AT, 0, INDIRECT, 0)], 0),
    "indirect of part of a descriptor": ([(INDIRECT_AT, 24, INDIRECT, 0)], 0),
    "indirect beyond the bound": ([(INDIRECT_AT, 16 * MAX_INDIRECT + 16, INDIRECT, 0)], 0),
    "indirect not memory": ([(0, 16, INDIRECT, 0)], 0),
    "indirect in indirect": ([(TABLE + 16, 16, INDIRECT, 0), (DATA, 16, INDIRECT, 0)], 0),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_chain_is_a_fault_of_the_guest(driven: Driven, name: str) -> None:
    entries, head = MALFORMED[name]
    driven.describe(0, (DATA, 1, 0, 0), INDIRECT_AT)
    for at, entry in enumerate(entries):
        driven.describe(at, entry)
    driven.offer(head)
    with pytest.raises(GuestFault):
        driven.queue.pop()


def test_indirect_descriptors_must_have_been_negotiated() -> None:
    driven = Driven(features=0)
    driven.describe(0, (INDIRECT_AT, 16, INDIRECT, 0))
    driven.offer(0)
    with pytest.raises(GuestFault):
        driven.queue.pop()
    driven.memory.close()


def test_a_chain_may_not_name_more_than_four_gigabytes(driven: Driven) -> None:
    driven.describe(0, (INDIRECT_AT, 16 * MAX_INDIRECT, INDIRECT, 0))
    for at in range(MAX_INDIRECT):
        entry = (BASE, SIZE, NEXT if at + 1 < MAX_INDIRECT else 0, at + 1)  # always the same
        driven.describe(at, entry, INDIRECT_AT)
    driven.offer(0)
    with pytest.raises(GuestFault, match="exceeds"):
        driven.queue.pop()
    driven.describe(511, (BASE, SIZE, 0, 0), INDIRECT_AT)
    assert driven.queue.pop()


def test_more_available_than_the_queue_holds_is_a_fault(driven: Driven) -> None:
    driven.describe(0, (DATA, 1, 0, 0))
    driven.memory.write(AVAILABLE + 2, struct.pack("<H", 9))
    with pytest.raises(GuestFault):
        driven.queue.pop()


def test_an_index_that_goes_back_takes_unused_chains_back(driven: Driven) -> None:
    driven.describe(0, (DATA, 4, WRITE, 0))
    driven.offer(0, 0, 0)
    driven.queue.pop()
    driven.memory.write(AVAILABLE + 2, struct.pack("<H", 1))
    assert driven.queue.pop() is None


def test_indices_wrap() -> None:
    driven = Driven(FEATURE_EVENT_IDX)
    driven.start_at(0xFFFE)
    driven.describe(0, (DATA, 4, WRITE, 0))
    for count in range(1, 6):
        driven.offer(0)
        event = (0xFFFE + count - 1) & 0xFFFF
        driven.memory.write(AVAILABLE + 4 + 2 * 8, struct.pack("<H", event))
        for chain in driven.queue.drain():
            driven.queue.push(chain, 4)
        assert driven.used_index() == (0xFFFE + count) & 0xFFFF
        assert driven.interrupts == count
    driven.memory.close()


@pytest.mark.parametrize(
    ("event", "wanted"), [(0, True), (1, True), (2, True), (3, False), (0xFFFF, False)]
)
def test_with_event_indices_a_batch_interrupts_if_it_passes_the_event(
    event: int, wanted: bool
) -> None:
    driven = Driven(FEATURE_EVENT_IDX)
    driven.describe(0, (DATA, 4, WRITE, 0))
    driven.memory.write(AVAILABLE + 4 + 2 * 8, struct.pack("<H", event))
    driven.offer(0, 0, 0)
    for chain in driven.queue.drain():
        driven.queue.push(chain, 4)
    assert driven.interrupts == wanted
    assert driven.memory.read(USED + 4 + 8 * 8, 2) == b"\3\0"  # kick me for the fourth
    driven.queue.signal()
    assert driven.interrupts == wanted
    driven.memory.close()


def test_without_event_indices_the_flags_rule(driven: Driven) -> None:
    driven.describe(0, (DATA, 4, WRITE, 0))
    for flags in (1, 0):
        driven.memory.write(AVAILABLE, struct.pack("<H", flags))
        driven.offer(0)
        for chain in driven.queue.drain():
            driven.queue.push(chain, 4)
        assert driven.interrupts == 1 - flags
    driven.queue.decline_kicks()
    assert driven.memory.read(USED, 2) == b"\1\0"
    driven.queue.ask_for_kick()
    assert driven.memory.read(USED, 2) == b"\0\0"


def test_a_chain_from_before_a_reset_goes_nowhere(driven: Driven) -> None:
    driven.describe(0, (DATA, 4, WRITE, 0))
    driven.offer(0)
    chain = driven.queue.pop()
    assert chain
    driven.queue.reset()
    assert not driven.queue.is_current(chain)
    driven.queue.descriptor_area, driven.queue.driver_area = TABLE, AVAILABLE
    driven.queue.device_area = USED
    driven.queue.enable(0)
    driven.queue.push(chain, 4)
    driven.queue.signal()
    assert (driven.used_index(), driven.interrupts) == (0, 0)


def test_what_the_device_wrote_is_announced_and_no_more(driven: Driven) -> None:
    told: list[tuple[int, int]] = []
    driven.memory.on_code_written.append(lambda address, size: told.append((address, size)))
    driven.memory.code_pages[:] = b"\1" * len(driven.memory.code_pages)
    driven.memory.on_code_written.clear()
    driven.describe(0, (DATA, 100, NEXT, 1))
    driven.describe(1, (DATA + 4096, 100, NEXT | WRITE, 2))
    driven.describe(2, (DATA + 8192, 100, WRITE, 2))
    driven.offer(0)
    chain = driven.queue.pop()
    assert chain
    driven.memory.on_code_written.append(lambda address, size: told.append((address, size)))
    driven.queue.push(chain, 130)
    assert told == [(DATA + 4096, 100), (DATA + 8192, 30)]


def test_a_saved_queue_goes_on_where_it_was(driven: Driven) -> None:
    driven.describe(0, (DATA, 4, WRITE, 0))
    driven.offer(0, 0)
    chain = driven.queue.pop()
    assert chain
    driven.queue.push(chain, 4)
    twin = Queue(driven.memory, 8, driven.interrupt)
    twin.restore(driven.queue.save(), FEATURE_INDIRECT_DESC)
    assert twin.pending == 1
    twin.signal()
    assert driven.interrupts == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("size", 16),
        ("size", 3),
        ("descriptor_area", 0),
        ("driver_area", BASE + 1),
        ("next_used", -1),
    ],
)
def test_a_saved_queue_that_cannot_be_is_refused(driven: Driven, field: str, value: int) -> None:
    before = driven.queue.save()
    with pytest.raises(StateError):
        driven.queue.restore({**before, field: value}, 0)
    assert driven.queue.save() == before


def test_buffers_are_split_anywhere() -> None:
    memory = memoryview(bytearray(range(20)))
    buffers = [memory[:3], memory[3:3], memory[3:11], memory[11:20]]
    for at in range(22):
        front, rest = split(buffers, at)
        assert gather(front, 99) == bytes(range(min(at, 20)))
        assert gather(rest, 99) == bytes(range(min(at, 20), 20))
        assert gather(buffers, at) == bytes(range(min(at, 20)))


ADDRESSES = st.one_of(
    st.integers(BASE, END), st.sampled_from([TABLE, INDIRECT_AT, DATA, END - 1, 0, (1 << 64) - 1])
)
LENGTHS = st.one_of(
    st.sampled_from([0, 1, 16, 32, 4096, 16 * MAX_INDIRECT]), st.integers(0, 2**32 - 1)
)
ENTRIES = st.tuples(
    ADDRESSES, LENGTHS, st.one_of(st.integers(0, 7), st.integers(0, 0xFFFF)), st.integers(0, 10)
)


@settings(
    derandomize=True,
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    table=st.lists(ENTRIES, max_size=8),
    indirect=st.lists(ENTRIES, max_size=4),
    heads=st.lists(st.integers(0, 9), max_size=9),
    index=st.one_of(st.none(), st.integers(0, 0xFFFF)),
    features=st.sampled_from([0, FEATURE_INDIRECT_DESC, FEATURE_EVENT_IDX, 3 << 28]),
)
def test_random_rings(
    table: list[tuple[int, int, int, int]],
    indirect: list[tuple[int, int, int, int]],
    heads: list[int],
    index: int | None,
    features: int,
) -> None:
    """Invariant: a ring yields chains that lie in memory, or GuestFault; never anything else.

    A device that writes its whole room gives no more used entries than there were chains.
    """
    driven = Driven(features)
    for at, entry in enumerate(table):
        driven.describe(at, entry)
    for at, entry in enumerate(indirect):
        driven.describe(at, entry, INDIRECT_AT)
    driven.offer(*heads)
    if index is not None:
        driven.memory.write(AVAILABLE + 2, struct.pack("<H", index))
    taken = 0
    try:
        for chain in driven.queue.drain():
            taken += 1
            for address, length in chain.spans:
                assert length == 0 or (address in driven.memory and address + length <= END)
            scatter(chain.writable, gather(chain.readable, 5000))
            driven.queue.push(chain, min(size_of(chain.writable), 0xFFFF_FFFF))
            if taken > 50:  # the chain rewrote its own ring
                break
    except GuestFault:
        pass
    driven.memory.close()
