"""Virtio over memory-mapped registers, the modern interface (virtio 1.3, section 4.2).

One page for each device, at an address that the driver knows or finds in the device tree; no bus
to enumerate, which is why small kernels prefer it to PCI. The control registers are 32 bits wide
and most are, under other offsets, those of the common configuration; from 0x100 on lies the
device's own configuration. There is no legacy interface (version 1). A driver that does not say
VIRTIO_F_VERSION_1 is served all the same, in the modern way, as QEMU does: many small kernels
never look at the upper half of the features, and having read 2 as the version they know.
"""

from __future__ import annotations

from maquina.devices.virtio.common_config import CommonConfig
from maquina.devices.virtio.device import VirtioDevice
from maquina.machine.interrupts import Line
from maquina.machine.memory import GuestMemory
from maquina.machine.state import Fields, State

MAGIC = int.from_bytes(b"virt", "little")
VERSION = 2
VENDOR = int.from_bytes(b"QEMU", "little")  # some kernels drive no other (4.2.2: no meaning)
NO_DEVICE = 0  # the id of a slot that is empty; drivers pass over it
PAGE = 0x1000
ISR_QUEUE, ISR_CONFIG = 1, 2
WORD = 0xFFFF_FFFF

DEVICE_ID, QUEUE_SIZE_MAX, QUEUE_READY, NOTIFY = 0x008, 0x034, 0x044, 0x050
ISR, ACKNOWLEDGE, STATUS, CONFIG = 0x060, 0x064, 0x070, 0x100

FIXED = {0x000: MAGIC, 0x004: VERSION, 0x00C: VENDOR}
# No device here has shared memory: a region that is not there has no length and no base (4.2.2).
FIXED |= dict.fromkeys((0x0B0, 0x0B4, 0x0B8, 0x0BC), WORD)

# Registers that are the common configuration's: its offset, and how many bytes it has there.
READABLE = {
    0x010: (0x04, 4),  # DeviceFeatures
    QUEUE_READY: (0x1C, 2),
    STATUS: (0x14, 1),
    0x0C0: (0x3A, 2),  # QueueReset
    0x0FC: (0x15, 1),  # ConfigGeneration
}
WRITABLE = {
    0x014: (0x00, 4),  # DeviceFeaturesSel
    0x020: (0x0C, 4),  # DriverFeatures
    0x024: (0x08, 4),  # DriverFeaturesSel
    0x030: (0x16, 2),  # QueueSel
    0x038: (0x18, 2),  # QueueSize
    QUEUE_READY: (0x1C, 2),
    STATUS: (0x14, 1),
    0x080: (0x20, 4),  # QueueDescLow, High
    0x084: (0x24, 4),
    0x090: (0x28, 4),  # QueueDriverLow, High
    0x094: (0x2C, 4),
    0x0A0: (0x30, 4),  # QueueDeviceLow, High
    0x0A4: (0x34, 4),
    0x0C0: (0x3A, 2),  # QueueReset
}


class EmptySlot:
    """What a driver finds where a device could be and none is."""

    def read(self, offset: int, size: int) -> int:
        return FIXED.get(offset, NO_DEVICE) if size == 4 and offset < CONFIG else 0

    def write(self, offset: int, size: int, value: int) -> None: ...


class VirtioMmio:
    """A virtio device as a page of registers, with an interrupt line of its own."""

    def __init__(self, device: VirtioDevice, memory: GuestMemory, line: Line) -> None:
        self.device = device
        self.common = CommonConfig(
            device,
            memory,
            on_queue=lambda: self._interrupt(ISR_QUEUE),
            on_config=lambda: self._interrupt(ISR_CONFIG),
            required=0,
        )
        self._line, self._isr = line, 0

    def _interrupt(self, cause: int) -> None:
        self._set_isr(self._isr | cause)

    def _set_isr(self, isr: int) -> None:
        self._isr = isr
        self._line.set(bool(isr))

    # -- registers -----------------------------------------------------------------------------

    def read(self, offset: int, size: int) -> int:
        if offset >= CONFIG:
            at = offset - CONFIG
            return int.from_bytes(self.device.config[at : at + size], "little")
        if size != 4:  # 4.2.2.2: the driver uses 32 bits
            return 0
        if offset in READABLE:
            return self.common.read(*READABLE[offset])
        if offset == DEVICE_ID:
            return self.device.device_id
        if offset == QUEUE_SIZE_MAX:
            return self.common.queue_maximum
        return self._isr if offset == ISR else FIXED.get(offset, 0)

    def write(self, offset: int, size: int, value: int) -> None:
        if offset >= CONFIG:
            self._write_config(offset - CONFIG, size, value)
        elif size != 4:
            return
        elif offset in WRITABLE:
            self._write_common(offset, value)
        elif offset == NOTIFY:
            self.common.notify(value)
        elif offset == ACKNOWLEDGE:
            self._set_isr(self._isr & ~value)

    def _write_common(self, offset: int, value: int) -> None:
        """What is too large for a register of the common configuration is its largest value."""
        at, size = WRITABLE[offset]
        self.common.write(at, size, min(value, (1 << 8 * size) - 1))
        if offset == QUEUE_READY and value == 0:
            self.common.stop_queue()
        if offset == STATUS and value == 0:  # a reset takes the interrupt back
            self._set_isr(0)

    def _write_config(self, at: int, size: int, value: int) -> None:
        if at + size <= len(self.device.config):
            with self.device.guard():
                self.device.write_config(at, value.to_bytes(size, "little"))

    def resume(self) -> None:
        """All of the machine has been restored: serve what waits, if anything can."""
        self.common.resume()

    # -- saving --------------------------------------------------------------------------------

    def save(self) -> dict[str, State]:
        return {"isr": self._isr, "virtio": self.common.save()}

    def restore(self, state: dict[str, State]) -> None:
        fields = Fields(state, f"virtio-mmio device {self.device.device_id}")
        isr = fields.integer("isr", 0, ISR_QUEUE | ISR_CONFIG)
        self.common.restore(fields.group("virtio"))
        self._set_isr(isr)
