"""The physical address space outside RAM: which device answers at which address."""

from __future__ import annotations

import threading
from bisect import bisect_right
from contextlib import AbstractContextManager
from dataclasses import dataclass

from maquina.machine.device import Device


@dataclass(frozen=True, slots=True)
class Window:
    """`size` bytes at `base` that belong to `device`."""

    base: int
    size: int
    device: Device
    name: str


class AddressSpace:
    """Devices by address. Every access holds `lock`: device code runs one at a time per machine.

    Host-side events (a network frame, a key press) take the same lock before they enter a device.
    """

    def __init__(self) -> None:
        self._windows: list[Window] = []
        self._bases: list[int] = []
        self.lock: AbstractContextManager[bool] = threading.RLock()

    @property
    def windows(self) -> tuple[Window, ...]:
        """The map, lowest address first."""
        return tuple(self._windows)

    def attach(self, base: int, size: int, device: Device, name: str) -> None:
        """Let `device` answer at `base`. ValueError if another device is already there."""
        window = Window(base, size, device, name)
        at = bisect_right(self._bases, base)
        for other in self._windows[max(at - 1, 0) : at + 1]:
            if base < other.base + other.size and other.base < base + size:
                raise ValueError(f"{name} at {base:#x} overlaps {other.name}")
        self._windows.insert(at, window)
        self._bases.insert(at, base)

    def detach(self, base: int) -> None:
        """Remove the window that begins at `base`, if there is one."""
        if base in self._bases:
            at = self._bases.index(base)
            del self._windows[at], self._bases[at]

    def find(self, address: int, size: int) -> Window | None:
        """The window that holds all of the `size` bytes at `address`."""
        at = bisect_right(self._bases, address) - 1
        if at < 0:
            return None
        window = self._windows[at]
        return window if address + size <= window.base + window.size else None

    def read(self, address: int, size: int) -> int | None:
        """What the device at `address` answers; None if nothing is there (an access fault)."""
        with self.lock:
            window = self.find(address, size)
            return None if window is None else window.device.read(address - window.base, size)

    def write(self, address: int, size: int, value: int) -> bool:
        """Store through to a device; False if nothing is there (an access fault)."""
        with self.lock:
            window = self.find(address, size)
            if window is None:
                return False
            window.device.write(address - window.base, size, value)
            return True
