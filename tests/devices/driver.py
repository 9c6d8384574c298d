"""A guest in Python: it finds virtio devices over PCI and drives them as a kernel would.

Everything goes through the address space and guest memory; nothing looks inside a device.
"""

from __future__ import annotations

import itertools
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from maquina.devices.pci import PciHost
from maquina.devices.virtio.device import VirtioDevice
from maquina.devices.virtio.transport_pci import VirtioPci
from maquina.machine.bus import AddressSpace
from maquina.machine.interrupts import Line
from maquina.machine.memory import GuestMemory

RAM, RAM_SIZE = 0x8000_0000, 32 << 20
ECAM, ECAM_SIZE = 0x3000_0000, 0x1000_0000
WINDOW_32, WINDOW_64 = (0x4000_0000, 0x4000_0000), (0x4_0000_0000, 0x4_0000_0000)

VERSION_1, EVENT_IDX, INDIRECT = 1 << 32, 1 << 29, 1 << 28
NEXT, WRITE, INDIRECT_FLAG = 1, 2, 4


class Space(Protocol):
    """Device registers, as loads and stores of a guest reach them."""

    def read(self, address: int, size: int) -> int | None: ...

    def write(self, address: int, size: int, value: int) -> bool: ...


class Memory(Protocol):
    """Guest memory."""

    def read(self, address: int, size: int) -> bytes: ...

    def write(self, address: int, data: bytes) -> None: ...


