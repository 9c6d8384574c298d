"""Saved states from strangers: a snapshot is bytes that anybody may have written."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator

import pytest
from tests.devices.backends import Program
from tests.devices.driver import EVENT_IDX, INDIRECT, RAM, Driver, Pci
from tests.devices.test_hostile_guest import MAKERS, MULTIPORT, check_that_it_works, poke_host_side

from maquina.devices.aclint import NEVER, Clint
from maquina.devices.plic import Plic
from maquina.devices.rtc_goldfish import RtcGoldfish
from maquina.devices.uart16550 import Uart16550
from maquina.errors import StateError
from maquina.machine.clock import HostClock
from maquina.machine.interrupts import Line
from maquina.machine.state import Persist, State

STRANGE: list[State] = [None, True, -1, 0, 1, 7, 255, 1 << 16, RAM, 1 << 63, 1 << 64, 1 << 200]
STRANGE += ["", "x" * 999, b"", b"\xff" * 8, b"\0" * 256, [], [1] * 99, {}]


class Ticks:
    def now(self) -> int:
        return 5

    def set(self, ticks: int) -> None:
        """Time stands still."""


def leaves(state: State, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where something could be changed, containers included."""
    if path:
        yield path
    if isinstance(state, dict):
        for key, value in state.items():
            yield from leaves(value, (*path, key))
    elif isinstance(state, list):
        for at, value in enumerate(state[:4]):
            yield from leaves(value, (*path, at))


def changed(state: dict[str, State], choice: random.Random) -> dict[str, State]:
    """A copy with one thing in it replaced, nudged or removed."""
    twin = copy.deepcopy(state)
    *way, last = choice.choice(list(leaves(state)))
    holder: State = twin
    for step in way:
        holder = holder[step]  # type: ignore[index]
    assert isinstance(holder, dict | list)
    present = holder[last]  # type: ignore[index]
    if isinstance(holder, dict) and choice.random() < 0.1:
        del holder[str(last)]
    elif isinstance(present, int) and choice.random() < 0.5:
        holder[last] = present ^ 1 << choice.randrange(40)  # type: ignore[index]
    elif isinstance(present, bytes) and present and choice.random() < 0.7:
        at = choice.randrange(len(present))
        flipped = bytes([present[at] ^ 1 << choice.randrange(8)])
        holder[last] = present[:at] + flipped + present[at + 1 :]  # type: ignore[index]
    else:
        holder[last] = choice.choice(STRANGE)  # type: ignore[index]
    return twin


def restore_or_refuse(part: Persist, state: dict[str, State]) -> bool:
    """Whether the state was taken over; if it was not, nothing changed."""
    before = part.save()
    try:
        part.restore(state)
    except StateError:
        assert part.save() == before
        return False
    part.restore(part.save())
    return True


def test_the_parts_of_a_board() -> None:
    """Invariant: a changed state is refused with StateError and no effect, or serves as well."""
    choice = random.Random(10)
    plic = Plic(40, [Line(), Line()])
    parts: list[Persist] = [
        plic,
        Clint(Ticks(), [Line(), Line()], [Line(), Line()]),
        RtcGoldfish(HostClock(), plic.lines[11]),
        Uart16550(Program(), plic.lines[10]),  # type: ignore[arg-type]
    ]
    for part in parts:
        taken = 0
        for _ in range(400):
            taken += restore_or_refuse(part, changed(part.save(), choice))
            for offset in (0, 1, 2, 4, 8, 0x1000, 0x2000, 0x4000, 0xBFF8, 0x200004):
                assert 0 <= part.read(offset, 4) <= NEVER  # type: ignore[attr-defined]
                part.write(offset, 4, 1)  # type: ignore[attr-defined]
        assert 20 < taken < 400


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("seed", range(4))
def test_virtio_devices(name: str, seed: int) -> None:
    """Invariant: as above; and with any state taken over no access raises, and a reset heals."""
    choice = random.Random(f"{name}{seed}")
    pci = Pci(MAKERS[name]())
    driver = Driver(pci)
    rings = driver.start(MULTIPORT | INDIRECT | EVENT_IDX)
    for ring in rings:
        ring.request(bytes(64), 64)
    original = pci.host.save()
    taken = 0
    for _ in range(80):
        if restore_or_refuse(pci.host, changed(original, choice)):
            taken += 1
            pci.host.resume()
            poke_host_side(pci.functions[0].device, choice)
            for address in (driver.base + 0x14, driver.base + 0x1000, driver.base + 0x2000):
                pci.space.read(address, 4)
            for ring in rings:
                pci.space.write(driver.structures[2] + 4 * ring.index, 2, ring.index)
    assert taken
    pci.host.restore(original)
    check_that_it_works(pci)
    pci.close()
