"""A guest in Python that drives virtio devices over their memory-mapped registers."""

from __future__ import annotations

from tests.devices.driver import RAM, RAM_SIZE, Driver, Ring, View

from maquina.devices.virtio.device import VirtioDevice
from maquina.devices.virtio.transport_mmio import PAGE, VirtioMmio
from maquina.machine.bus import AddressSpace
from maquina.machine.interrupts import Line
from maquina.machine.memory import GuestMemory

SLOT_0 = 0x1000_1000


class Mmio(View):
    """A machine of ours with virtio-mmio slots and nothing else."""

    def __init__(self, *devices: VirtioDevice) -> None:
        memory, space = GuestMemory(RAM, RAM_SIZE), AddressSpace()
        super().__init__(space, memory)
        self.memory: GuestMemory = memory
        self.lines = [Line() for _ in devices]
        self.slots = [
            VirtioMmio(device, memory, line)
            for device, line in zip(devices, self.lines, strict=True)
        ]
        for at, slot in enumerate(self.slots):
            space.attach(SLOT_0 + at * PAGE, PAGE, slot, f"slot{at}")

    def close(self) -> None:
        self.memory.close()


class MmioDriver(Driver):
    """The device in one slot. `get` and `put` name registers by their offsets in the page."""

    def __init__(self, machine: View, slot: int = 0) -> None:
        self.pci, self.base, self.features = machine, SLOT_0 + slot * PAGE, 0

    def get(self, offset: int, size: int = 4) -> int:
        value = self.pci.space.read(self.base + offset, size)
        assert value is not None
        return value

    def put(self, offset: int, size: int, value: int) -> None:
        assert self.pci.space.write(self.base + offset, size, value)

    def put_word(self, offset: int, value: int) -> None:
        self.put(offset, 4, value)

    @property
    def status(self) -> int:
        return self.get(0x70)

    @status.setter
    def status(self, value: int) -> None:
        self.put_word(0x70, value)

    @property
    def offered(self) -> int:
        pages = []
        for page in (0, 1):
            self.put_word(0x14, page)
            pages.append(self.get(0x10))
        return pages[1] << 32 | pages[0]

    def choose(self, features: int) -> None:
        for page in (0, 1):
            self.put_word(0x24, page)
            self.put_word(0x20, features >> 32 * page & 0xFFFF_FFFF)

    def count_queues(self) -> int:
        count = 0
        while self.maximum_of(count):
            count += 1
        return count

    def maximum_of(self, index: int) -> int:
        self.put_word(0x30, index)
        return self.get(0x34)

    def set_up(self, index: int, size: int | None = None) -> Ring:
        maximum = self.maximum_of(index)
        assert not self.get(0x44)
        ring = Ring(self, index, size or maximum)
        self.put_word(0x38, ring.size)
        for offset, address in ((0x80, ring.table), (0x90, ring.available), (0xA0, ring.used)):
            self.put_word(offset, address & 0xFFFF_FFFF)
            self.put_word(offset + 4, address >> 32)
        self.put_word(0x44, 1)
        return ring

    def config(self, offset: int, size: int) -> int:
        return self.get(0x100 + offset, size)

    def config_write(self, offset: int, size: int, value: int) -> None:
        self.put(0x100 + offset, size, value)

    def acknowledge(self) -> int:
        """Read the interrupt status and clear what it says."""
        value = self.get(0x60)
        self.put_word(0x64, value)
        return value

    def kick(self, index: int) -> None:
        self.put_word(0x50, index)