class View:
    """What a guest's driver needs of a machine, whoever's it is."""

    patience_s = 0.0  # how long to wait for an answer; ours come at once

    def __init__(self, space: Space, memory: Memory) -> None:
        self.space, self.memory = space, memory
        self._free = RAM + 0x1000

    def allocate(self, size: int, align: int = 16) -> int:
        """Guest memory that nothing else uses."""
        address = -(-self._free // align) * align
        self._free = address + size
        assert self._free <= RAM + RAM_SIZE
        return address


class PciView(View):
    """A guest's view of a PCI bus."""

    def config_read(self, slot: int, register: int, size: int = 4) -> int:
        value = self.space.read(ECAM + (slot << 15) + register, size)
        assert value is not None
        return value

    def config_write(self, slot: int, register: int, value: int, size: int = 4) -> None:
        assert self.space.write(ECAM + (slot << 15) + register, size, value)

    def capabilities(self, slot: int) -> list[int]:
        """Offsets, in the order of the chain."""
        found = []
        at = self.config_read(slot, 0x34, 1)
        while at:
            found.append(at)
            at = self.config_read(slot, at + 1, 1)
        return found

    def place_bar(self, slot: int, base: int, bar: int = 0) -> int:
        """Size a BAR, put it at `base`, enable memory and bus mastering; answers the size."""
        at = 0x10 + 4 * bar
        self.config_write(slot, at, 0xFFFF_FFFF)
        self.config_write(slot, at + 4, 0xFFFF_FFFF)
        low, high = self.config_read(slot, at), self.config_read(slot, at + 4)
        size = (~(high << 32 | low & ~15) & (1 << 64) - 1) + 1
        self.config_write(slot, at, base & 0xFFFF_FFFF)
        self.config_write(slot, at + 4, base >> 32)
        self.config_write(slot, 0x04, 0b110, 2)
        return size


class Pci(PciView):
    """A machine of ours with a PCI bus and nothing else."""

    def __init__(self, *devices: VirtioDevice) -> None:
        memory, space = GuestMemory(RAM, RAM_SIZE), AddressSpace()
        super().__init__(space, memory)
        self.space: AddressSpace = space
        self.memory: GuestMemory = memory
        self.lines = [Line() for _ in range(4)]
        self.host = PciHost(space, [WINDOW_32, WINDOW_64], self.lines)
        self.space.attach(ECAM, ECAM_SIZE, self.host, "pci")
        self.functions = [
            VirtioPci(device, self.memory, f"device{slot}") for slot, device in enumerate(devices)
        ]
        for slot, function in enumerate(self.functions, 1):
            self.host.plug(slot, function)

    def close(self) -> None:
        self.memory.close()


class Driver:
    """One virtio device, from enumeration to requests."""

    pci: View

    def __init__(self, pci: PciView, slot: int = 1, base: int = 0x4000_0000) -> None:
        self.pci, self.slot, self.base = pci, slot, base
        found = pci.capabilities(slot)
        vendor_specific = [at for at in found if pci.config_read(slot, at, 1) == 9]
        pci.place_bar(slot, base, pci.config_read(slot, vendor_specific[-1] + 4, 1))
        self.structures: dict[int, int] = {}
        for at in vendor_specific:
            kind = pci.config_read(slot, at + 3, 1)
            self.structures.setdefault(kind, base + pci.config_read(slot, at + 8))
            if kind == 2:
                self.notify_step = pci.config_read(slot, at + 16)
        self.features = 0

    # registers of the common configuration
    def get(self, offset: int, size: int) -> int:
        value = self.pci.space.read(self.structures[1] + offset, size)
        assert value is not None
        return value

    def put(self, offset: int, size: int, value: int) -> None:
        assert self.pci.space.write(self.structures[1] + offset, size, value)

    @property
    def status(self) -> int:
        return self.get(0x14, 1)

    @status.setter
    def status(self, value: int) -> None:
        self.put(0x14, 1, value)

    @property
    def offered(self) -> int:
        pages = []
        for page in (0, 1):
            self.put(0x00, 4, page)
            pages.append(self.get(0x04, 4))
        return pages[1] << 32 | pages[0]

    def choose(self, features: int) -> None:
        for page in (0, 1):
            self.put(0x08, 4, page)
            self.put(0x0C, 4, features >> 32 * page & 0xFFFF_FFFF)

    def negotiate(self, wanted: int = 0) -> int:
        """Reset, up to FEATURES_OK, with those of `wanted` that are offered; answers them."""
        self.status = 0
        self.status = 1
        self.status = 3
        self.features = self.offered & (wanted | VERSION_1)
        self.choose(self.features)
        self.status = 0xB
        assert self.status == 0xB
        return self.features

    def start(self, wanted: int = 0, sizes: dict[int, int] | None = None) -> list[Ring]:
        """All of initialisation; answers the queues, of the device's sizes unless told."""
        self.negotiate(wanted)
        rings = [
            self.set_up(index, (sizes or {}).get(index)) for index in range(self.count_queues())
        ]
        self.status = 0xF
        return rings

    def count_queues(self) -> int:
        return self.get(0x12, 2)

    def set_up(self, index: int, size: int | None = None) -> Ring:
        self.put(0x16, 2, index)
        if size is not None:
            self.put(0x18, 2, size)
        ring = Ring(self, index, self.get(0x18, 2))
        for offset, address in ((0x20, ring.table), (0x28, ring.available), (0x30, ring.used)):
            self.put(offset, 4, address & 0xFFFF_FFFF)
            self.put(offset + 4, 4, address >> 32)
        self.put(0x1C, 2, 1)
        return ring

    def config(self, offset: int, size: int) -> int:
        value = self.pci.space.read(self.structures[4] + offset, size)
        assert value is not None
        return value

    def config_write(self, offset: int, size: int, value: int) -> None:
        assert self.pci.space.write(self.structures[4] + offset, size, value)

    def acknowledge(self) -> int:
        """Read the interrupt status, which clears it."""
        value = self.pci.space.read(self.structures[3], 1)
        assert value is not None
        return value

    def kick(self, index: int) -> None:
        self.put_notify(self.structures[2] + index * self.notify_step, index)

    def put_notify(self, address: int, index: int) -> None:
        assert self.pci.space.write(address, 2, index)


@dataclass
class Ring:
    """The driver's side of a split virtqueue: free descriptors are a list, heads identify."""

    driver: Driver
    index: int
    size: int
    free: list[int] = field(default_factory=list)
    slots_of: dict[int, list[int]] = field(default_factory=dict)
    next_available: int = 0
    next_used: int = 0

    def __post_init__(self) -> None:
        pci = self.driver.pci
        self.memory = pci.memory
        self.table = pci.allocate(16 * self.size)
        self.available = pci.allocate(6 + 2 * self.size)
        self.used = pci.allocate(6 + 8 * self.size)
        for address, size in (
            (self.table, 16 * self.size),
            (self.available, 6 + 2 * self.size),
            (self.used, 6 + 8 * self.size),
        ):
            self.memory.write(address, bytes(size))
        self.free = list(range(self.size))

    def describe(self, slot: int, address: int, length: int, flags: int, following: int) -> None:
        """One descriptor, whatever it says."""
        entry = struct.pack("<QIHH", address, length, flags, following)
        self.memory.write(self.table + 16 * slot, entry)

    def add(self, buffers: Sequence[tuple[int, int, bool]], *, indirect: bool = False) -> int:
        """Make a chain of (address, length, is_writable) available; answers its head."""
        slots = [self.free.pop(0) for _ in buffers[: 1 if indirect else None]]
        if indirect:
            table = self.driver.pci.allocate(16 * len(buffers))
            self.memory.write(table, self._pack(buffers, list(range(len(buffers)))))
            self.describe(slots[0], table, 16 * len(buffers), INDIRECT_FLAG, 0)
        else:
            packed = self._pack(buffers, slots)
            for at, slot in enumerate(slots):
                entry = packed[16 * at : 16 * at + 16]
                self.memory.write(self.table + 16 * slot, entry)
        self.slots_of[slots[0]] = slots
        self.publish(slots[0])
        return slots[0]

    def _pack(self, buffers: Sequence[tuple[int, int, bool]], slots: list[int]) -> bytes:
        packed = b""
        for at, (address, length, is_writable) in enumerate(buffers):
            is_last = at == len(buffers) - 1
            flags = (WRITE if is_writable else 0) | (0 if is_last else NEXT)
            packed += struct.pack("<QIHH", address, length, flags, 0 if is_last else slots[at + 1])
        return packed

    def publish(self, head: int) -> None:
        """Put a head into the available ring and advance its index."""
        slot = self.available + 4 + 2 * (self.next_available % self.size)
        self.memory.write(slot, struct.pack("<H", head))
        self.next_available = (self.next_available + 1) & 0xFFFF
        self.memory.write(self.available + 2, struct.pack("<H", self.next_available))

    def kick(self) -> None:
        self.driver.kick(self.index)

    @property
    def wants_kick(self) -> bool:
        """Whether the device asks to be told of the chain last added."""
        if self.driver.features & EVENT_IDX:
            event = self._u16(self.used + 4 + 8 * self.size)
            return event == (self.next_available - 1) & 0xFFFF
        return not self._u16(self.used) & 1

    def ask_for_interrupt(self, index: int) -> None:
        """With EVENT_IDX: interrupt when the used index passes this one."""
        self.memory.write(self.available + 4 + 2 * self.size, struct.pack("<H", index & 0xFFFF))

    def set_no_interrupt(self, value: bool) -> None:
        self.memory.write(self.available, struct.pack("<H", int(value)))

    def collect(self) -> list[tuple[int, int]]:
        """Head and length of each chain used since the last time; their slots are free again."""
        done = []
        end = self._u16(self.used + 2)
        while self.next_used != end:
            slot = self.used + 4 + 8 * (self.next_used % self.size)
            head, length = struct.unpack("<II", self.memory.read(slot, 8))
            done.append((head, length))
            self.free.extend(self.slots_of.pop(head, []))
            self.next_used = (self.next_used + 1) & 0xFFFF
        return done

    def request(
        self, request: bytes, room: int = 0, *, pieces: int = 1, indirect: bool = False
    ) -> bytes | None:
        """Send bytes, kick, and answer what came back in `room` bytes; None if not used."""
        buffers = []
        if request:
            address = self.driver.pci.allocate(len(request))
            self.memory.write(address, request)
            buffers += _cut(address, len(request), pieces, False)
        answer = self.driver.pci.allocate(room)
        if room:
            buffers += _cut(answer, room, pieces, True)
        head = self.add(buffers, indirect=indirect)
        self.kick()
        used = dict(self.collect())
        deadline = time.monotonic() + self.driver.pci.patience_s
        while head not in used and time.monotonic() < deadline:
            used |= self.collect()
        return self.memory.read(answer, used[head]) if head in used else None

    def _u16(self, address: int) -> int:
        return int.from_bytes(self.memory.read(address, 2), "little")


def _cut(address: int, size: int, pieces: int, is_writable: bool) -> list[tuple[int, int, bool]]:
    """A buffer as several descriptors."""
    pieces = min(pieces, size)
    edges = [size * at // pieces for at in range(pieces + 1)]
    return [(address + low, high - low, is_writable) for low, high in itertools.pairwise(edges)]
