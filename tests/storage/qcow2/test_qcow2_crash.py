"""The sequence of writes is cut at every point, and reordered as a power cut may do.

Whatever is left: the image has no errors (leaks are allowed), every sector holds something that
was in it at or after the last completed flush, and it can be written on.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from maquina.storage.disk import Disk
from maquina.storage.formats import create_overlay, open_image
from maquina.storage.hostfile import HostFile
from maquina.storage.qcow2 import tables
from maquina.storage.qcow2.check import Repair, check
from maquina.storage.qcow2.create import Options, create
from maquina.storage.qcow2.image import Qcow2Image
from maquina.storage.raw import RawImage

Run = Callable[..., str]
SECTOR = 512
LAYOUTS = {
    "512B": (Options(cluster_size=512), 160 << 10),
    "64-bit": (Options(cluster_size=512, refcount_bits=64), 96 << 10),
    "1-bit": (Options(cluster_size=4096, refcount_bits=1), 256 << 10),
    "subclusters": (Options(cluster_size=16384, extended_l2=True), 256 << 10),
    "crowded": (Options(cluster_size=512), 160 << 10),  # commits on its own, in mid-write
    "v2": (Options(cluster_size=1024, version=2), 192 << 10),
    "snapshot": (Options(cluster_size=2048), 192 << 10),
    "growing": (Options(cluster_size=512, refcount_bits=64), 2200 << 10),  # its table moves
}
Event = tuple[str, int, bytes]


class RecordingFile(HostFile):
    """Notes what reaches the file, in order."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, is_read_only=False)
        self.events: list[Event] = []

    def write_from(self, offset: int, buffers: Sequence[memoryview]) -> None:
        self.events.append(("write", offset, b"".join(buffers)))
        super().write_from(offset, buffers)

    def punch(self, offset: int, length: int) -> bool:
        self.events.append(("write", offset, bytes(length)))
        return super().punch(offset, length)

    def barrier(self) -> None:
        self.events.append(("barrier", 0, b""))


class Story:
    """A random session on an image: the file before it, what was written, what it meant."""

    def __init__(self, path: Path, content: bytes, backing: Disk | None, seed: int) -> None:
        self.before = path.read_bytes()
        self.file = RecordingFile(path)
        self.versions = [content]
        self.marks: list[tuple[int, int]] = [(0, 0)]  # events so far, version that is durable then
        rng = random.Random(seed)
        image = Qcow2Image(self.file, backing=backing)
        self.table_offset = image.metadata.refcounts.table_offset
        if len(content) > 1 << 20:
            self._fill(image, 1975 << 10, rng)
        for _ in range(45):
            self._step(image, rng)
        self.has_moved_table = image.metadata.refcounts.table_offset != self.table_offset
        image.close()

    def _fill(self, image: Qcow2Image, length: int, rng: random.Random) -> None:
        """Write so much that the refcount table is nearly full."""
        data = rng.randbytes(length)
        image.write_from(0, [memoryview(data)])
        image.flush()
        self.before = self.file.path.read_bytes()
        self.file.events.clear()
        self.versions = [data + self.versions[0][length:]]

    def _step(self, image: Qcow2Image, rng: random.Random) -> None:
        now = bytearray(self.versions[-1])
        sectors = len(now) // SECTOR
        length = rng.randrange(1, min(sectors, rng.choice((2, 8, 100))))
        start = rng.randrange(sectors - length) * SECTOR
        length *= SECTOR
        action = rng.choice(("write", "write", "write", "zeros", "discard", "flush"))
        if action == "write":
            now[start : start + length] = rng.randbytes(length)
            self.versions.append(bytes(now))  # before the call: part of it may be seen
            image.write_from(start, [memoryview(now)[start : start + length]])
        elif action == "flush":
            image.flush()
            self.marks.append((len(self.file.events), len(self.versions) - 1))
        else:
            now[start : start + length] = bytes(length)
            self.versions.append(bytes(now))
            (image.write_zeros if action == "zeros" else image.discard)(start, length)
            image.read_into(0, [memoryview(now)])
            self.versions.append(bytes(now))

    def durable_at(self, events: int) -> int:
        """The version that the last flush before an event made durable."""
        return max(version for at, version in self.marks if at <= events)

    def states(self) -> Iterator[tuple[int, bytearray]]:
        """The file after each event: what a killed process leaves."""
        image = bytearray(self.before)
        for cut, (kind, offset, data) in enumerate(self.file.events):
            yield cut, image
            if kind == "write":
                put(image, offset, data)
        yield len(self.file.events), image

    def torn(self, cut: int, rng: random.Random) -> bytes:
        """The file if of the writes since the last barrier any sectors arrived: a power cut."""
        events = self.file.events[:cut]
        barrier = max((at for at, event in enumerate(events) if event[0] == "barrier"), default=0)
        image = next(image for at, image in self.states() if at == barrier)
        for kind, offset, data in events[barrier:]:
            for at in range(0, len(data) if kind == "write" else 0, SECTOR):
                if rng.random() < 0.5:
                    put(image, offset + at, data[at : at + SECTOR])
        return bytes(image)


