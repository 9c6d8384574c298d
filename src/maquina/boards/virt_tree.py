"""The device tree of the `virt` board.

Bindings: Linux Documentation/devicetree/bindings (riscv/cpus.yaml, riscv/extensions.yaml,
interrupt-controller/sifive,plic-1.0.0.yaml, pci/host-generic-pci.yaml, serial/8250.yaml,
virtio/mmio.yaml, power/reset/syscon-reboot.yaml).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from maquina.boards import addresses as at
from maquina.boards.devicetree import Node, cells, cells64

ISA_BASE = "rv64i"
LETTERS = "imafdc"
WORDS = ("zicntr", "zicsr", "zifencei", "zihpm", "zba", "zbb", "zbs", "sstc")
SUPERVISOR_EXTERNAL, MACHINE_EXTERNAL = 9, 11
MACHINE_SOFTWARE, MACHINE_TIMER = 3, 7
PCI_MMIO_32, PCI_MMIO_64, PCI_IO = 0x0200_0000, 0x0300_0000, 0x0100_0000  # phys.hi space codes
POWER_OFF_CODE, RESET_CODE = 0x5555, 0x7777


@dataclass(frozen=True)
class Boot:
    """What the board tells the kernel at boot (the tree's /chosen)."""

    command_line: str = ""
    initrd: at.Range | None = None
    rng_seed: bytes = b""


@dataclass
class _Handles:
    """Phandles, given out in order."""

    last: int = 0
    cpus: list[int] = field(default_factory=list)

    def new(self) -> int:
        self.last += 1
        return self.last


def describe(harts: int, memory_bytes: int, boot: Boot, virtio_slots: int = 0) -> Node:
    """The whole tree for a board with `harts` harts and `memory_bytes` of RAM.

    Of the virtio-mmio slots, the first `virtio_slots` have a device.
    """
    root = Node("")
    root["#address-cells"] = 2
    root["#size-cells"] = 2
    root["compatible"] = "riscv-virtio"
    root["model"] = "riscv-virtio,maquina"
    root.child("aliases", {"serial0": _path("serial", at.UART, "/soc/")})
    _add_chosen(root, boot)
    memory = root.child(f"memory@{at.RAM_BASE:x}", {"device_type": "memory"})
    memory["reg"] = cells64(at.RAM_BASE, memory_bytes)
    handles = _Handles()
    _add_cpus(root, harts, handles)
    soc = root.child("soc", {"#address-cells": 2, "#size-cells": 2})
    soc["compatible"] = "simple-bus"
    soc["ranges"] = None
    plic = handles.new()
    _add_interrupt_controllers(soc, plic, handles.cpus)
    _add_simple_devices(soc, plic)
    _add_virtio_slots(soc, plic, virtio_slots)
    _add_pci(soc, plic)
    _add_reset(root, soc, handles.new())
    return root


def _path(name: str, where: at.Range, prefix: str = "") -> str:
    return f"{prefix}{name}@{where.base:x}"


def _reg(where: at.Range) -> bytes:
    return cells64(where.base, where.size)


def _add_chosen(root: Node, boot: Boot) -> None:
    chosen = root.child("chosen", {"stdout-path": _path("serial", at.UART, "/soc/")})
    if boot.command_line:
        chosen["bootargs"] = boot.command_line
    if boot.initrd is not None:
        chosen["linux,initrd-start"] = cells64(boot.initrd.base)
        chosen["linux,initrd-end"] = cells64(boot.initrd.end)
    if boot.rng_seed:
        chosen["rng-seed"] = boot.rng_seed


def _add_cpus(root: Node, harts: int, handles: _Handles) -> None:
    cpus = root.child("cpus", {"#address-cells": 1, "#size-cells": 0})
    cpus["timebase-frequency"] = at.TIMEBASE_HZ
    for hart in range(harts):
        cpu = cpus.child(f"cpu@{hart:x}", {"device_type": "cpu", "reg": hart, "status": "okay"})
        cpu["compatible"] = "riscv"
        cpu["riscv,isa-base"] = ISA_BASE
        cpu["riscv,isa-extensions"] = [*LETTERS, *WORDS]
        cpu["riscv,isa"] = "_".join(("rv64" + LETTERS, *WORDS))
        cpu["mmu-type"] = "riscv,sv48"
        controller = cpu.child("interrupt-controller", {"#interrupt-cells": 1})
        controller["interrupt-controller"] = None
        controller["compatible"] = "riscv,cpu-intc"
        controller["phandle"] = handles.new()
        handles.cpus.append(handles.last)


def _add_interrupt_controllers(soc: Node, plic: int, cpus: list[int]) -> None:
    node = soc.child(_path("plic", at.PLIC), {"reg": _reg(at.PLIC), "phandle": plic})
    node["compatible"] = ["sifive,plic-1.0.0", "riscv,plic0"]
    node["#address-cells"] = 0
    node["#interrupt-cells"] = 1
    node["interrupt-controller"] = None
    node["riscv,ndev"] = at.PLIC_SOURCES
    node["interrupts-extended"] = b"".join(
        cells(cpu, MACHINE_EXTERNAL, cpu, SUPERVISOR_EXTERNAL) for cpu in cpus
    )
    node = soc.child(_path("clint", at.ACLINT), {"reg": _reg(at.ACLINT)})
    node["compatible"] = ["sifive,clint0", "riscv,clint0"]
    node["interrupts-extended"] = b"".join(
        cells(cpu, MACHINE_SOFTWARE, cpu, MACHINE_TIMER) for cpu in cpus
    )


def _add_simple_devices(soc: Node, plic: int) -> None:
    node = soc.child(_path("serial", at.UART), {"compatible": "ns16550a", "reg": _reg(at.UART)})
    node["clock-frequency"] = at.UART_CLOCK_HZ
    node["interrupt-parent"] = plic
    node["interrupts"] = at.UART_INTERRUPT
    node = soc.child(_path("rtc", at.RTC), {"compatible": "google,goldfish-rtc"})
    node["reg"] = _reg(at.RTC)
    node["interrupt-parent"] = plic
    node["interrupts"] = at.RTC_INTERRUPT


def _add_virtio_slots(soc: Node, plic: int, count: int) -> None:
    for slot, where in enumerate(at.VIRTIO_SLOTS[:count]):
        node = soc.child(_path("virtio_mmio", where), {"compatible": "virtio,mmio"})
        node["reg"] = _reg(where)
        node["interrupt-parent"] = plic
        node["interrupts"] = at.VIRTIO_INTERRUPT + slot
        node["dma-coherent"] = None


def _add_pci(soc: Node, plic: int) -> None:
    node = soc.child(_path("pci", at.PCI_CONFIGURATION), {"reg": _reg(at.PCI_CONFIGURATION)})
    node["compatible"] = "pci-host-ecam-generic"
    node["device_type"] = "pci"
    node["#address-cells"] = 3
    node["#size-cells"] = 2
    node["#interrupt-cells"] = 1
    node["linux,pci-domain"] = 0
    node["bus-range"] = cells(0, 255)
    node["dma-coherent"] = None
    node["ranges"] = b"".join(
        cells(space) + cells64(bus_address, where.base, where.size)
        for space, bus_address, where in (
            (PCI_IO, 0, at.PCI_IO_PORTS),
            (PCI_MMIO_32, at.PCI_MEMORY.base, at.PCI_MEMORY),
            (PCI_MMIO_64, at.PCI_HIGH_MEMORY.base, at.PCI_HIGH_MEMORY),
        )
    )
    node["interrupt-map-mask"] = cells((at.PCI_INTERRUPTS - 1) << 11, 0, 0, 7)
    node["interrupt-map"] = b"".join(
        cells(slot << 11, 0, 0, pin + 1, plic, at.PCI_INTERRUPT + (pin + slot) % 4)
        for slot in range(at.PCI_INTERRUPTS)
        for pin in range(at.PCI_INTERRUPTS)
    )


def _add_reset(root: Node, soc: Node, finisher: int) -> None:
    node = soc.child(_path("test", at.TEST), {"reg": _reg(at.TEST), "phandle": finisher})
    node["compatible"] = ["sifive,test1", "sifive,test0", "syscon"]
    for name, value in (("poweroff", POWER_OFF_CODE), ("reboot", RESET_CODE)):
        node = root.child(name, {"compatible": f"syscon-{name}", "regmap": finisher})
        node["offset"] = 0
        node["value"] = value
