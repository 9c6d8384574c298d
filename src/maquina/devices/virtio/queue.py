"""Split virtqueues (virtio 1.3, section 2.7): how a driver and a device exchange buffers.

The driver owns the descriptor table and the available ring, the device the used ring; all three
are guest memory that the guest may change at any moment, from another processor too. So every
value is read once, checked, and used as read. Whatever is wrong with a ring raises GuestFault,
which puts the device out of service until the driver resets it (section 2.1.2, NEEDS_RESET).

A device takes chains with `pop` or `drain`, gives them back with `push`, and calls `signal` once
for a batch. `push` is the one place where processors learn that a device wrote to memory.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from maquina.errors import GuestFault
from maquina.machine.memory import GuestMemory
from maquina.machine.state import Fields, State

DESCRIPTOR = struct.Struct("<QIHH")  # address, length, flags, next (2.7.5)
USED_ELEMENT = struct.Struct("<II")  # head of the chain, bytes written (2.7.8)
F_NEXT, F_WRITE, F_INDIRECT = 1, 2, 4
AVAIL_NO_INTERRUPT = USED_NO_NOTIFY = 1

FEATURE_INDIRECT_DESC = 1 << 28
FEATURE_EVENT_IDX = 1 << 29

MAX_QUEUE_SIZE = 32768  # section 2.7
# An indirect table can hold 2**28 descriptors: without a bound one chain of them would occupy us
# for minutes and take gigabytes of the host's memory. Linux builds tables of up to 1,024.
MAX_INDIRECT = 1024
# Section 2.7.4.2 bounds a chain to 2**32 bytes; descriptors that all name the same megabytes could
# otherwise make one small request cost terabytes of copying.
MAX_CHAIN_BYTES = 1 << 32
ADDRESS_MAX = (1 << 64) - 1


@dataclass(slots=True, eq=False)
class Chain:
    """One request: what the driver wrote for the device, then room for the device's answer."""

    head: int
    readable: list[memoryview]
    writable: list[memoryview]
    spans: list[tuple[int, int]]  # address and length of each writable buffer
    era: object  # the life of the queue in which the chain was taken


