"""The disk, driven by a guest's driver over PCI."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator

import pytest
from tests.devices.backends import DISK_SIZE as SIZE
from tests.devices.backends import Disk
from tests.devices.driver import EVENT_IDX, INDIRECT, Driver, Pci, Ring

from maquina.devices.virtio.block import Block
from maquina.errors import StateError

IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES = 0, 1, 4, 8, 11, 13
OK, IOERR, UNSUPP = b"\0", b"\1", b"\2"
RO, BLK_FLUSH, WCE, BLK_DISCARD, BLK_ZEROES = 1 << 5, 1 << 9, 1 << 11, 1 << 13, 1 << 14
ALL = RO | BLK_FLUSH | WCE | BLK_DISCARD | BLK_ZEROES


class Guest:
    def __init__(self, features: int = ALL, *, is_read_only: bool = False) -> None:
        self.disk = Disk(is_read_only)
        self.device = Block(self.disk, serial="a-disk-with-a-very-long-name")
        self.pci = Pci(self.device)
        self.driver = Driver(self.pci)
        (self.ring,) = self.driver.start(features | EVENT_IDX | INDIRECT)

    def request(
        self, kind: int, sector: int, data: bytes = b"", room: int = 0, pieces: int = 1
    ) -> tuple[bytes, bytes]:
        """Status and data of a request."""
        request = struct.pack("<IIQ", kind, 0, sector) + data
        answer = self.ring.request(request, room + 1, pieces=pieces, indirect=pieces > 8)
        assert answer is not None
        return answer[-1:], answer[:-1]


@pytest.fixture
def guest() -> Iterator[Guest]:
    made = Guest()
    yield made
    made.pci.close()


def test_configuration_tells_the_size_and_limits(guest: Guest) -> None:
    config = guest.driver.config
    assert config(0, 8) == SIZE // 512
    assert config(12, 4) == 254
    assert (config(20, 4), config(24, 1), config(26, 2), config(32, 1)) == (512, 3, 8, 1)
    assert (config(34, 2), config(36, 4), config(40, 4), config(44, 4)) == (1, 1 << 22, 16, 8)
    assert (config(48, 4), config(52, 4), config(56, 1)) == (1 << 22, 16, 1)
    guest.driver.config_write(0, 4, 0)
    assert config(0, 8) == SIZE // 512


@pytest.mark.parametrize("pieces", [1, 3, 20])
def test_sectors_are_written_and_read_back(guest: Guest, pieces: int) -> None:
    data = bytes(range(256)) * 32
    assert guest.request(OUT, 5, data, pieces=pieces) == (OK, b"")
    assert guest.disk.data[5 * 512 : 5 * 512 + len(data)] == data
    assert guest.request(IN, 5, room=len(data), pieces=pieces) == (OK, data)


def test_requests_beyond_the_end_or_of_part_of_a_sector_fail(guest: Guest) -> None:
    last = SIZE // 512 - 1
    assert guest.request(IN, last, room=512)[0] == OK
    for sector, size in ((last, 1024), (last + 1, 512), ((1 << 64) - 1, 512), (0, 511)):
        assert guest.request(IN, sector, room=size)[0] == IOERR
        assert guest.request(OUT, sector, bytes(size))[0] == IOERR
    assert guest.disk.log == []


def test_a_failing_backend_fails_the_request_only(guest: Guest) -> None:
    guest.disk.is_broken = True
    assert guest.request(IN, 0, room=512)[0] == IOERR
    guest.disk.is_broken = False
    assert guest.request(IN, 0, room=512)[0] == OK


def test_the_id_is_the_serial_cut_to_twenty_bytes(guest: Guest) -> None:
    assert guest.request(GET_ID, 0, room=20) == (OK, b"a-disk-with-a-very-l")


def test_unknown_requests_are_unsupported(guest: Guest) -> None:
    for kind in (2, 3, 5, 14, 0xFFFF_FFFF):
        assert guest.request(kind, 0)[0] == UNSUPP


def test_ranges_are_discarded_and_zeroed(guest: Guest) -> None:
    guest.request(OUT, 8, b"x" * 8192)
    ranges = struct.pack("<QIIQII", 8, 8, 0, 100, 16, 0)
    assert guest.request(DISCARD, 0, ranges)[0] == OK
    assert guest.request(WRITE_ZEROES, 0, struct.pack("<QII", 8, 8, 1))[0] == OK
    assert guest.disk.log[1:] == [
        ("discard", 4096, 4096),
        ("discard", 51200, 8192),
        ("zeros", 4096, 4096),
    ]
    assert guest.request(IN, 8, room=8192)[1] == bytes(4096) + b"x" * 4096


def test_bad_ranges_change_nothing(guest: Guest) -> None:
    sectors = SIZE // 512
    good = struct.pack("<QII", 0, 8, 0)
    for bad, status in (
        (struct.pack("<QII", sectors, 8, 0), IOERR),
        (struct.pack("<QII", 0, (1 << 22) + 1, 0), IOERR),
        (struct.pack("<QII", 0, 8, 2), UNSUPP),
        (b"short", IOERR),
        (good * 16, IOERR),
    ):
        assert guest.request(DISCARD, 0, good + bad)[0] == status
    assert guest.request(DISCARD, 0, struct.pack("<QII", 0, 8, 1))[0] == UNSUPP
    assert guest.request(WRITE_ZEROES, 0)[0] == IOERR
    assert guest.disk.log == []


@pytest.mark.parametrize(
    ("features", "log"),
    [
        (0, ["write", "flush"]),
        (BLK_FLUSH, ["write"]),
        (BLK_FLUSH | WCE, ["write"]),
        (BLK_DISCARD, ["write", "flush"]),
    ],
)
def test_writes_are_stable_at_once_unless_the_driver_flushes(
    features: int, log: list[str]
) -> None:
    guest = Guest(features)
    guest.request(OUT, 0, bytes(512))
    assert [entry[0] for entry in guest.disk.log] == log
    assert guest.request(DISCARD, 0, struct.pack("<QII", 0, 8, 0))[0] == (
        OK if features & BLK_DISCARD else UNSUPP
    )
    guest.pci.close()


def test_the_driver_may_turn_the_write_cache_off(guest: Guest) -> None:
    guest.driver.config_write(32, 1, 0)
    assert guest.driver.config(32, 1) == 0
    guest.request(OUT, 0, bytes(512))
    assert guest.disk.log == [("write", 0), ("flush",)]
    assert guest.request(FLUSH, 0)[0] == OK
    guest.driver.status = 0
    assert guest.driver.config(32, 1) == 1


def test_a_read_only_disk_refuses_to_change() -> None:
    guest = Guest(is_read_only=True)
    assert guest.driver.features & (RO | WCE | BLK_DISCARD) == RO
    for kind, data in ((OUT, bytes(512)), (DISCARD, struct.pack("<QII", 0, 8, 0))):
        assert guest.request(kind, 0, data)[0] in (IOERR, UNSUPP)
    assert guest.disk.log == []
    guest.pci.close()


@pytest.mark.parametrize(("request_size", "room"), [(15, 1), (16, 0), (0, 1)])
def test_what_is_no_request_breaks_the_device(guest: Guest, request_size: int, room: int) -> None:
    assert guest.ring.request(bytes(request_size), room) is None
    assert guest.driver.status == 0x4F
    assert guest.driver.acknowledge() & 2
    (guest.ring,) = guest.driver.start()
    assert guest.request(IN, 0, room=512)[0] == OK


def test_resizing_is_told(guest: Guest) -> None:
    generation = guest.driver.get(0x15, 1)
    guest.disk.data += bytes(512)
    guest.device.resized()
    assert guest.driver.acknowledge() & 2
    assert guest.driver.get(0x15, 1) != generation
    assert guest.driver.config(0, 8) == SIZE // 512 + 1


def test_a_disk_is_restored_between_requests_but_not_onto_another(guest: Guest) -> None:
    ring: Ring = guest.ring
    ring.add([(guest.pci.allocate(16), 16, False), (guest.pci.allocate(1), 1, True)])
    state = guest.pci.host.save()  # one request is available and not kicked
    guest.driver.status = 0
    guest.pci.host.restore(state)
    ring.kick()
    assert len(ring.collect()) == 1
    guest.disk.data += bytes(512)
    before = guest.pci.host.save()
    with pytest.raises(StateError, match="sectors"):
        guest.pci.host.restore(state)
    assert guest.pci.host.save() == before


def test_dma_into_a_page_of_code_is_announced(guest: Guest) -> None:
    told: list[tuple[int, int]] = []
    memory = guest.pci.memory
    target = guest.pci.allocate(8192, 4096)
    memory.code_pages[(target + 4096 - memory.base) >> 12] = 1
    memory.on_code_written.append(lambda address, size: told.append((address, size)))
    header = guest.pci.allocate(16)
    memory.write(header, struct.pack("<IIQ", IN, 0, 0))
    status = guest.pci.allocate(1)
    guest.ring.add([(header, 16, False), (target, 8192, True), (status, 1, True)])
    guest.ring.kick()
    assert told == [(target, 8192)]


def test_throughput_is_reported(guest: Guest, capsys: pytest.CaptureFixture[str]) -> None:
    """Sequential requests of 128 KiB in 32 buffers each, eight in flight; prints, asserts none."""
    buffers = [guest.pci.allocate(4096, 4096) for _ in range(32)]
    status = guest.pci.allocate(1)
    headers = []
    for kind in (IN, OUT):
        for at in range(8):
            header = guest.pci.allocate(16)
            guest.pci.memory.write(header, struct.pack("<IIQ", kind, 0, at * 256))
            headers.append((header, kind))
    spent = {IN: 0.0, OUT: 0.0}
    for kind in (IN, OUT):
        for _ in range(16):
            mine = [header for header, its in headers if its == kind]
            for header in mine:
                data = [(address, 4096, kind == IN) for address in buffers]
                guest.ring.add([(header, 16, False), *data, (status, 1, True)], indirect=True)
            start = time.perf_counter()
            guest.ring.kick()
            spent[kind] += time.perf_counter() - start
            assert len(guest.ring.collect()) == 8
    with capsys.disabled():
        rates = {k: 16 * 8 * 128 / 1024 / s for k, s in spent.items()}
        print(f"\nvirtio-blk: read {rates[IN]:.0f} MB/s, write {rates[OUT]:.0f} MB/s")
