from __future__ import annotations

import random

import pytest

from maquina.devices.aclint import NEVER, Clint, Sswi
from maquina.errors import StateError
from maquina.machine.interrupts import Line


def is_up(line: Line) -> bool:
    return line.level


class Ticks:
    def __init__(self) -> None:
        self.ticks = 1000

    def now(self) -> int:
        return self.ticks

    def set(self, ticks: int) -> None:
        self.ticks = ticks


class Machine:
    def __init__(self, harts: int = 2) -> None:
        self.clock = Ticks()
        self.software = [Line() for _ in range(harts)]
        self.timer = [Line() for _ in range(harts)]
        self.reported: list[tuple[int, int]] = []
        self.clint = Clint(
            self.clock, self.software, self.timer, lambda *what: self.reported.append(what)
        )


def test_msip_is_a_level_of_one_bit_per_hart() -> None:
    machine = Machine()
    machine.clint.write(4, 4, 0xFFFF_FFFF)
    assert [line.level for line in machine.software] == [False, True]
    assert [machine.clint.read(at, 4) for at in (0, 4, 8)] == [0, 1, 0]
    machine.clint.write(4, 4, 0xFFFF_FFFE)
    machine.clint.write(8, 4, 1)
    assert not is_up(machine.software[1])


def test_the_timer_interrupts_from_the_compare_value_on() -> None:
    machine = Machine()
    clint = machine.clint
    assert clint.poll() is None
    clint.write(0x4008, 8, 1500)
    assert clint.poll() == 500
    machine.clock.ticks = 1499
    assert clint.poll() == 1
    assert not is_up(machine.timer[1])
    machine.clock.ticks = 1500
    assert clint.poll() is None
    assert is_up(machine.timer[1])
    clint.write(0x4008, 8, 2000)
    assert not is_up(machine.timer[1])
    clint.write(0x4008, 8, 5)
    assert is_up(machine.timer[1])
    assert machine.reported == [(1, 1500), (1, 2000), (1, 5)]


def test_sixty_four_bit_registers_are_accessed_in_halves_too() -> None:
    machine = Machine()
    clint = machine.clint
    clint.write(0x4004, 4, 0x1234)
    clint.write(0x4000, 4, 0x5678)
    assert clint.read(0x4000, 8) == 0x1234_0000_5678
    assert (clint.read(0x4000, 4), clint.read(0x4004, 4)) == (0x5678, 0x1234)
    assert clint.read(0x4008, 8) == NEVER
    machine.clock.ticks = 0x1_0000_0002
    assert (clint.read(0xBFF8, 4), clint.read(0xBFFC, 4)) == (2, 1)


def test_mtime_can_be_set() -> None:
    machine = Machine()
    machine.clint.write(0x4000, 8, 5000)
    machine.clint.write(0xBFF8, 8, 6000)
    assert machine.clock.ticks == 6000
    assert is_up(machine.timer[0])
    machine.clint.write(0xBFF8, 4, 0)
    assert not is_up(machine.timer[0])


def test_other_widths_and_harts_that_are_not_there_reach_nothing() -> None:
    machine = Machine()
    for offset in (0x4010, 0xBFF0, 0xC000, 0xFFF8):
        machine.clint.write(offset, 8, 77)
        assert machine.clint.read(offset, 8) == 0
    machine.clint.write(0, 1, 1)
    machine.clint.write(0x4001, 8, 1)
    assert machine.reported == []
    assert not is_up(machine.software[0])


def test_sswi_is_an_edge() -> None:
    rung: list[int] = []
    sswi = Sswi([lambda: rung.append(0), lambda: rung.append(1)])
    for offset, value in ((4, 1), (0, 1), (4, 2), (8, 1)):
        sswi.write(offset, 4, value)
    assert rung == [1, 0]
    assert sswi.read(4, 4) == 0


def test_levels_and_compare_values_are_restored() -> None:
    machine, twin = Machine(), Machine()
    machine.clint.write(0, 4, 1)
    machine.clint.write(0x4008, 8, 900)
    twin.clint.restore(machine.clint.save())
    assert is_up(twin.software[0])
    assert is_up(twin.timer[1])
    assert twin.reported == [(0, NEVER), (1, 900)]
    for state in ({"software": [0], "compare": [1, 2]}, {"software": [0, 0], "compare": [-1, 2]}):
        with pytest.raises(StateError):
            twin.clint.restore(state)  # type: ignore[arg-type]


def test_random_use() -> None:
    """Invariant: after every access a timer line is up exactly when its compare value is past."""
    choice = random.Random(2)
    machine = Machine(4)
    for _ in range(3000):
        offset = choice.choice([0, 0x4000, 0xBFE0, 0xFFE0]) + choice.randrange(0x24)
        size = choice.choice([1, 2, 4, 8])
        machine.clint.write(offset, size, choice.getrandbits(8 * size))
        assert 0 <= machine.clint.read(offset, size) < 1 << 64
        machine.clock.ticks = choice.choice([machine.clock.ticks, choice.getrandbits(64)])
        machine.clint.poll()
        for line, ticks in zip(machine.timer, machine.clint.compare, strict=True):
            assert line.level == (machine.clock.ticks >= ticks)
