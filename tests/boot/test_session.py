"""Sessions from Python: bad ends of a guest, firmware, systems of one's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.boot.commands import image

from maquina.boards.configuration import Configuration
from maquina.boards.machine import Machine
from maquina.errors import ImageError
from maquina.hypervisor.recipes import Wanted
from maquina.hypervisor.session import Session
from maquina.images import Guest, debian

pytestmark = pytest.mark.boot
OPENSBI = Path("/usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin")
TIMEOUT_S = 60


@pytest.fixture(scope="module")
def guest() -> Guest:
    image()
    return debian()


@pytest.fixture
def files() -> Iterator[tuple[int, int]]:
    """A pipe: for reading, for writing."""
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


def test_several_commands_in_one_machine(guest: Guest, files: tuple[int, int]) -> None:
    with Session(Wanted(guest=guest, has_network=False)) as session:
        first = session.start_command(
            ["sh", "-c", "sleep 0.2; exit 1"], (None, files[1], files[1])
        )
        second = session.start_command(
            ["sh", "-c", "echo two; exit 2"], (None, files[1], files[1])
        )
        assert session.wait(second, TIMEOUT_S) == 2
        assert session.wait(first, TIMEOUT_S) == 1
    assert os.read(files[0], 100) == b"two\n"


@pytest.mark.parametrize("script", ["echo c >/proc/sysrq-trigger", "echo b >/proc/sysrq-trigger"])
def test_a_guest_that_dies_is_an_error(guest: Guest, files: tuple[int, int], script: str) -> None:
    with Session(Wanted(guest=guest, has_network=False)) as session:
        command = session.start_command(["sh", "-c", script], (None, files[1], files[1]))
        with pytest.raises(ImageError, match="the guest ended before"):
            session.wait(command, TIMEOUT_S)


def test_opensbi_starts_the_same_kernel(guest: Guest, files: tuple[int, int]) -> None:
    if not OPENSBI.exists():
        pytest.skip("needs OpenSBI (package opensbi)")
    wanted = Wanted(guest=guest, firmware=OPENSBI, has_network=False)
    with Session(wanted) as session:
        command = session.start_command(["uname", "-m"], (None, files[1], files[1]))
        assert session.wait(command, TIMEOUT_S) == 0
        assert "OpenSBI" in session.log.text
    assert os.read(files[0], 100) == b"riscv64\n"


def test_a_machine_in_m_mode_of_our_own(tmp_path: Path) -> None:
    """Four instructions: switch off with status 7 through the test finisher."""
    words = [
        0x00100537,  # lui a0, 0x100
        0x000735B7,  # lui a1, 0x73
        0x33358593,  # addi a1, a1, 0x333
        0x00B52023,  # sw a1, 0(a0)
        0x0000006F,  # j .
    ]
    (tmp_path / "program").write_bytes(b"".join(word.to_bytes(4, "little") for word in words))
    wanted = Configuration(firmware=tmp_path / "program", memory_bytes=16 << 20)
    with Machine(wanted) as machine:
        machine.start()
        ending = machine.wait(TIMEOUT_S)
        assert ending is not None
        assert ending.status == 7
        assert machine.statistics().instructions >= 4
