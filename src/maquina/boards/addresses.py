"""The address map of the `virt` board: QEMU's `virt` machine, where it has the device.

Kernels built for QEMU's machine run as they are, and a device tree dumped from one can be read
beside the other's.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Range:
    """`size` bytes of guest-physical address space from `base` on."""

    base: int
    size: int

    @property
    def end(self) -> int:
        return self.base + self.size


TEST = Range(0x10_0000, 0x1000)  # SiFive test finisher: power-off and reset
RTC = Range(0x10_1000, 0x1000)  # Goldfish real-time clock
ACLINT = Range(0x200_0000, 0x1_0000)  # MSWI at 0, MTIMER at 0x4000: the layout of SiFive's CLINT
PLIC = Range(0xC00_0000, 0x60_0000)
UART = Range(0x1000_0000, 0x100)
VIRTIO_SLOTS = [Range(0x1000_1000 + 0x1000 * slot, 0x1000) for slot in range(8)]  # virtio-mmio
PCI_CONFIGURATION = Range(0x3000_0000, 0x1000_0000)  # ECAM: 256 buses of 1 MiB
PCI_MEMORY = Range(0x4000_0000, 0x4000_0000)  # 32-bit BARs; bus addresses equal CPU addresses
PCI_HIGH_MEMORY = Range(0x4_0000_0000, 0x4_0000_0000)  # 64-bit BARs
PCI_IO_PORTS = Range(0x300_0000, 0x1_0000)

RAM_BASE = 0x8000_0000
MAX_RAM_BYTES = PCI_HIGH_MEMORY.base - RAM_BASE

VIRTIO_INTERRUPT = 1  # of slot 0; each slot has its own
UART_INTERRUPT = 10
RTC_INTERRUPT = 11
PCI_INTERRUPT = 32  # INTA of slot 0; INTx of slot s is 32 + (x + s) % 4
PCI_INTERRUPTS = 4
PLIC_SOURCES = 95
EVENT_INTERRUPTS = (UART_INTERRUPT,)  # as in QEMU: some kernels leave "transmitter empty" standing

TIMEBASE_HZ = 10_000_000
UART_CLOCK_HZ = 3_686_400
