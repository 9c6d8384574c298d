"""The `virt` board: one power cycle of a RISC-V machine, from reset to power-off.

`Board` puts memory, devices and harts together as `addresses` and `virt_tree` say, loads what is
to be started, runs it and tells how it ended. A reset is a new board with the same backends.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import ParamSpec, TypeVar

from maquina.boards import addresses as at
from maquina.boards.configuration import ROOT_TAG, Configuration
from maquina.boards.ending import Ending, How
from maquina.boards.placement import SUPERVISOR_MODE, Start, place
from maquina.boards.processors import Hart, Processor, Processors
from maquina.boards.sbi import calls, dispatch
from maquina.boards.timers import MachineTicks, Timers, Watched
from maquina.boards.virt_tree import Boot, describe
from maquina.devices.aclint import Clint
from maquina.devices.pci import PciHost
from maquina.devices.plic import Plic
from maquina.devices.rtc_goldfish import RtcGoldfish
from maquina.devices.test_finisher import TestFinisher
from maquina.devices.uart16550 import Uart16550
from maquina.devices.virtio.block import Block
from maquina.devices.virtio.console import Console
from maquina.devices.virtio.device import VirtioDevice
from maquina.devices.virtio.fs import Fs
from maquina.devices.virtio.net import Net
from maquina.devices.virtio.rng import Rng
from maquina.devices.virtio.transport_mmio import EmptySlot, VirtioMmio
from maquina.devices.virtio.transport_pci import VirtioPci
from maquina.machine.bus import AddressSpace
from maquina.machine.clock import HostClock
from maquina.machine.interrupts import Line
from maquina.machine.memory import GuestMemory

MSIP, SEIP, MEIP = 3, 9, 11
RNG_SEED_BYTES = 64

P = ParamSpec("P")
T = TypeVar("T")
MakeHarts = Callable[[GuestMemory, AddressSpace, int], Sequence[Hart]]


def _wire(hart: Hart, bit: int) -> Line:
    """A wire that ends at a bit of a hart's mip."""
    return Line(partial(hart.set_interrupt, bit))


def _seconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1e9


