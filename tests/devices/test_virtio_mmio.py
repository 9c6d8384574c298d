"""The virtio-mmio registers, seen from a guest's driver."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from tests.devices.backends import Disk
from tests.devices.driver import EVENT_IDX, INDIRECT, RAM, VERSION_1
from tests.devices.mmio_driver import Mmio, MmioDriver
from tests.devices.test_hostile_guest import (
    ALL_FEATURES,
    MAKERS,
    MULTIPORT,
    check_device,
    poke_host_side,
)
from tests.devices.test_hostile_state import changed, restore_or_refuse

from maquina.devices.virtio.block import Block
from maquina.devices.virtio.rng import Rng
from maquina.devices.virtio.transport_mmio import EmptySlot
from maquina.errors import StateError

SEEDS = range(12)


@pytest.fixture
def machine() -> Iterator[Mmio]:
    made = Mmio(Rng(lambda count: bytes(range(256))[:count]), Block(Disk()))
    yield made
    made.close()


def is_up(machine: Mmio) -> bool:
    return machine.lines[0].level


def test_a_device_says_what_it_is(machine: Mmio) -> None:
    for slot, device_id in ((0, 4), (1, 2)):
        driver = MmioDriver(machine, slot)
        assert driver.get(0x00).to_bytes(4, "little") == b"virt"
        assert (driver.get(0x04), driver.get(0x08)) == (2, device_id)
        assert driver.get(0x0C).to_bytes(4, "little") == b"QEMU"
        assert driver.get(0xB0) == driver.get(0xB4) == 0xFFFF_FFFF  # no shared memory


def test_an_empty_slot_is_a_device_of_no_kind() -> None:
    empty = EmptySlot()
    empty.write(0x70, 4, 1)
    assert [empty.read(offset, 4) for offset in (0, 4, 8, 0x70)] == [0x7472_6976, 2, 0, 0]
    assert empty.read(0, 1) == 0


def test_a_request_travels_both_ways_and_interrupts(machine: Mmio) -> None:
    driver = MmioDriver(machine)
    (ring,) = driver.start(INDIRECT | EVENT_IDX)
    assert driver.features == VERSION_1 | INDIRECT | EVENT_IDX
    assert ring.request(b"", 100, pieces=3) == bytes(range(100))
    assert [line.level for line in machine.lines] == [True, False]
    driver.put_word(0x64, 2)
    assert is_up(machine)
    assert driver.acknowledge() == 1
    assert not is_up(machine)
    assert ring.request(b"", 8) == bytes(range(8))
    driver.status = 0
    assert not is_up(machine)
    assert driver.get(0x60) == 0


def test_a_driver_that_knows_the_lower_features_only_is_served(machine: Mmio) -> None:
    driver = MmioDriver(machine)
    driver.status = 3
    driver.put_word(0x20, 0)
    driver.status = 0xB
    assert driver.status == 0xB
    ring = driver.set_up(0, 8)
    driver.status = 0xF
    assert ring.request(b"", 4) == bytes(range(4))
    state = machine.slots[0].save()
    machine.slots[0].restore(state)
    assert ring.request(b"", 4) == bytes(range(4))
    driver.status = 0
    driver.status = 3
    driver.choose(1 << 5)  # never offered
    driver.status = 0xB
    assert driver.status == 3


def test_a_queue_is_stopped_and_set_up_anew(machine: Mmio) -> None:
    driver = MmioDriver(machine)
    driver.start()
    driver.put_word(0x44, 0)
    assert driver.get(0x44) == 0
    ring = driver.set_up(0, 16)
    assert ring.request(b"", 4) == bytes(range(4))


def test_numbers_too_large_name_no_queue_and_no_size(machine: Mmio) -> None:
    driver = MmioDriver(machine)
    driver.negotiate()
    assert driver.maximum_of(0x1_0000) == 0
    driver.put_word(0x44, 0)
    driver.put_word(0x44, 1)
    driver.kick(0x1_0000)
    assert driver.maximum_of(0) == 64
    driver.put_word(0x38, 0x1_0008)
    driver.status = 0
    (ring,) = driver.start()
    assert ring.size == 64


def test_control_registers_are_words(machine: Mmio) -> None:
    driver = MmioDriver(machine)
    for size in (1, 2, 8):
        assert driver.get(0, size) == 0
        driver.put(0x70, size, 3)
        assert driver.status == 0


def test_a_disk_is_configured_in_any_width(machine: Mmio) -> None:
    driver = MmioDriver(machine, 1)
    (ring,) = driver.start(1 << 11)
    assert driver.config(0, 8) == driver.config(0, 4) | driver.config(4, 4) << 32 > 0
    generation = driver.get(0xFC)
    device = machine.slots[1].device
    assert isinstance(device, Block)
    device.resized()
    assert driver.get(0xFC) != generation
    assert driver.acknowledge() == 2
    driver.config_write(32, 1, 0)
    assert driver.config(32, 1) == 0
    driver.config_write(0xE00, 4, 0)
    assert driver.config(0xE00, 4) == 0
    assert ring.request(bytes(16), 513) == bytes(513)


def test_a_slot_is_saved_and_restored_between_requests(machine: Mmio) -> None:
    driver, slot = MmioDriver(machine), machine.slots[0]
    (ring,) = driver.start(EVENT_IDX)
    ring.request(b"", 8)
    state = slot.save()
    driver.status = 0
    slot.restore(state)
    slot.resume()
    assert machine.lines[0].level
    assert driver.acknowledge() == 1
    assert ring.request(b"", 16) == bytes(range(16))
    with pytest.raises(StateError):
        slot.restore({**state, "isr": 4})


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("seed", SEEDS)
def test_random_accesses(name: str, seed: int) -> None:
    """Invariant: no access to a register raises, reads fit, the line follows the status.

    Afterwards a well-behaved driver finds a device that works.
    """
    choice = random.Random(f"{name}{seed}")
    machine = Mmio(MAKERS[name]())
    driver = MmioDriver(machine)
    driver.start(choice.getrandbits(64) & ALL_FEATURES, sizes={0: 8})
    for _ in range(500):
        size = choice.choice([1, 2, 4, 4, 4, 4, 8])
        offset = choice.choice([choice.randrange(64) * 4, choice.randrange(64) * 4, 0x70, 0x50])
        if choice.random() < 0.2:
            offset = choice.randrange(0x1000 - size)
        value = choice.choice([0, 1, 2, 3, 0xB, 0xF, RAM, choice.getrandbits(8 * size)])
        driver.put(offset, size, value & (1 << 8 * size) - 1)
        assert 0 <= driver.get(offset, size) < 1 << 8 * size
        poke_host_side(machine.slots[0].device, choice)
        assert machine.lines[0].level == bool(driver.get(0x60))
    machine._free = RAM + 0x100_0000
    check_device(MmioDriver(machine), machine.slots[0].device)
    machine.close()


@pytest.mark.parametrize("name", MAKERS)
def test_saved_states_from_strangers(name: str) -> None:
    """Invariant: a changed state is refused with StateError and no effect, or serves as well."""
    choice = random.Random(name)
    machine = Mmio(MAKERS[name]())
    driver, slot = MmioDriver(machine), machine.slots[0]
    rings = driver.start(MULTIPORT | INDIRECT | EVENT_IDX)
    for ring in rings:
        ring.request(bytes(64), 64)
    original = slot.save()
    taken = 0
    for _ in range(120):
        if restore_or_refuse(slot, changed(original, choice)):
            taken += 1
            slot.resume()
            poke_host_side(slot.device, choice)
            for ring in rings:
                ring.kick()
    assert taken
    slot.restore(original)
    machine._free = RAM + 0x100_0000
    check_device(MmioDriver(machine), slot.device)
    machine.close()
