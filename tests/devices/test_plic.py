"""The PLIC, register by register (PLIC specification 1.0.0, chapters 3 to 9)."""

from __future__ import annotations

import random

import pytest

from maquina.devices.plic import Plic
from maquina.errors import StateError
from maquina.machine.interrupts import Line
from maquina.machine.state import State

PENDING, ENABLE, THRESHOLD, CLAIM = 0x1000, 0x2000, 0x200000, 0x200004


@pytest.fixture
def plic() -> Plic:
    """96 sources, two contexts, all sources of priority 1 and enabled in context 1."""
    made = Plic(96, [Line(), Line()])
    for source in range(1, 96):
        made.write(4 * source, 4, 1)
    for word in range(3):
        made.write(ENABLE + 0x80 + 4 * word, 4, 0xFFFF_FFFF)
    return made


def output(plic: Plic, context: int) -> bool:
    return plic._outputs[context].level


def claim(plic: Plic, context: int = 1) -> int:
    return plic.read(CLAIM + 0x1000 * context, 4)


def complete(plic: Plic, source: int, context: int = 1) -> None:
    plic.write(CLAIM + 0x1000 * context, 4, source)


def test_priorities_and_thresholds_keep_three_bits(plic: Plic) -> None:
    plic.write(4 * 5, 4, 0xFFFF_FFFF)
    plic.write(THRESHOLD, 4, 0xFFFF_FFFF)
    plic.write(0, 4, 3)
    plic.write(4 * 96, 4, 3)
    assert [plic.read(at, 4) for at in (20, THRESHOLD, 0, 4 * 96)] == [7, 7, 0, 0]


def test_source_zero_cannot_be_enabled_and_beyond_the_last_nothing_is(plic: Plic) -> None:
    assert [plic.read(ENABLE + 0x80 + 4 * at, 4) for at in range(4)] == [
        0xFFFF_FFFE,
        0xFFFF_FFFF,
        0xFFFF_FFFF,
        0,
    ]
    assert plic.read(ENABLE, 4) == 0


def test_a_wire_becomes_pending_claimed_and_completed(plic: Plic) -> None:
    plic.lines[33].set(True)
    assert plic.read(PENDING + 4, 4) == 2
    assert (output(plic, 0), output(plic, 1)) == (False, True)
    assert claim(plic, 0) == 0
    assert claim(plic) == 33
    assert plic.read(PENDING + 4, 4) == 0
    assert not output(plic, 1)
    assert claim(plic) == 0
    complete(plic, 33)
    assert claim(plic) == 33  # the wire is still up
    plic.lines[33].set(False)
    complete(plic, 33)
    assert claim(plic) == 0


def test_a_request_is_not_withdrawn_and_not_doubled(plic: Plic) -> None:
    for level in (True, False, True, False):
        plic.lines[7].set(level)
    assert claim(plic) == 7
    plic.lines[7].set(True)
    plic.lines[7].set(False)
    complete(plic, 7)
    assert claim(plic) == 0


def test_the_highest_priority_goes_first_then_the_lowest_number(plic: Plic) -> None:
    plic.write(4 * 90, 4, 2)
    for source in (50, 90, 10):
        plic.lines[source].set(True)
    assert [claim(plic) for _ in range(4)] == [90, 10, 50, 0]


def test_a_threshold_masks_priorities_up_to_its_own(plic: Plic) -> None:
    plic.lines[3].set(True)
    plic.write(THRESHOLD + 0x1000, 4, 1)
    assert not output(plic, 1)
    assert claim(plic) == 0
    plic.write(4 * 3, 4, 2)
    assert output(plic, 1)
    plic.write(4 * 3, 4, 0)  # priority 0 never interrupts
    plic.write(THRESHOLD + 0x1000, 4, 0)
    assert not output(plic, 1)


def test_completing_what_is_not_enabled_is_ignored(plic: Plic) -> None:
    plic.lines[3].set(True)
    claim(plic)
    complete(plic, 3, context=0)
    complete(plic, 4)
    complete(plic, 0xFFFF_FFFF)
    assert claim(plic) == 0
    complete(plic, 3)
    assert claim(plic) == 3


def test_only_aligned_words_reach_a_register(plic: Plic) -> None:
    plic.lines[3].set(True)
    for size in (1, 2, 8):
        assert plic.read(CLAIM + 0x1000, size) == 0
    assert plic.read(CLAIM + 0x1001, 4) == 0
    assert claim(plic) == 3


def test_a_claimed_interrupt_survives_saving(plic: Plic) -> None:
    plic.lines[3].set(True)
    plic.lines[9].set(True)
    claim(plic)
    twin = Plic(96, [Line(), Line()])
    twin.lines[3].set(True)
    twin.restore(plic.save())
    twin.lines[9].set(True)
    assert output(twin, 1)
    assert [claim(twin), claim(twin)] == [9, 0]
    complete(twin, 3)
    assert claim(twin) == 3


def test_a_wire_that_is_up_before_the_plic_is_restored_is_not_lost(plic: Plic) -> None:
    twin = Plic(96, [Line(), Line()])
    twin.lines[3].set(True)
    twin.restore(plic.save())
    assert claim(twin) == 3


def test_a_state_that_cannot_be_is_refused(plic: Plic) -> None:
    before = plic.save()
    wrong: list[tuple[str, State]] = [("pending", 1), ("enabled", [0]), ("claimed", "x")]
    for field, value in [*wrong, ("pending", 1 << 96)]:
        with pytest.raises(StateError):
            plic.restore({**before, field: value})
    assert plic.save() == before


def test_random_use() -> None:
    """Invariant: an output is up exactly while a claim would answer a source; nothing raises."""
    choice = random.Random(1)
    plic = Plic(64, [Line() for _ in range(4)])
    offsets = [0, 4, 0x80, PENDING, ENABLE, ENABLE + 0x80, THRESHOLD, CLAIM, CLAIM + 0x3000]
    for _ in range(5000):
        if choice.random() < 0.4:
            plic.lines[choice.randrange(64)].set(choice.random() < 0.5)
        else:
            offset = choice.choice(offsets) + 4 * choice.randrange(8)
            if choice.random() < 0.05:
                offset = choice.randrange(0x600000)
            plic.write(offset, 4, choice.choice([choice.getrandbits(6), choice.getrandbits(32)]))
            plic.read(offset, choice.choice([1, 4, 4, 8]))
        for context in range(4):
            assert output(plic, context) == (plic._best(context) != 0)


def test_an_event_source_wants_its_wire_to_rise_again() -> None:
    plic = Plic(96, [Line(), Line()], event_sources=[10])
    plic.write(4 * 10, 4, 1)
    plic.write(ENABLE + 0x80, 4, 1 << 10)
    wire = plic.lines[10]
    wire.set(True)
    assert claim(plic) == 10
    complete(plic, 10)
    assert not output(plic, 1)  # the wire is up, and nothing new has happened
    wire.set(False)
    wire.set(True)
    assert claim(plic) == 10
    wire.set(False)
    wire.set(True)
    state = plic.save()
    plic.restore(state)
    assert plic.save() == state
    assert not output(plic, 1)  # not before the driver has completed the first
    complete(plic, 10)
    assert output(plic, 1)
    assert claim(plic) == 10
    wire.set(False)
    wire.set(True)
    wire.set(False)
    complete(plic, 10)
    assert not output(plic, 1)  # what happened is over