def put(image: bytearray, offset: int, data: bytes) -> None:
    image.extend(bytes(max(offset + len(data) - len(image), 0)))
    image[offset : offset + len(data)] = data


def assert_survived(path: Path, versions: list[bytes]) -> None:
    """No errors, and every sector is as in one of the versions."""
    report = check(path)
    assert not report.errors, report.messages
    disk = open_image(path, allow_backing=True)
    found = bytearray(len(versions[0]))
    disk.read_into(0, [memoryview(found)])
    for at in range(0, len(found), SECTOR):
        sector = found[at : at + SECTOR]
        assert any(sector == version[at : at + SECTOR] for version in versions), at
    disk.close()


def tell(name: str, tmp_path: Path, qemu_img: Run) -> Story:
    path = tmp_path / "disk.qcow2"
    options, size = LAYOUTS[name]
    content = random.Random(3).randbytes(size // 2)
    if name in ("v2", "growing"):
        create(path, size, options=options)
        return Story(path, bytes(size), None, 5)
    if name == "snapshot":
        create(path, size, options=options)
        write_on(path)
        qemu_img("snapshot", "-c", "kept", path)
        return Story(path, random.Random(8).randbytes(size), None, 5)
    base = tmp_path / "base"
    base.write_bytes(content)
    create_overlay(base, path, size_bytes=size, options=options)
    content += bytes(size - len(content))
    return Story(path, content, RawImage.open(base, read_only=True), 5)


@pytest.fixture(params=LAYOUTS)
def name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    layout: str = request.param
    if layout == "crowded":
        monkeypatch.setattr(tables, "CACHE_BYTES", 0)
    return layout


def test_killed_at_every_point(name: str, tmp_path: Path, qemu_img: Run) -> None:
    cut_path = tmp_path / "cut.qcow2"
    story = tell(name, tmp_path, qemu_img)
    assert story.has_moved_table == (name == "growing")
    for cut, state in story.states():
        cut_path.write_bytes(state)
        assert_survived(cut_path, story.versions[story.durable_at(cut) :])


def test_power_cut(
    name: str, tmp_path: Path, qemu_check: Callable[[Path], dict[str, Any]], qemu_img: Run
) -> None:
    cut_path = tmp_path / "cut.qcow2"
    story = tell(name, tmp_path, qemu_img)
    rng = random.Random(6)
    for trial in range(31 if name == "growing" else 91):
        cut = rng.randrange(len(story.file.events) + 1)
        cut_path.write_bytes(story.torn(cut, rng))
        assert_survived(cut_path, story.versions[story.durable_at(cut) :])
        if trial % 30 == 0:
            assert not qemu_check(cut_path).get("corruptions")
            write_on(cut_path)
            assert not qemu_check(cut_path).get("corruptions")
            assert check(cut_path, repair=Repair.LEAKS).is_clean
            assert qemu_check(cut_path).get("leaks", 0) == 0
            if name == "snapshot":
                kept = tmp_path / "kept.raw"
                qemu_img("convert", "-l", "kept", "-O", "raw", cut_path, kept)
                assert kept.read_bytes() == story.versions[0]


def write_on(path: Path) -> None:
    disk = open_image(path, allow_backing=True)
    data = random.Random(8).randbytes(disk.size_bytes)
    disk.write_from(0, [memoryview(data)])
    disk.close()
    assert not check(path).errors
    disk = open_image(path, allow_backing=True)
    found = bytearray(disk.size_bytes)
    disk.read_into(0, [memoryview(found)])
    assert found == data
    disk.close()
