"""The network card, driven by a guest's driver over PCI."""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Iterator

import pytest
from tests.devices.backends import Cable
from tests.devices.driver import EVENT_IDX, INDIRECT, Driver, Pci

from maquina.devices.virtio.checksums import complete, fill_in
from maquina.devices.virtio.net import Net
from maquina.errors import StateError

CSUM, GUEST_CSUM, MRG, STATUS = 1, 2, 1 << 15, 1 << 16
MAC = bytes.fromhex("525400123456")
HEADER = bytes(10) + b"\1\0"  # one buffer


class Guest:
    def __init__(
        self, features: int, *, mtu: int = 1500, has_checksums: bool = True, start: bool = True
    ) -> None:
        self.cable = Cable()
        self.device = Net(self.cable, MAC, mtu, has_checksums=has_checksums)
        self.cable.attach(self.device.receive)
        self.pci = Pci(self.device)
        self.driver = Driver(self.pci)
        if start:
            self.rx, self.tx = self.driver.start(features)
        self.buffers: dict[int, tuple[int, int]] = {}

    def post(self, size: int, count: int = 1) -> None:
        """Offer receive buffers."""
        for _ in range(count):
            address = self.pci.allocate(size)
            self.buffers[self.rx.add([(address, size, True)])] = (address, size)

    def received(self) -> list[bytes]:
        """Frames with their headers, put together from as many buffers as the header says."""
        frames = []
        parts = [
            self.pci.memory.read(self.buffers[head][0], size) for head, size in self.rx.collect()
        ]
        while parts:
            (count,) = struct.unpack_from("<H", parts[0], 10)
            frames.append(b"".join(parts[:count]))
            del parts[:count]
        return frames


@pytest.fixture(params=[0, MRG, MRG | EVENT_IDX], ids=["plain", "merged", "event-idx"])
def guest(request: pytest.FixtureRequest) -> Iterator[Guest]:
    made = Guest(request.param | INDIRECT | CSUM)
    yield made
    made.pci.close()


def test_configuration_tells_address_status_and_mtu(guest: Guest) -> None:
    assert bytes(guest.driver.config(at, 1) for at in range(6)) == MAC
    assert (guest.driver.config(6, 2), guest.driver.config(10, 2)) == (1, 1500)
    guest.device.set_link(False)
    assert guest.driver.acknowledge() == 2
    assert guest.driver.config(6, 2) == 0


@pytest.mark.parametrize("pieces", [1, 2, 5])
def test_frames_are_sent_without_their_header(guest: Guest, pieces: int) -> None:
    frame = bytes(range(250))
    assert guest.tx.request(HEADER + frame, pieces=pieces) == b""
    assert guest.cable.sent == [frame]


def test_frames_are_received_with_a_header(guest: Guest) -> None:
    guest.post(1600, 3)
    guest.rx.kick()
    frames = [bytes([at]) * (60 + at) for at in range(3)]
    for frame in frames:
        guest.cable.offer(frame)
    assert guest.received() == [HEADER + frame for frame in frames]
    assert guest.driver.acknowledge() == 1


def test_frames_wait_at_the_backend_until_there_are_buffers(guest: Guest) -> None:
    for at in range(4):
        guest.cable.offer(bytes([at]) * 100)
    assert len(guest.cable.waiting) == 4
    guest.post(200, 2)
    assert guest.rx.wants_kick or guest.driver.features & EVENT_IDX
    guest.rx.kick()
    assert len(guest.received()) == 2
    guest.post(200, 2)
    guest.rx.kick()
    assert [frame[12] for frame in guest.received()] == [2, 3]


def test_no_kick_is_wanted_while_no_frame_waits(guest: Guest) -> None:
    guest.post(200, 4)
    guest.rx.kick()
    guest.cable.offer(b"x" * 60)
    guest.post(200)
    assert not guest.rx.wants_kick


