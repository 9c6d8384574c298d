"""A PCI Express host bridge with one bus, as a generic ECAM host (PCIe 5.0, section 7.2.2).

Two windows: configuration space, 4 KiB for each function of each bus, which is this device; and
the memory in which the guest places BARs, which the bridge maps into the machine's address space
as the guest writes them. Interrupts are wires: pin A of slot `s` reaches line `s % 4`, several
slots share a line (PCI-to-PCI Bridge 1.2, section 9.1; `interrupt-map` in a device tree).
"""

from __future__ import annotations

from collections.abc import Sequence

from maquina.devices.pci_function import Bar, Identity, PciFunction
from maquina.machine.bus import AddressSpace
from maquina.machine.interrupts import Line
from maquina.machine.state import Fields, State

SLOTS = 32
BUS_SIZE = 1 << 20  # configuration space of one bus
SLOT_SIZE = 1 << 15
FUNCTION_SIZE = 1 << 12
LINES = 4
HOST_BRIDGE = Identity(0x1B36, 0x0008, 0x060000)  # QEMU's generic host bridge


def line_of(slot: int, pin: int = 1) -> int:
    """Which of the bridge's four lines pin 1 to 4 (A to D) of a slot drives."""
    return (slot + pin - 1) % LINES


class PciHost:
    """The bridge. `windows` are address and size of the memory in which BARs may be placed."""

    def __init__(
        self, space: AddressSpace, windows: Sequence[tuple[int, int]], lines: Sequence[Line]
    ) -> None:
        if len(lines) != LINES:
            raise ValueError("a PCI host has four interrupt lines")
        self._space, self._windows, self._lines = space, tuple(windows), tuple(lines)
        self._asserted: list[set[int]] = [set() for _ in lines]
        self._mapped: dict[int, tuple[PciFunction, Bar]] = {}
        self.slots: dict[int, PciFunction] = {}
        self.plug(0, PciFunction(HOST_BRIDGE, "pci-host", has_interrupt=False))

    def plug(self, slot: int, function: PciFunction) -> None:
        """Put a function into a slot, before the guest looks for it."""
        if slot in self.slots or not 0 <= slot < SLOTS:
            raise ValueError(f"PCI slot {slot} is taken or does not exist")
        self.slots[slot] = function
        function.on_decode_changed = self._remap
        function.pin.connect(lambda level: self._drive(slot, level))

    def _drive(self, slot: int, level: bool) -> None:
        """Lines are shared: one is up while any slot on it asserts it."""
        line = line_of(slot)
        if level:
            self._asserted[line].add(slot)
        else:
            self._asserted[line].discard(slot)
        self._lines[line].set(bool(self._asserted[line]))

    def _remap(self) -> None:
        """Map what the guest has placed and enabled; of two BARs that overlap the lower slot's.

        A BAR outside the windows is not decoded: it can shadow neither RAM nor another device.
        """
        wanted: dict[int, tuple[PciFunction, Bar]] = {}
        for _, function in sorted(self.slots.items()):
            for base, bar in function.decoded():
                if self._is_inside(base, bar.size) and not _overlaps(base, bar.size, wanted):
                    wanted[base] = (function, bar)
        for base, present in list(self._mapped.items()):
            if wanted.get(base) != present:
                self._space.detach(base)
                del self._mapped[base]
        for base, (function, bar) in wanted.items():
            if base not in self._mapped:
                self._space.attach(base, bar.size, bar.device, f"{function.name}.bar{bar.index}")
                self._mapped[base] = (function, bar)

    def _is_inside(self, base: int, size: int) -> bool:
        return any(low <= base and base + size <= low + room for low, room in self._windows)

    # -- configuration space -------------------------------------------------------------------

    def read(self, offset: int, size: int) -> int:
        function = self._function(offset)
        if function is None:
            return (1 << 8 * size) - 1
        return function.read_config(offset % FUNCTION_SIZE, size)

    def write(self, offset: int, size: int, value: int) -> None:
        function = self._function(offset)
        if function is not None:
            function.write_config(offset % FUNCTION_SIZE, size, value)

    def _function(self, offset: int) -> PciFunction | None:
        """Only bus 0 has slots, and only function 0 of a slot is there."""
        if offset >= BUS_SIZE or offset % SLOT_SIZE >= FUNCTION_SIZE:
            return None
        return self.slots.get(offset // SLOT_SIZE)

    def reset(self) -> None:
        """Reset all functions. After it no device touches memory, and backends know of it.

        Do this before a machine's memory goes: ports and cables may still be used by others.
        """
        for function in self.slots.values():
            function.reset()

    # -- saving --------------------------------------------------------------------------------

    def save(self) -> dict[str, State]:
        """The functions by slot; lines and mappings follow from them."""
        return {str(slot): function.save() for slot, function in self.slots.items()}

    def restore(self, state: dict[str, State]) -> None:
        fields = Fields(state, "the PCI bus")
        if set(state) != {str(slot) for slot in self.slots}:
            raise fields.error("a slot", "is missing or unknown")
        before = self.save()
        try:
            for slot, function in self.slots.items():
                function.restore(fields.group(str(slot)))
        except Exception:
            for slot, function in self.slots.items():
                function.restore(Fields(before, "the PCI bus").group(str(slot)))
            raise

    def resume(self) -> None:
        """Call when all of the machine has been restored, the backends' new ends included."""
        for _, function in sorted(self.slots.items()):
            function.resume()


def _overlaps(base: int, size: int, mapped: dict[int, tuple[PciFunction, Bar]]) -> bool:
    return any(
        base < other + bar.size and other < base + size for other, (_, bar) in mapped.items()
    )
