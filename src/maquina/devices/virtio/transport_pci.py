"""Virtio over PCI, the modern interface (virtio 1.3, section 4.1).

Four structures lie in BAR 0, a page each, and capabilities tell where: the common configuration,
the interrupt status, the device's configuration, and the notification area with four bytes for
each queue. A fifth capability is a window into the BAR for firmware that cannot map memory
(4.1.4.9). There is no legacy interface and there are no MSI-X vectors: the interrupt is INTx.
"""

from __future__ import annotations

import struct

from maquina.devices.pci_function import Bar, Identity, PciFunction
from maquina.devices.virtio.common_config import CommonConfig
from maquina.devices.virtio.device import VirtioDevice
from maquina.machine.memory import GuestMemory
from maquina.machine.state import Fields, State

VENDOR = 0x1AF4
FIRST_DEVICE_ID = 0x1040  # plus the virtio device id (4.1.2.1)
PAGE = 0x1000
COMMON, ISR, DEVICE, NOTIFY = 0, PAGE, 2 * PAGE, 3 * PAGE
BAR_SIZE = 4 * PAGE
NOTIFY_STEP = 4
ISR_QUEUE, ISR_CONFIG = 1, 2

VENDOR_CAPABILITY = 0x09
CAPABILITY = struct.Struct("<BBBBxxII")  # length, type, bar, id, offset, length (4.1.4)
CFG_COMMON, CFG_NOTIFY, CFG_ISR, CFG_DEVICE, CFG_PCI = 1, 2, 3, 4, 5


class VirtioPci(PciFunction):
    """A virtio device as a PCI function; its registers are the device of BAR 0."""

    def __init__(self, device: VirtioDevice, memory: GuestMemory, name: str) -> None:
        identity = Identity(
            VENDOR,
            FIRST_DEVICE_ID + device.device_id,
            device.pci_class,
            revision=1,
            subsystem_vendor=VENDOR,
            subsystem=FIRST_DEVICE_ID + device.device_id,
        )
        super().__init__(identity, name)
        self.device = device
        self.common = CommonConfig(
            device,
            memory,
            on_queue=lambda: self._interrupt(ISR_QUEUE),
            on_config=lambda: self._interrupt(ISR_CONFIG),
        )
        self._isr = 0
        self.add_bar(Bar(0, BAR_SIZE, self))
        self._add_structure(CFG_COMMON, COMMON, 0x40)
        self._add_structure(CFG_NOTIFY, NOTIFY, PAGE, struct.pack("<I", NOTIFY_STEP))
        self._add_structure(CFG_ISR, ISR, 1)
        if device.config:
            self._add_structure(CFG_DEVICE, DEVICE, len(device.config))
        self._window = self._add_structure(CFG_PCI, 0, 0, bytes(4))
        self.allow_writes(self._window + 4, 1)  # bar
        self.allow_writes(self._window + 8, 8)  # offset, length

    def _add_structure(self, kind: int, offset: int, length: int, extra: bytes = b"") -> int:
        body = CAPABILITY.pack(2 + CAPABILITY.size + len(extra), kind, 0, 0, offset, length)
        return self.add_capability(VENDOR_CAPABILITY, body + extra)

    def _interrupt(self, cause: int) -> None:
        self._isr |= cause
        self.intx.set(True)

    # -- BAR 0 ---------------------------------------------------------------------------------

    def read(self, offset: int, size: int) -> int:
        page, at = offset & -PAGE, offset % PAGE
        if page == COMMON:
            return self.common.read(at, size)
        if page == DEVICE:
            return int.from_bytes(self.device.config[at : at + size], "little")
        if page == ISR and at == 0:
            isr, self._isr = self._isr, 0  # reading acknowledges (4.1.4.5)
            self.intx.set(False)
            return isr
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        page, at = offset & -PAGE, offset % PAGE
        if page == COMMON:
            self.common.write(at, size, value)
            if self.common.stage == 0:  # a reset takes the interrupt back
                self._isr = 0
                self.intx.set(False)
        elif page == NOTIFY:
            self.common.notify(at // NOTIFY_STEP)
        elif page == DEVICE and at + size <= len(self.device.config):
            with self.device.guard():
                self.device.write_config(at, value.to_bytes(size, "little"))

    def reset(self) -> None:
        self.common.reset()
        self._isr = 0
        super().reset()

    # -- the window in configuration space (4.1.4.9) -------------------------------------------

    def read_config(self, offset: int, size: int) -> int:
        if (
            self._is_window_data(offset, size)
            and (target := self._window_target(size)) is not None
        ):
            return self.read(target, size)
        return super().read_config(offset, size)

    def write_config(self, offset: int, size: int, value: int) -> None:
        if self._is_window_data(offset, size):
            if (target := self._window_target(size)) is not None:
                self.write(target, size, value)
        else:
            super().write_config(offset, size, value)

    def _is_window_data(self, offset: int, size: int) -> bool:
        return offset == self._window + 16 and size <= 4

    def _window_target(self, size: int) -> int | None:
        """Where in BAR 0 the window points; None unless it names this access rightly."""
        bar = self.config[self._window + 4]
        offset, length = struct.unpack_from("<II", self.config, self._window + 8)
        is_sound = bar == 0 and length == size and offset % size == 0
        return offset if is_sound and offset + size <= BAR_SIZE else None

    def resume(self) -> None:
        self.common.resume()

    # -- saving --------------------------------------------------------------------------------

    def save(self) -> dict[str, State]:
        return {**super().save(), "isr": self._isr, "virtio": self.common.save()}

    def restore(self, state: dict[str, State]) -> None:
        fields = Fields(state, f"PCI function {self.name}")
        isr = fields.integer("isr", 0, ISR_QUEUE | ISR_CONFIG)
        if fields.flag("intx") != bool(isr):
            raise fields.error("intx", "does not follow from isr")
        before = self.common.save()
        self.common.restore(fields.group("virtio"))
        try:
            super().restore(state)
        except Exception:
            self.common.restore(before)
            raise
        self._isr = isr