def test_a_frame_is_spread_over_small_buffers() -> None:
    guest = Guest(MRG, mtu=65520)
    frame = random.Random(5).randbytes(65534)
    guest.post(4096, 16)
    guest.rx.kick()
    guest.cable.offer(frame)
    assert guest.received() == []
    assert len(guest.cable.waiting) == 1
    guest.post(4096)
    guest.rx.kick()
    (received,) = guest.received()
    assert received == bytes(10) + struct.pack("<H", 17) + frame
    guest.pci.close()


def test_without_merging_what_does_not_fit_is_dropped() -> None:
    guest = Guest(0)
    guest.post(100)
    guest.cable.offer(bytes(200))
    guest.cable.offer(bytes(60))
    assert guest.received() == [HEADER + bytes(60)]
    guest.pci.close()


def test_without_driver_or_cable_frames_are_dropped(guest: Guest) -> None:
    guest.post(200, 2)
    guest.device.set_link(False)
    guest.cable.offer(bytes(60))
    guest.tx.request(HEADER + bytes(60))
    guest.device.set_link(True)
    guest.driver.status = 0
    guest.cable.offer(bytes(60))
    assert (guest.cable.waiting, guest.cable.sent) == ([], [])


def checksum_of(data: bytes | bytearray) -> int:
    """RFC 1071, word by word."""
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data[: len(data) // 2 * 2]))
    total += data[-1] << 8 if len(data) % 2 else 0
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@pytest.mark.parametrize("size", [60, 61, 1514, 9001])
def test_checksums_left_to_the_card_are_completed(size: int) -> None:
    frame = bytearray(random.Random(size).randbytes(size))
    expected = checksum_of(frame[34:]) or 0xFFFF
    done = complete(bytes(frame), 34, 16)
    frame[50:52] = expected.to_bytes(2, "big")
    assert done == frame


def test_a_frame_asking_for_a_checksum_is_completed_or_dropped(guest: Guest) -> None:
    frame = bytes(range(60))
    for start, offset in ((34, 6), (34, 30), (0xFFFF, 0xFFFF)):
        header = struct.pack("<BBHHHHH", 1, 0, 0, 0, start, offset, 0)
        guest.tx.request(header + frame)
    assert guest.cable.sent == [complete(frame, 34, 6)]
    guest.tx.request(struct.pack("<BBHHHHH", 0, 1, 0, 0, 0, 0, 0) + frame)  # segmentation
    guest.tx.request(HEADER)
    guest.tx.request(b"short")
    assert len(guest.cable.sent) == 1


def test_a_backend_without_checksums_is_spared_them() -> None:
    guest = Guest(CSUM | GUEST_CSUM, has_checksums=False)
    frame = bytes(range(60))
    guest.tx.request(struct.pack("<BBHHHHH", 1, 0, 0, 0, 34, 6, 0) + frame)
    assert guest.cable.sent == [frame]
    guest.post(200)
    guest.cable.offer(frame)
    assert guest.received() == [b"\2" + HEADER[1:] + frame]
    guest.pci.close()


def packet(protocol: int, payload: bytes, *, fragment: int = 0, trailer: bytes = b"") -> bytes:
    """An Ethernet frame with IPv4 (with options) and `payload`, checksums zero."""
    total = 24 + len(payload)
    header = struct.pack(">BBHHHBBH", 0x46, 0, total, 0, fragment, 64, protocol, 0)
    return bytes(12) + b"\x08\0" + header + bytes(range(8)) + bytes(4) + payload + trailer


@pytest.mark.parametrize(("protocol", "offset"), [(6, 16), (17, 6)])
@pytest.mark.parametrize("size", [20, 21, 1460])
def test_checksums_are_filled_in_from_nothing(protocol: int, offset: int, size: int) -> None:
    segment = random.Random(size).randbytes(size)
    done = fill_in(packet(protocol, segment, trailer=b"pad"))
    segment = segment[:offset] + bytes(2) + segment[offset + 2 :]
    pseudo = bytes(range(8)) + bytes([0, protocol]) + size.to_bytes(2, "big")
    assert int.from_bytes(done[38 + offset : 40 + offset], "big") == checksum_of(pseudo + segment)
    assert done[40 + offset :] == segment[offset + 2 :] + b"pad"


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        bytes(60),
        packet(1, bytes(40)),
        packet(6, bytes(40), fragment=0x2000),
        packet(6, bytes(40), fragment=1),
        packet(6, bytes(10)),
        packet(6, bytes(40))[:-1],
        bytes(12) + b"\x08\0\xff" + bytes(40),
    ],
    ids=["empty", "no-ip", "icmp", "first-part", "part", "short", "cut", "long-header"],
)
def test_what_has_no_checksum_stays_as_it_is(frame: bytes) -> None:
    assert fill_in(frame) == frame