class Queue:
    """One virtqueue. The transport sets size and areas, enables and resets it; devices use it."""

    def __init__(self, memory: GuestMemory, maximum: int, interrupt: Callable[[], None]) -> None:
        if not 0 < maximum <= MAX_QUEUE_SIZE or maximum & (maximum - 1):
            raise ValueError(f"{maximum} is not a size of a virtqueue")
        self._memory = memory
        self._interrupt = interrupt
        self.maximum = maximum
        self.reset()

    def reset(self) -> None:
        """Back to the state at power on; chains taken before are void."""
        self.size = self.maximum
        self.descriptor_area = self.driver_area = self.device_area = 0
        self.is_enabled = False
        self._has_event_idx = self._has_indirect = False
        self._next_available = self._next_used = self._signalled = 0
        self._table = self._available = self._used = memoryview(b"")
        self._era = object()

    def enable(self, features: int) -> None:
        """Begin to use the areas. GuestFault if one is not memory or not aligned (2.7)."""
        events = 2 if features & FEATURE_EVENT_IDX else 0
        if self.descriptor_area % 16 or self.driver_area % 2 or self.device_area % 4:
            raise GuestFault("a part of a virtqueue is not aligned")
        table = self._memory.view(self.descriptor_area, 16 * self.size)
        available = self._memory.view(self.driver_area, 4 + 2 * self.size + events)
        used = self._memory.view(self.device_area, 4 + 8 * self.size + events)
        self._table = table
        # As 16-bit numbers, because struct moves bytes one by one: a processor must never see
        # half of an index.
        self._available, self._used = available.cast("H"), used.cast("H")
        self._used_bytes = used
        self._has_event_idx = bool(events)
        self._has_indirect = bool(features & FEATURE_INDIRECT_DESC)
        self.is_enabled = True

    # -- taking chains -------------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """How many chains wait to be taken. GuestFault if the driver's index cannot be."""
        if not self.is_enabled:
            return 0
        count = (self._available[1] - self._next_available) & 0xFFFF
        if count > self.size:
            raise GuestFault(f"a driver made {count} chains available in a queue of {self.size}")
        return count

    def pop(self) -> Chain | None:
        """The next chain, or None. GuestFault if it is malformed."""
        if not self.pending:
            return None
        head = self._available[2 + self._next_available % self.size]
        chain = self._chain(head)
        self._next_available = (self._next_available + 1) & 0xFFFF
        return chain

    def undo_pop(self, count: int = 1) -> None:
        """Leave the last `count` chains to be taken again, in order; none of them was pushed.

        Linux takes unused buffers back by lowering its index, so a device keeps no chains in hand.
        """
        self._next_available = (self._next_available - count) & 0xFFFF

    def drain(self) -> Iterator[Chain]:
        """Chains until none is left; then the driver is asked to kick and is signalled."""
        while True:
            while (chain := self.pop()) is not None:
                yield chain
            self.ask_for_kick()
            if not self.pending:
                break
        self.signal()

    def ask_for_kick(self) -> None:
        """Want to be told of the next chain. Look at `pending` afterwards: it may be there."""
        if not self.is_enabled:
            return
        if self._has_event_idx:
            self._used[2 + 4 * self.size] = self._next_available
        else:
            self._used[0] = 0
        self._memory.fence()

    def decline_kicks(self) -> None:
        """Want no kicks for now. With event indices it suffices not to ask (2.7.10)."""
        if self.is_enabled and not self._has_event_idx:
            self._used[0] = USED_NO_NOTIFY

    def _chain(self, head: int) -> Chain:
        readable: list[memoryview] = []
        writable: list[memoryview] = []
        spans: list[tuple[int, int]] = []
        view, total = self._memory.view, 0
        for address, length, is_writable in self._descriptors(head):
            total += length
            if total > MAX_CHAIN_BYTES:
                raise GuestFault("a descriptor chain exceeds 2**32 bytes")
            if is_writable:
                writable.append(view(address, length))
                spans.append((address, length))
            elif writable:
                raise GuestFault("a readable descriptor follows a writable one")
            else:
                readable.append(view(address, length))
        return Chain(head, readable, writable, spans, self._era)

    def _descriptors(self, index: int) -> Iterator[tuple[int, int, bool]]:
        """Address, length and direction of each buffer; a cycle ends in GuestFault."""
        table, size = self._table, self.size
        is_indirect, budget = False, size
        while True:
            if index >= size or not budget:
                raise GuestFault("a descriptor chain has a cycle or leaves its table")
            budget -= 1
            address, length, flags, index = DESCRIPTOR.unpack_from(table, 16 * index)
            if flags & F_INDIRECT:
                if is_indirect or flags & F_NEXT or not self._has_indirect:
                    raise GuestFault("an indirect descriptor where there can be none")
                table, size = self._indirect_table(address, length)
                is_indirect, budget, index = True, size, 0
                continue
            yield address, length, bool(flags & F_WRITE)
            if not flags & F_NEXT:
                return

    def _indirect_table(self, address: int, length: int) -> tuple[memoryview, int]:
        """A table of its own (2.7.5.3) and how many descriptors it has."""
        if length % 16 or not 0 < length <= 16 * MAX_INDIRECT:
            raise GuestFault(f"an indirect table of {length} bytes")
        return self._memory.view(address, length), length // 16

    # -- giving them back ----------------------------------------------------------------------

    def is_current(self, chain: Chain) -> bool:
        """Whether the driver still waits for this chain: the queue was not reset since."""
        return chain.era is self._era

    def push(self, chain: Chain, length: int) -> None:
        """Give a chain back of which the first `length` writable bytes were written.

        Nothing happens if the queue was reset since the chain was taken.
        """
        self.push_all([(chain, length)])

    def push_all(self, finished: list[tuple[Chain, int]]) -> None:
        """Give chains back so that the driver sees all of them or none."""
        index = self._next_used
        for chain, length in finished:
            if self.is_current(chain):
                self._mark_written(chain, length)
                slot = 4 + 8 * (index % self.size)
                USED_ELEMENT.pack_into(self._used_bytes, slot, chain.head, length)
                index = (index + 1) & 0xFFFF
        if index != self._next_used:
            self._next_used = index
            self._used[1] = index

    def _mark_written(self, chain: Chain, length: int) -> None:
        for address, size in chain.spans:
            if length <= 0:
                break
            self._memory.written(address, min(size, length))
            length -= size

    def signal(self) -> None:
        """Interrupt the driver, if it wants to know of what was pushed since the last time."""
        old, new = self._signalled, self._next_used
        if old == new:
            return
        self._signalled = new
        self._memory.written(self.device_area, 4 + 8 * self.size)
        self._memory.fence()
        if self._has_event_idx:
            event = self._available[2 + self.size]
            is_wanted = (new - event - 1) & 0xFFFF < (new - old) & 0xFFFF
        else:
            is_wanted = not self._available[0] & AVAIL_NO_INTERRUPT
        if is_wanted:
            self._interrupt()

    # -- saving --------------------------------------------------------------------------------

    def save(self) -> dict[str, State]:
        return {
            "size": self.size,
            "descriptor_area": self.descriptor_area,
            "driver_area": self.driver_area,
            "device_area": self.device_area,
            "is_enabled": self.is_enabled,
            "next_available": self._next_available,
            "next_used": self._next_used,
            "signalled": self._signalled,
        }

    def restore(self, state: dict[str, State], features: int) -> None:
        """Take over a saved queue of a device with these negotiated features."""
        fields = Fields(state, "a virtqueue")
        restored = Queue(self._memory, self.maximum, self._interrupt)
        restored.size = fields.integer("size", 1, self.maximum)
        if restored.size & (restored.size - 1):
            raise fields.error("size", "is not a power of two")
        restored.descriptor_area = fields.integer("descriptor_area", 0, ADDRESS_MAX)
        restored.driver_area = fields.integer("driver_area", 0, ADDRESS_MAX)
        restored.device_area = fields.integer("device_area", 0, ADDRESS_MAX)
        restored._next_available = fields.integer("next_available", 0, 0xFFFF)
        restored._next_used = fields.integer("next_used", 0, 0xFFFF)
        restored._signalled = fields.integer("signalled", 0, 0xFFFF)
        if fields.flag("is_enabled"):
            try:
                restored.enable(features)
            except GuestFault as fault:
                raise fields.error("is_enabled", f"but {fault}") from fault
        self.__dict__.update(restored.__dict__)
