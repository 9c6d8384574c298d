from __future__ import annotations

import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from maquina.errors import HostError
from maquina.net.none import NoNetwork
from maquina.net.pcap import Capture, PcapWriter


class Echo(NoNetwork):
    """Gives back what it is sent."""

    def attach(self, receive: Callable[[bytes], bool]) -> None:
        self.receive = receive

    def send(self, frame: bytes) -> None:
        self.receive(frame[::-1])


def frames_in(path: Path) -> list[bytes]:
    data = path.read_bytes()
    assert struct.unpack("=IHHiIII", data[:24]) == (0xA1B23C4D, 2, 4, 0, 0, 262144, 1)
    at, frames = 24, []
    while at < len(data):
        seconds, nanoseconds, size, whole = struct.unpack_from("=IIII", data, at)
        assert abs(seconds - time.time()) < 60
        assert nanoseconds < 1_000_000_000
        assert size == whole
        frames.append(data[at + 16 : at + 16 + size])
        at += 16 + size
    return frames


def test_both_directions_are_recorded_when_taken(tmp_path: Path) -> None:
    capture = Capture(Echo(), tmp_path / "pcap")
    answers = iter([False, True])
    capture.attach(lambda frame: next(answers))
    capture.send(b"refused")
    capture.send(b"taken")
    capture.flush()
    assert frames_in(tmp_path / "pcap") == [b"refused", b"taken", b"nekat"]
    capture.close()


def test_recording_ends_at_its_limit_and_the_network_goes_on(tmp_path: Path) -> None:
    writer = PcapWriter(tmp_path / "pcap", limit_bytes=24 + 2 * (16 + 4))
    for _ in range(5):
        writer.write(b"1234")
    assert writer.stopped == "the capture reached its limit"
    writer.close()
    writer.write(b"late")
    writer.flush()
    assert frames_in(tmp_path / "pcap") == [b"1234"] * 2


def test_a_full_disk_ends_the_recording_only() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    writer = PcapWriter(full)
    for _ in range(100):
        writer.write(bytes(1000))
    assert writer.stopped is not None
    assert "No space" in writer.stopped
    writer.close()


def test_a_capture_that_cannot_be_written_is_a_host_error(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="choose another file"):
        PcapWriter(tmp_path / "missing" / "pcap")
