"""PCI enumeration and the virtio-pci registers, seen from a guest's driver."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.devices.driver import (
    EVENT_IDX,
    INDIRECT,
    RAM,
    RAM_SIZE,
    VERSION_1,
    WINDOW_64,
    Driver,
    Pci,
)

from maquina.devices.virtio.rng import Rng
from maquina.errors import StateError
from maquina.machine.state import State

SIZE = 0x4000


@pytest.fixture
def pci() -> Iterator[Pci]:
    machine = Pci(Rng(lambda count: bytes(range(256))[:count]), Rng())
    yield machine
    machine.close()


def test_the_bus_is_enumerated_as_a_kernel_does(pci: Pci) -> None:
    present = [slot for slot in range(32) if pci.config_read(slot, 0) != 0xFFFF_FFFF]
    assert present == [0, 1, 2]
    assert pci.config_read(0, 0x08) >> 8 == 0x060000
    assert pci.config_read(1, 0) == 0x1044_1AF4
    assert pci.config_read(1, 0x08, 1) == 1
    assert pci.config_read(1, 0x3D, 1) == 1
    assert pci.space.read(0x3000_0000 + (1 << 20), 4) == 0xFFFF_FFFF  # bus 1
    assert pci.space.read(0x3000_0000 + (1 << 15) + (1 << 12), 4) == 0xFFFF_FFFF  # function 1
    assert pci.config_read(1, 0x100) == 0


def test_bars_are_sized_placed_and_moved(pci: Pci) -> None:
    assert pci.config_read(1, 0x10) & 15 == 0b0100
    assert pci.place_bar(1, 0x4000_0000) == SIZE
    assert pci.space.find(0x4000_0000, 4)
    pci.place_bar(1, WINDOW_64[0])
    assert pci.space.find(0x4000_0000, 4) is None
    assert pci.space.find(WINDOW_64[0], 4)
    pci.config_write(1, 0x04, 0, 2)
    assert pci.space.find(WINDOW_64[0], 4) is None


def test_a_bar_can_shadow_nothing_outside_the_windows(pci: Pci) -> None:
    for base in (RAM, 0x3000_0000, 0, 0x7FFF_E000, (1 << 64) - SIZE):
        pci.place_bar(1, base & -SIZE)
        names = [window.name for window in pci.space.windows]
        assert ("device0.bar0" in names) == (base & -SIZE == 0x7FFF_C000)


def test_of_two_bars_at_one_address_the_first_slot_answers_until_it_moves(pci: Pci) -> None:
    for slot in (2, 1):
        pci.place_bar(slot, 0x4000_0000)
    assert [w.name for w in pci.space.windows if w.base == 0x4000_0000] == ["device0.bar0"]
    pci.place_bar(1, 0x4001_0000)
    assert [w.name for w in pci.space.windows if w.base == 0x4000_0000] == ["device1.bar0"]


def test_interrupt_pins_swizzle_and_can_be_disabled(pci: Pci) -> None:
    for slot in (1, 2):
        driver = Driver(pci, slot, 0x4000_0000 + slot * SIZE)
        (ring,) = driver.start()
        ring.request(b"", 8)
        assert [line.level for line in pci.lines] == [line == slot for line in range(4)]
        assert pci.config_read(slot, 0x06, 2) & 8
        pci.config_write(slot, 0x04, 0x406, 2)
        assert not pci.lines[slot].level
        pci.config_write(slot, 0x04, 0x006, 2)
        assert pci.lines[slot].level
        assert driver.acknowledge() == 1
        assert not pci.lines[slot].level
        assert driver.acknowledge() == 0


def test_a_request_travels_both_ways(pci: Pci) -> None:
    driver = Driver(pci)
    (ring,) = driver.start(INDIRECT | EVENT_IDX)
    assert driver.features == VERSION_1 | INDIRECT | EVENT_IDX
    assert ring.request(b"", 100, pieces=3) == bytes(range(100))
    assert ring.request(b"", 100, pieces=7, indirect=True) == bytes(range(100))


def test_features_are_refused_unless_offered_and_modern(pci: Pci) -> None:
    driver = Driver(pci)
    for chosen in (0, VERSION_1 | 1 << 5, VERSION_1 | 1 << 63):
        driver.status = 0
        driver.status = 1
        driver.status = 3
        driver.choose(chosen)
        driver.status = 0xB
        assert driver.status == 3
    driver.choose(VERSION_1)
    driver.status = 0xB
    assert driver.status == 0xB
    driver.choose(0)  # too late
    driver.put(0x08, 4, 1)
    assert driver.get(0x0C, 4) == 1


def test_the_status_moves_in_its_order_only(pci: Pci) -> None:
    driver = Driver(pci)
    driver.choose(VERSION_1)
    for written, read in ((8, 0), (4, 0), (1, 1), (5, 1), (0xB, 0xB), (3, 0xB), (0xF, 0xF)):
        driver.status = written
        assert driver.status == read
    driver.status = 0
    assert driver.status == 0
    driver.status = 2  # DRIVER, and by it ACKNOWLEDGE
    assert driver.status == 3
    driver.choose(VERSION_1)
    driver.status = 0xF
    assert driver.status == 0xF
    driver.status = 0x8F
    assert driver.status == 0x8F
    driver.status = 0xF
    assert driver.status == 0x8F
    driver.status = 0
    assert driver.status == 0


def test_queue_registers_are_fixed_while_the_queue_is_enabled(pci: Pci) -> None:
    driver = Driver(pci)
    driver.start(sizes={0: 8})
    table = driver.get(0x20, 8)
    driver.put(0x18, 2, 64)
    driver.put(0x20, 4, 0xDEAD_0000)
    driver.put(0x1C, 2, 0)
    assert (driver.get(0x18, 2), driver.get(0x20, 8), driver.get(0x1C, 2)) == (8, table, 1)


def test_queue_sizes_must_be_powers_of_two_within_the_maximum(pci: Pci) -> None:
    driver = Driver(pci)
    driver.negotiate()
    for size, read in ((0, 64), (3, 64), (128, 64), (32, 32), (65535, 32)):
        driver.put(0x18, 2, size)
        assert driver.get(0x18, 2) == read
    driver.put(0x16, 2, 1)
    assert (driver.get(0x18, 2), driver.get(0x1C, 2)) == (0, 0)
    driver.put(0x18, 2, 8)
    driver.put(0x1C, 2, 1)
    assert driver.get(0x1C, 2) == 0


def test_addresses_are_written_whole_or_in_halves(pci: Pci) -> None:
    driver = Driver(pci)
    driver.put(0x28, 8, 0x1122_3344_5566_7788)
    assert driver.get(0x28, 8) == 0x1122_3344_5566_7788
    driver.put(0x2C, 4, 0xAABB_CCDD)
    assert (driver.get(0x28, 4), driver.get(0x2C, 4)) == (0x5566_7788, 0xAABB_CCDD)


def test_a_queue_outside_memory_breaks_the_device_until_reset(pci: Pci) -> None:
    driver = Driver(pci)
    for address in (0, RAM + RAM_SIZE, RAM + 8, (1 << 64) - 16):
        driver.negotiate()
        driver.put(0x20, 8, address)
        driver.put(0x28, 8, RAM)
        driver.put(0x30, 8, RAM)
        driver.put(0x1C, 2, 1)
        assert driver.get(0x1C, 2) == 0
        assert driver.status & 0x40
        driver.status = 0xF
        assert driver.status == 0x4B


def test_chains_posted_before_driver_ok_wait_for_it(pci: Pci) -> None:
    driver = Driver(pci)
    driver.negotiate()
    ring = driver.set_up(0)
    ring.add([(pci.allocate(16), 16, True)])
    ring.kick()
    assert ring.collect() == []
    driver.status = 0xF
    assert ring.collect() == [(0, 16)]


def test_one_queue_can_be_reset(pci: Pci) -> None:
    driver = Driver(pci)
    driver.start(1 << 40)
    driver.put(0x3A, 2, 1)
    assert (driver.get(0x3A, 2), driver.get(0x1C, 2), driver.get(0x20, 8)) == (0, 0, 0)
    ring = driver.set_up(0, 16)
    assert ring.request(b"", 4) == bytes(range(4))


def test_the_window_in_configuration_space_reaches_the_bar_unmapped(pci: Pci) -> None:
    at = pci.capabilities(1)[0]  # the last that was added
    assert pci.config_read(1, at + 3, 1) == 5

    def reach(offset: int, size: int) -> None:
        pci.config_write(1, at + 8, offset)
        pci.config_write(1, at + 12, size)

    reach(0x14, 1)
    pci.config_write(1, at + 16, 3, 1)
    assert pci.config_read(1, at + 16, 1) == 3
    reach(0x18, 2)
    assert pci.config_read(1, at + 16, 2) == 64
    assert pci.config_read(1, at + 16, 4) == 0  # another width than announced
    reach(0xFFFF_FFFC, 4)
    assert pci.config_read(1, at + 16, 4) == 0


def test_entropy_is_bounded(pci: Pci) -> None:
    """The first device's source answers what is asked for, up to 256 bytes; ask the second."""
    driver = Driver(pci, 2)
    (ring,) = driver.start()
    answer = ring.request(b"", 1 << 20)
    assert answer is not None
    assert len(answer) == 1 << 16


def test_a_state_refused_by_the_device_changes_nothing(pci: Pci) -> None:
    driver = Driver(pci)
    driver.start(EVENT_IDX)
    common = pci.functions[0].common
    live = common.save()
    driver.status = 0
    before = common.save()

    def refuse(state: dict[str, State]) -> None:
        raise StateError("not mine")

    pci.functions[0].device.restore = refuse  # type: ignore[method-assign]
    with pytest.raises(StateError, match="not mine"):
        common.restore(live)
    assert common.save() == before


def test_a_machine_is_saved_and_restored_between_requests(pci: Pci) -> None:
    driver = Driver(pci)
    (ring,) = driver.start(EVENT_IDX)
    ring.request(b"", 8)
    state = pci.host.save()
    driver.acknowledge()
    driver.status = 0
    pci.place_bar(1, 0x5000_0000)
    pci.host.restore(state)
    assert pci.lines[1].level
    assert driver.acknowledge() == 1
    assert ring.request(b"", 16) == bytes(range(16))
    assert pci.space.find(0x5000_0000, 4) is None
