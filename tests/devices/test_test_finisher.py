from __future__ import annotations

from maquina.devices.test_finisher import TestFinisher


def test_each_command_ends_the_machine_as_it_says() -> None:
    ends: list[int | str] = []
    device = TestFinisher(ends.append, lambda: ends.append("reset"))
    for value in (0x5555, 0x3333 | 7 << 16, 0x7777, 0x1234, 0x5555 | 9 << 16):
        device.write(0, 4, value)
    device.write(4, 4, 0x5555)
    device.write(0, 1, 0x55)
    assert ends == [0, 7, "reset", 0]
    assert device.read(0, 4) == 0