def test_a_driver_without_checksum_offload_gets_checksums() -> None:
    guest = Guest(0, has_checksums=False)
    guest.post(2000)
    guest.cable.offer(packet(6, bytes(40)))
    assert guest.received() == [HEADER + fill_in(packet(6, bytes(40)))]
    guest.pci.close()


def test_what_is_longer_than_any_frame_is_dropped_uncopied(guest: Guest) -> None:
    big = guest.pci.allocate(1 << 20)
    guest.tx.add([(big, 1 << 20, False)] * 16)
    guest.tx.kick()
    assert len(guest.tx.collect()) == 1
    assert guest.cable.sent == []


def test_a_fault_in_a_receive_buffer_breaks_the_device(guest: Guest) -> None:
    guest.rx.add([(0x1000, 2000, True)])
    guest.cable.offer(bytes(60))
    assert guest.driver.status == 0x4F
    assert guest.cable.waiting == []


def test_a_card_is_restored_while_a_frame_waits(guest: Guest) -> None:
    guest.cable.offer(b"x" * 60)
    state = guest.pci.host.save()
    guest.driver.status = 0
    guest.pci.host.restore(state)
    guest.post(200)
    guest.rx.kick()
    assert guest.received() == [HEADER + b"x" * 60]
    with pytest.raises(StateError):
        Net(Cable(), bytes(6)).restore(guest.device.save())


@pytest.mark.parametrize(("mtu", "frames"), [(1500, 4000), (65520, 600)])
def test_throughput_is_reported(mtu: int, frames: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Full frames both ways, 32 to a batch, buffers of 4 KiB; prints, asserts no time."""
    guest = Guest(MRG | EVENT_IDX | CSUM, mtu=mtu)
    size = mtu + 14
    guest.post(4096, 256)
    packet = guest.pci.allocate(12 + size)
    pieces = [(packet, 12, False), (packet + 12, size, False)]
    frame = bytes(size)
    spent = {"to": 0.0, "from": 0.0}
    done = 0
    while done < frames:
        for _ in range(32):
            guest.tx.add(pieces)
        start = time.perf_counter()
        guest.tx.kick()
        spent["from"] += time.perf_counter() - start
        assert len(guest.tx.collect()) == 32
        batch = 32 if mtu == 1500 else 8
        start = time.perf_counter()
        for _ in range(batch):
            assert guest.device.receive(frame)
        spent["to"] += (time.perf_counter() - start) * 32 / batch
        for head, _ in guest.rx.collect():
            address, _ = guest.buffers.pop(head)
            guest.buffers[guest.rx.add([(address, 4096, True)])] = (address, 4096)
        done += 32
    rates = {way: done * size * 8 / time_s / 1e6 for way, time_s in spent.items()}
    with capsys.disabled():
        print(f"\nvirtio-net, MTU {mtu}: {rates['from']:.0f} Mbit/s from the guest,", end=" ")
        print(f"{rates['to']:.0f} to it")
    guest.pci.close()
