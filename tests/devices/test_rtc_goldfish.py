from __future__ import annotations

import random

import pytest

from maquina.devices.rtc_goldfish import RtcGoldfish
from maquina.errors import StateError
from maquina.machine.interrupts import Line

START = 1_700_000_000_123_456_789


def is_up(line: Line) -> bool:
    return line.level


class Wall:
    def __init__(self) -> None:
        self.ns = START

    def monotonic_ns(self) -> int:
        return self.ns

    def wall_ns(self) -> int:
        return self.ns


@pytest.fixture
def wall() -> Wall:
    return Wall()


def read_time(rtc: RtcGoldfish) -> int:
    return rtc.read(0x00, 4) | rtc.read(0x04, 4) << 32


def test_reading_the_low_half_latches_the_high_one(wall: Wall) -> None:
    rtc = RtcGoldfish(wall, Line())
    low = rtc.read(0x00, 4)
    wall.ns += 1 << 33
    assert rtc.read(0x04, 4) << 32 | low == START
    assert read_time(rtc) == START + (1 << 33)


def test_the_time_can_be_set_and_goes_on(wall: Wall) -> None:
    rtc = RtcGoldfish(wall, Line())
    rtc.write(0x04, 4, 5)
    rtc.write(0x00, 4, 6)
    assert read_time(rtc) == 5 << 32 | 6
    wall.ns += 100
    assert read_time(rtc) == (5 << 32 | 6) + 100


def test_an_alarm_interrupts_once_when_enabled(wall: Wall) -> None:
    line = Line()
    rtc = RtcGoldfish(wall, line)
    rtc.write(0x10, 4, 1)
    rtc.write(0x0C, 4, (START + 500) >> 32)
    assert rtc.poll() is None
    rtc.write(0x08, 4, (START + 500) & 0xFFFF_FFFF)
    assert rtc.read(0x18, 4) == 1
    assert rtc.poll() == 500
    wall.ns += 500
    assert rtc.poll() is None
    assert is_up(line)
    assert rtc.read(0x18, 4) == 0
    rtc.write(0x1C, 4, 1)
    assert not is_up(line)


def test_an_alarm_in_the_past_is_due_at_once_and_a_cleared_one_never(wall: Wall) -> None:
    line = Line()
    rtc = RtcGoldfish(wall, line)
    rtc.write(0x08, 4, 1)
    assert not is_up(line)
    rtc.write(0x10, 4, 1)
    assert is_up(line)
    rtc.write(0x1C, 4, 1)
    rtc.write(0x0C, 4, 0xFFFF_FFFF)
    rtc.write(0x08, 4, 1)
    rtc.write(0x14, 4, 1)
    wall.ns = (1 << 64) - 1
    assert rtc.poll() is None
    assert not is_up(line)


def test_the_difference_to_the_host_and_the_alarm_are_restored(wall: Wall) -> None:
    rtc = RtcGoldfish(wall, Line())
    rtc.write(0x10, 4, 1)
    rtc.write(0x04, 4, 1)
    rtc.write(0x0C, 4, 2)
    rtc.write(0x08, 4, 7)
    later, line = Wall(), Line()
    later.ns += 1 << 34
    twin = RtcGoldfish(later, line)
    twin.restore(rtc.save())
    assert read_time(twin) == read_time(rtc) + (1 << 34)
    assert is_up(line)
    with pytest.raises(StateError):
        twin.restore({**rtc.save(), "alarm": -1})


def test_random_use(wall: Wall) -> None:
    """Invariant: any access answers 32 bits, and saving and restoring changes no register."""
    choice = random.Random(3)
    rtc = RtcGoldfish(wall, Line())
    for _ in range(3000):
        offset, size = choice.randrange(0x24), choice.choice([1, 2, 4, 4, 4, 8])
        rtc.write(offset, size, choice.getrandbits(8 * size))
        assert 0 <= rtc.read(offset, size) < 1 << 32
        twin = RtcGoldfish(wall, Line())
        twin.restore(rtc.save())
        assert all(twin.read(at, 4) == rtc.read(at, 4) for at in range(0, 0x20, 4))
