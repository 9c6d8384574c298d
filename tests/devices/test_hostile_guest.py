"""A guest that does anything at all to the devices of a whole board."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from tests.devices.backends import Cable, Disk, Program
from tests.devices.driver import ECAM, EVENT_IDX, INDIRECT, RAM, Driver, Pci

from maquina.devices.plic import Plic
from maquina.devices.virtio.block import Block
from maquina.devices.virtio.console import Console
from maquina.devices.virtio.device import VirtioDevice
from maquina.devices.virtio.net import Net
from maquina.devices.virtio.rng import Rng
from maquina.machine.bus import AddressSpace
from maquina.machine.interrupts import Line

MULTIPORT, MRG = 2, 1 << 15
ALL_FEATURES = INDIRECT | EVENT_IDX | MULTIPORT | MRG | 1 << 40
SEEDS = range(12)


def make_console() -> Console:
    console = Console(AddressSpace().lock, max_ports=3)
    for name in ("one", "two"):
        console.add_port(name, Program(room=100))
    return console


def make_net() -> Net:
    cable = Cable()
    net = Net(cable, bytes(5) + b"\1")
    cable.attach(net.receive)
    return net


MAKERS: dict[str, Callable[[], VirtioDevice]] = {
    "rng": Rng,
    "block": lambda: Block(Disk(), queues=2),
    "net": make_net,
    "console": make_console,
}


def poke_host_side(device: VirtioDevice, choice: random.Random) -> None:
    """Something arrives from outside."""
    if isinstance(device, Net):
        device.receive(choice.randbytes(choice.choice([0, 60, 1514, 9000])))
    elif isinstance(device, Console):
        port = device.ports[choice.randrange(2)]
        port.receive(choice.randbytes(10))
        port.resume()
        port.set_open(choice.random() < 0.5)
    elif isinstance(device, Block):
        device.resized()


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("seed", SEEDS)
def test_random_accesses(name: str, seed: int) -> None:
    """Invariant: no access to a register or to configuration space raises, and reads fit.

    Afterwards a well-behaved driver finds a device that works.
    """
    choice = random.Random(f"{name}{seed}")
    pci = Pci(MAKERS[name]())
    driver = Driver(pci)
    for _ in range(400):
        size = choice.choice([1, 2, 4, 8])
        base = choice.choice([ECAM + (1 << 15), driver.base, driver.base, driver.base])
        page = choice.choice([0, 0, 0, 0x1000, 0x2000, 0x3000]) if base != ECAM else 0
        address = base + page + choice.choice([choice.randrange(64), choice.randrange(4096)])
        value = choice.choice([0, 1, 3, 0xB, 0xF, RAM, choice.getrandbits(8 * size)])
        pci.space.write(address, size, value & (1 << 8 * size) - 1)
        read = pci.space.read(address, size)
        assert read is None or 0 <= read < 1 << 8 * size
        poke_host_side(pci.functions[0].device, choice)
    check_that_it_works(pci)
    pci.close()


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("seed", SEEDS)
def test_random_rings_and_resets(name: str, seed: int) -> None:
    """Invariant: whatever lies in the rings, and whenever the guest resets, nothing raises.

    A device either serves or says NEEDS_RESET; after a reset it works.
    """
    choice = random.Random(f"{name}{seed}")
    pci = Pci(MAKERS[name]())
    driver = Driver(pci)
    rings = driver.start(choice.getrandbits(64) & ALL_FEATURES, sizes={0: 8, 1: 8})
    scratch = pci.allocate(1 << 16)
    for _ in range(200):
        ring = choice.choice(rings)
        action = choice.randrange(12)
        if action < 4:
            for slot in range(min(ring.size, 8)):
                address = choice.choice([scratch + choice.randrange(1 << 16), ring.table, 0x1000])
                length = choice.choice([0, 1, 12, 16, 512, 513, 4096, choice.getrandbits(32)])
                if choice.random() < 0.8:
                    address, length = scratch + choice.randrange(1 << 15), length % 8192
                ring.describe(slot, address, length, choice.choice([0, 1, 2, 3, 3, 4]), slot + 1)
        elif action < 9:
            ring.publish(choice.randrange(9) if choice.random() < 0.1 else choice.randrange(8))
            pci.memory.write(scratch, choice.randbytes(4) + bytes(12))
            ring.kick()
        elif action == 9:
            poke_host_side(pci.functions[0].device, choice)
        elif action == 10 and choice.random() < 0.3:
            state = pci.host.save()
            pci.host.restore(state)
            assert pci.host.save() == state
        if driver.status & 0x40 or choice.random() < 0.02:
            driver.status = 0
            assert driver.status == 0
            pci._free = scratch + (1 << 16)
            rings = driver.start(choice.getrandbits(64) & ALL_FEATURES, sizes={0: 8, 1: 8})
    check_that_it_works(pci)
    pci.close()


def check_that_it_works(pci: Pci) -> None:
    """A driver resets the device and every queue serves, or waits for, a sensible request."""
    pci._free = RAM + 0x100_0000
    check_device(Driver(pci), pci.functions[0].device)


def check_device(driver: Driver, device: VirtioDevice) -> None:
    """Over whichever transport."""
    rings = driver.start(MULTIPORT)
    if isinstance(device, Rng):
        answer = rings[0].request(b"", 32)
        assert answer is not None and len(answer) == 32
    elif isinstance(device, Block):
        for ring in rings:
            assert ring.request(bytes(16), 513) == bytes(513)
    elif isinstance(device, Net):
        rings[0].add([(driver.pci.allocate(2000), 2000, True)])
        assert device.receive(bytes(60))
        assert rings[1].request(bytes(12 + 60)) == b""
        assert len(rings[0].collect()) == 1
    else:
        assert rings[3].request(b"\0\0\0\0\0\0\1\0") == b""
    assert driver.status == 0xF


def test_an_interrupt_goes_from_a_device_to_a_hart() -> None:
    harts = [Line(), Line()]
    plic = Plic(96, harts)
    pci = Pci(Rng(), Rng())
    for at, line in enumerate(pci.lines):
        line.connect(plic.lines[0x20 + at].set)
    for source in range(0x20, 0x24):
        plic.write(4 * source, 4, 1)
    plic.write(0x2084, 4, 0xF)
    drivers = [Driver(pci, slot, 0x4000_0000 + slot * 0x10000) for slot in (1, 2)]
    rings = [driver.start()[0] for driver in drivers]
    for ring in rings:
        ring.request(b"", 8)
    assert [hart.level for hart in harts] == [False, True]
    assert [plic.read(0x201004, 4) for _ in range(3)] == [0x21, 0x22, 0]
    assert drivers[0].acknowledge() == 1
    for source in (0x21, 0x22):
        plic.write(0x201004, 4, source)
    assert plic.read(0x201004, 4) == 0x22
    assert drivers[1].acknowledge() == 1
    plic.write(0x201004, 4, 0x22)
    assert [hart.level for hart in harts] == [False, False]
