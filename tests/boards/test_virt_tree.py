"""The board's device tree, compared with the one of QEMU's virt machine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from maquina.boards.addresses import Range
from maquina.boards.devicetree import Node, cells, cells64, parse
from maquina.boards.virt_tree import Boot, describe

# What QEMU has and we do not describe: its own firmware channel, flash, empty virtio-mmio slots.
SAME = {
    "soc/serial@10000000": ("reg", "compatible", "clock-frequency", "interrupts"),
    "soc/rtc@101000": ("reg", "compatible", "interrupts"),
    "soc/clint@2000000": ("reg", "compatible"),
    "soc/plic@c000000": ("reg", "compatible", "#interrupt-cells", "#address-cells"),
    "soc/test@100000": ("reg", "compatible"),
    "soc/pci@30000000": ("reg", "compatible", "ranges", "bus-range", "interrupt-map-mask"),
    "memory@80000000": ("reg", "device_type"),
    "chosen": ("stdout-path",),
    "cpus": ("timebase-frequency",),
    "poweroff": ("compatible", "value", "offset"),
    "reboot": ("compatible", "value", "offset"),
}


def phandle_owner(root: Node, handle: bytes) -> str:
    return next(node.name for node in root.walk() if node.properties.get("phandle") == handle)


@pytest.fixture(scope="module")
def qemu(tmp_path_factory: pytest.TempPathFactory) -> Node:
    program = shutil.which("qemu-system-riscv64")
    if program is None:
        pytest.skip("needs qemu-system-riscv64 (package qemu-system-misc)")
    path: Path = tmp_path_factory.mktemp("qemu") / "virt.dtb"
    machine = ["-machine", f"virt,dumpdtb={path}", "-smp", "3", "-m", "1G", "-display", "none"]
    subprocess.run([program, *machine], check=True, capture_output=True, timeout=30)
    return parse(path.read_bytes())


@pytest.mark.conformance
def test_same_devices_at_the_same_places_as_qemu(qemu: Node) -> None:
    ours = describe(3, 1 << 30, Boot(), virtio_slots=8)
    slots = {f"soc/virtio_mmio@1000{slot}000": ("reg", "compatible") for slot in range(1, 9)}
    for path in slots:
        assert ours.find(path)["interrupts"] == qemu.find(path)["interrupts"]
    for path, names in (SAME | slots).items():
        for name in names:
            assert ours.find(path)[name] == qemu.find(path)[name], f"{path} {name}"


@pytest.mark.conformance
def test_pci_interrupts_are_routed_as_in_qemu(qemu: Node) -> None:
    def routes(root: Node) -> set[tuple[bytes, bytes]]:
        data = root.find("soc/pci@30000000")["interrupt-map"]
        rows = [data[at : at + 24] for at in range(0, len(data), 24)]
        assert {phandle_owner(root, row[16:20]) for row in rows} == {"plic@c000000"}
        return {(row[:16], row[20:]) for row in rows}

    assert routes(describe(1, 1 << 30, Boot())) == routes(qemu)


def test_interrupt_wires_lead_to_each_hart() -> None:
    root = parse(describe(2, 1 << 28, Boot()).flatten())
    wires = root.find("soc/plic@c000000")["interrupts-extended"]
    intc = [root.find(f"cpus/cpu@{hart}/interrupt-controller")["phandle"] for hart in (0, 1)]
    pairs = [(wires[at : at + 4], wires[at + 4 : at + 8]) for at in range(0, len(wires), 8)]
    assert pairs == [(handle, cells(wire)) for handle in intc for wire in (11, 9)]


def test_chosen_carries_what_the_kernel_is_told() -> None:
    boot = Boot("quiet root=/dev/vda", Range(0x8800_0000, 0x1234), b"\x01" * 32)
    chosen = describe(1, 1 << 30, boot).find("chosen")
    assert chosen["bootargs"] == b"quiet root=/dev/vda\0"
    assert chosen["linux,initrd-end"] == cells64(0x8800_1234)
    assert chosen["rng-seed"] == b"\x01" * 32


def test_phandles_are_unique_and_resolve() -> None:
    root = describe(4, 1 << 30, Boot())
    handles = [node["phandle"] for node in root.walk() if "phandle" in node.properties]
    assert len(set(handles)) == len(handles)
    assert phandle_owner(root, root.find("poweroff")["regmap"]) == "test@100000"
    assert phandle_owner(root, root.find("soc/rtc@101000")["interrupt-parent"]) == "plic@c000000"


def test_only_slots_with_a_device_are_listed() -> None:
    names = [node.name for node in describe(1, 1 << 30, Boot(), virtio_slots=2).walk()]
    slots = [name for name in names if name.startswith("virtio_mmio")]
    assert slots == ["virtio_mmio@10001000", "virtio_mmio@10002000"]


def test_extensions_are_named_both_ways() -> None:
    cpu = describe(1, 1 << 30, Boot()).find("cpus/cpu@0")
    assert cpu["riscv,isa"].startswith(b"rv64imafdc_zicntr_zicsr_zifencei_")
    assert b"\0sstc\0" in cpu["riscv,isa-extensions"]
