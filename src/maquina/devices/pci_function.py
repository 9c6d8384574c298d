"""A PCI function: its configuration space (PCI Local Bus 3.0, chapter 6; PCIe 5.0, section 7.5).

Configuration space is bytes, with a mask that tells which bits a guest may change; base address
registers need nothing more: the bits of an address below the size of a BAR are not writable, which
is how a guest finds the size. What a write brings about is the host bridge's business (`pci`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from maquina.machine.device import Device
from maquina.machine.interrupts import Line
from maquina.machine.state import Fields, State

CONFIG_SIZE = 256
COMMAND, STATUS, REVISION, BAR_0, SUBSYSTEM, CAPABILITIES = 0x04, 0x06, 0x08, 0x10, 0x2C, 0x34
INTERRUPT_LINE, INTERRUPT_PIN, FIRST_CAPABILITY = 0x3C, 0x3D, 0x40
COMMAND_MEMORY, COMMAND_MASTER, COMMAND_NO_INTX = 1 << 1, 1 << 2, 1 << 10
STATUS_INTERRUPT, STATUS_CAPABILITIES = 1 << 3, 1 << 4
BAR_64_BIT = 0b100


@dataclass(frozen=True, slots=True)
class Identity:
    """What a guest finds a driver by. `class_code` has 24 bits: class, subclass, interface."""

    vendor: int
    device: int
    class_code: int
    revision: int = 0
    subsystem_vendor: int = 0
    subsystem: int = 0


@dataclass(frozen=True, slots=True)
class Bar:
    """A 64-bit memory BAR in registers `index` and `index + 1`; `size` is a power of two."""

    index: int
    size: int
    device: Device


class PciFunction:
    """One function. The owner adds BARs and capabilities before the machine starts.

    `intx` is its interrupt, from the side of the device; the host bridge listens to `pin`, which
    is `intx` unless the guest disables it.
    """

    def __init__(self, identity: Identity, name: str, has_interrupt: bool = True) -> None:
        self.name = name
        self.config = bytearray(CONFIG_SIZE)
        self.writable = bytearray(CONFIG_SIZE)
        self.bars: list[Bar] = []
        self.on_decode_changed: Callable[[], None] = lambda: None
        self.pin = Line()
        self.intx = Line(self._drive_pin)
        self._end_of_capabilities = FIRST_CAPABILITY
        self._put(0, identity.vendor | identity.device << 16, 4)
        self._put(REVISION, identity.revision | identity.class_code << 8, 4)
        self._put(SUBSYSTEM, identity.subsystem_vendor | identity.subsystem << 16, 4)
        self._put(INTERRUPT_PIN, int(has_interrupt), 1)
        self._allow(COMMAND, COMMAND_MEMORY | COMMAND_MASTER | COMMAND_NO_INTX, 2)
        self._allow(INTERRUPT_LINE, 0xFF, 1)

    def add_bar(self, bar: Bar) -> None:
        if bar.size & (bar.size - 1) or bar.size < 16:
            raise ValueError(f"{bar.size} is not the size of a memory BAR")
        self._put(BAR_0 + 4 * bar.index, BAR_64_BIT, 4)
        self._allow(BAR_0 + 4 * bar.index, (1 << 64) - bar.size, 8)
        self.bars.append(bar)

    def add_capability(self, identifier: int, body: bytes) -> int:
        """Chain a capability of this kind; answers its offset. `body` follows id and next."""
        offset = self._end_of_capabilities
        end = offset + -(-(2 + len(body)) // 4) * 4
        if end > CONFIG_SIZE:
            raise ValueError("no room for another capability")
        body = bytes([identifier, self.config[CAPABILITIES]]) + body
        self.config[offset : offset + len(body)] = body
        self._put(CAPABILITIES, offset, 1)
        self._put(STATUS, STATUS_CAPABILITIES, 2)
        self._end_of_capabilities = end
        return offset

    def allow_writes(self, offset: int, size: int) -> None:
        """Let the guest change `size` bytes of a capability."""
        self._allow(offset, (1 << 8 * size) - 1, size)

    # -- as registers --------------------------------------------------------------------------

    def read_config(self, offset: int, size: int) -> int:
        value = int.from_bytes(self.config[offset : offset + size], "little")
        if self.intx.level and offset <= STATUS < offset + size:
            value |= STATUS_INTERRUPT << 8 * (STATUS - offset)
        return value

    def write_config(self, offset: int, size: int, value: int) -> None:
        was_decoded = self.decoded()
        for at, byte in enumerate(value.to_bytes(size, "little"), offset):
            if at < CONFIG_SIZE:
                kept = self.config[at] & ~self.writable[at]
                self.config[at] = kept | byte & self.writable[at]
        self._drive_pin(self.intx.level)
        if self.decoded() != was_decoded:
            self.on_decode_changed()

    @property
    def command(self) -> int:
        return self._get(COMMAND, 2)

    def decoded(self) -> list[tuple[int, Bar]]:
        """The BARs that the guest has enabled, each with the address it gave it."""
        if not self.command & COMMAND_MEMORY:
            return []
        return [(self._get(BAR_0 + 4 * bar.index, 8) & -bar.size, bar) for bar in self.bars]

    def reset(self) -> None:
        """Back to power-on: nothing is decoded and nothing asserted."""
        for at, mask in enumerate(self.writable):
            self.config[at] &= ~mask
        self.intx.set(False)
        self.on_decode_changed()

    def _drive_pin(self, level: bool) -> None:
        self.pin.set(level and not self.command & COMMAND_NO_INTX)

    def _get(self, offset: int, size: int) -> int:
        return int.from_bytes(self.config[offset : offset + size], "little")

    def _put(self, offset: int, value: int, size: int) -> None:
        self.config[offset : offset + size] = value.to_bytes(size, "little")

    def _allow(self, offset: int, mask: int, size: int) -> None:
        self.writable[offset : offset + size] = mask.to_bytes(size, "little")

    # -- saving --------------------------------------------------------------------------------

    def save(self) -> dict[str, State]:
        return {"config": bytes(self.config), "intx": self.intx.level}

    def restore(self, state: dict[str, State]) -> None:
        """StateError if the saved function is not of the same kind as this one."""
        fields = Fields(state, f"PCI function {self.name}")
        config = fields.data("config", CONFIG_SIZE)
        if len(config) != CONFIG_SIZE or any(
            (old ^ new) & ~mask
            for old, new, mask in zip(self.config, config, self.writable, strict=True)
        ):
            raise fields.error("config", "belongs to another device")
        level = fields.flag("intx")
        self.config[:] = config
        self.intx.set(level)
        self._drive_pin(level)
        self.on_decode_changed()

    def resume(self) -> None:
        """All of the machine has been restored: serve what waits, if anything can."""