class Board:
    """A machine from reset on. `run` blocks until it ends; `end` may be called by any thread."""

    def __init__(self, configuration: Configuration, make_harts: MakeHarts) -> None:
        """MaquinaError if something to be loaded cannot be used; nothing is left behind then."""
        self.configuration = configuration
        self.memory = GuestMemory(at.RAM_BASE, configuration.memory_bytes)
        try:
            start = self._load()
            self.bus = AddressSpace()
            self.bus.lock = configuration.lock
            origin_ns = time.monotonic_ns()
            harts = make_harts(self.memory, self.bus, origin_ns)
            self.group = Processors(harts, partial(dispatch.answer, self), self.fail)
            self._ending: Ending | None = None
            self._end_lock = threading.Lock()
            self._virtio: list[VirtioDevice] = []
            self._ticks = MachineTicks(origin_ns)
            self._add_devices()
        except BaseException:
            self.memory.close()
            raise
        self._begin(start)

    # -- assembly ------------------------------------------------------------------------------

    def _load(self) -> Start:
        wanted = self.configuration
        seed = os.urandom(RNG_SEED_BYTES) if wanted.rng_seed is None else wanted.rng_seed

        def tree(initrd: at.Range | None) -> bytes:
            boot = Boot(wanted.command_line, initrd, seed)
            slots = len(wanted.mmio_drives)
            return describe(wanted.harts, wanted.memory_bytes, boot, slots).flatten()

        return place(self.memory, wanted.firmware, wanted.kernel, wanted.initrd, tree)

    def _begin(self, start: Start) -> None:
        """Firmware starts on all harts; without one, hart 0 starts and wakes the others by HSM."""
        everyone = self.group.all
        for one in everyone if start.privilege != SUPERVISOR_MODE else everyone[:1]:
            one.begin(start.privilege, start.entry, (one.hart_id, start.tree, start.info))

    def _add_devices(self) -> None:
        harts = [one.hart for one in self.group.all]
        contexts = [_wire(hart, bit) for hart in harts for bit in (MEIP, SEIP)]
        plic = Plic(at.PLIC_SOURCES + 1, contexts, at.EVENT_INTERRUPTS)
        clint = Clint(
            self._ticks,
            software=[_wire(hart, MSIP) for hart in harts],
            timer=[Line() for _ in harts],  # harts compare by themselves
            on_compare=lambda hart, ticks: harts[hart].set_timer(ticks),
        )
        rtc = RtcGoldfish(HostClock(), plic.lines[at.RTC_INTERRUPT])
        uart = Uart16550(self.configuration.serial, plic.lines[at.UART_INTERRUPT])
        self.configuration.serial.attach(self.entrance(uart.receive, 0))
        self._timers = Timers(self.bus.lock, [lambda: _seconds(rtc.poll())], self.fail)
        finisher = TestFinisher(self.power_off, self.reset)
        for where, device, name in (
            (at.PLIC, plic, "plic"),
            (at.ACLINT, clint, "clint"),
            (at.RTC, Watched(rtc, self._timers.look), "rtc"),
            (at.UART, uart, "uart"),
            (at.TEST, finisher, "test"),
        ):
            self.bus.attach(where.base, where.size, device, name)
        self._add_virtio_slots(plic)
        self._add_pci(plic)

    def _add_virtio_slots(self, plic: Plic) -> None:
        """Kernels without a device tree look into all of them."""
        drives = self.configuration.mmio_drives
        for slot, where in enumerate(at.VIRTIO_SLOTS):
            name, device = f"virtio{slot}", None
            if slot < len(drives):
                disk = Block(drives[slot], f"disk{len(self.configuration.drives) + slot}")
                self._virtio.append(disk)
                device = VirtioMmio(disk, self.memory, plic.lines[at.VIRTIO_INTERRUPT + slot])
            self.bus.attach(where.base, where.size, device or EmptySlot(), name)

    def _add_pci(self, plic: Plic) -> None:
        lines = plic.lines[at.PCI_INTERRUPT : at.PCI_INTERRUPT + at.PCI_INTERRUPTS]
        windows = [(where.base, where.size) for where in (at.PCI_MEMORY, at.PCI_HIGH_MEMORY)]
        host = PciHost(self.bus, windows, lines)
        where = at.PCI_CONFIGURATION
        self.bus.attach(where.base, where.size, host, "pci")
        for slot, (name, device) in enumerate(self._virtio_devices(), 1):
            self._virtio.append(device)
            host.plug(slot, VirtioPci(device, self.memory, name))

    def _virtio_devices(self) -> Iterator[tuple[str, VirtioDevice]]:
        """In the order of their slots, by which terminals and disks get their names."""
        wanted = self.configuration
        if wanted.plug is not None:
            console = Console(self.bus.lock, wanted.console_ports)
            wanted.plug(console)
            yield "console", console
        if wanted.root is not None:
            yield "root", Fs(ROOT_TAG, wanted.root, HostClock())
        for number, drive in enumerate(wanted.drives):
            yield f"disk{number}", Block(drive, f"disk{number}")
        if wanted.network is not None:
            card = wanted.network
            net = Net(card.backend, card.mac, card.mtu, has_checksums=card.has_checksums)
            card.backend.attach(self.entrance(net.receive, False))
            yield "net", net
        yield "rng", Rng()

    # -- from the host into devices ------------------------------------------------------------

    def entrance(self, enter: Callable[P, T], refusal: T) -> Callable[P, T]:
        """`enter` for other threads: with the machine's lock; `refusal` once the board is over.

        What `enter` raises is a bug in a device: the machine ends with it.
        """

        def locked(*arguments: P.args, **named: P.kwargs) -> T:
            with self.bus.lock:
                if self.group.is_over:
                    return refusal
                try:
                    return enter(*arguments, **named)
                except Exception as error:
                    self.fail(error)
                    return refusal

        return locked

    # -- what SBI functions ask for ------------------------------------------------------------

    @property
    def processors(self) -> Sequence[Processor]:
        return self.group.all

    def on_harts(
        self,
        caller: calls.Processor,
        targets: Sequence[calls.Processor],
        action: Callable[[calls.Hart], None],
    ) -> None:
        self.group.on_harts(caller, targets, action)

    def power_off(self, status: int) -> None:
        self.end(Ending(How.POWER_OFF, status))

    def reset(self) -> None:
        self.end(Ending(How.RESET))

    # -- running -------------------------------------------------------------------------------

    def fail(self, error: Exception) -> None:
        """A bug, on whatever thread: the machine ends with it."""
        self.end(Ending(How.FAILED, error=error))

    def end(self, ending: Ending) -> None:
        """Make `run` return. The first ending counts."""
        with self._end_lock:
            if self._ending is None:
                self._ending = ending
        self.group.end()

    def run(self) -> Ending:
        """Run until it ends; memory is gone afterwards."""
        self._timers.start()
        self.group.start()
        self.group.join()
        self._timers.end()
        with self.bus.lock:  # whoever is inside a device leaves it first
            for device in self._virtio:
                device.is_live = False
            self.memory.close()
        assert self._ending is not None
        return self._ending
