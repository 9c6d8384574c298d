"""Random reads, writes, zeros, discards and reopenings against a plain array of bytes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from maquina.storage.disk import Disk
from maquina.storage.formats import create_overlay, open_image
from maquina.storage.qcow2.check import check
from maquina.storage.qcow2.create import Options, create

Check = Callable[[Path], dict[str, Any]]
Run = Callable[..., str]
KB = 1024
LAYOUTS = {
    "default": Options(),
    "v2": Options(version=2),
    "512B": Options(cluster_size=512),
    "2M": Options(cluster_size=2 << 20),
    "1-bit": Options(cluster_size=4096, refcount_bits=1),
    "4-bit": Options(cluster_size=1024, refcount_bits=4),
    "64-bit": Options(cluster_size=512, refcount_bits=64),
    "subclusters": Options(extended_l2=True),
    "small-subclusters": Options(cluster_size=16384, extended_l2=True, compression="zstd"),
}


def read(disk: Disk, offset: int, length: int) -> bytes:
    data = bytearray(length)
    disk.read_into(offset, [memoryview(data)])
    return bytes(data)


def cut(rng: random.Random, data: bytes) -> list[memoryview]:
    """Data as a scatter list, in pieces as a guest's driver makes them."""
    whole = memoryview(data)
    places = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(4)))
    edges = [0, *places, len(data)]
    return [whole[a:b] for a, b in pairwise(edges)]


class Model:
    """A disk image and what it must hold."""

    def __init__(self, path: Path, content: bytes, seed: int) -> None:
        self.path = path
        self.content = bytearray(content)
        self.rng = random.Random(seed)
        self.disk = open_image(path, allow_backing=True)
        assert self.disk.size_bytes == len(content)

    def span(self, most: int) -> tuple[int, int]:
        size = len(self.content)
        length = min(self.rng.choice((1, 511, 512, 4096, 65536, most)), size)
        length = self.rng.randrange(1, length + 1)
        offset = self.rng.randrange(size - length + 1)
        if self.rng.random() < 0.5:
            offset &= -512
        return offset, length

    def step(self) -> None:
        action = self.rng.choice(("write",) * 4 + ("read", "zeros", "discard", "flush", "reopen"))
        getattr(self, action)()

    def write(self) -> None:
        offset, length = self.span(200_000)
        data = self.rng.randbytes(length)
        self.disk.write_from(offset, cut(self.rng, data))
        self.content[offset : offset + length] = data

    def read(self) -> None:
        offset, length = self.span(400_000)
        buffer = bytearray(length)
        writable = memoryview(buffer)
        middle = self.rng.randrange(length + 1)
        self.disk.read_into(offset, [writable[:middle], writable[middle:]])
        assert buffer == self.content[offset : offset + length]

    def zeros(self) -> None:
        offset, length = self.span(1 << 20)
        self.disk.write_zeros(offset, length)
        self.content[offset : offset + length] = bytes(length)

    def discard(self) -> None:
        """Discarded bytes read as zeros or as before; the model takes over which."""
        offset, length = self.span(1 << 20)
        self.disk.discard(offset, length)
        now = read(self.disk, offset, length)
        before = self.content[offset : offset + length]
        assert all(new in (0, old) for new, old in zip(now, before, strict=True))
        self.content[offset : offset + length] = now

    def flush(self) -> None:
        self.disk.flush()

    def reopen(self) -> None:
        self.disk.close()
        self.disk = open_image(self.path, allow_backing=True)

    def finish(self) -> None:
        assert read(self.disk, 0, len(self.content)) == self.content
        self.disk.close()
        report = check(self.path)
        assert report.is_clean, report.messages


@pytest.fixture(params=LAYOUTS)
def options(request: pytest.FixtureRequest) -> Iterator[Options]:
    yield LAYOUTS[request.param]


@pytest.mark.parametrize("seed", range(3))
def test_random_operations(
    options: Options, seed: int, tmp_path: Path, qemu_check: Check, qemu_img: Run
) -> None:
    size = (2 << 20) + 512 * seed
    path = tmp_path / "disk.qcow2"
    create(path, size, options=options)
    model = Model(path, bytes(size), seed)
    for _ in range(120):
        model.step()
    model.finish()
    assert_peer_agrees(path, model.content, qemu_check, qemu_img)


@pytest.mark.parametrize("base_format", ["raw", "qcow2"])
def test_random_operations_on_an_overlay(
    options: Options, base_format: str, tmp_path: Path, qemu_check: Check, qemu_img: Run
) -> None:
    size, rng = 2 << 20, random.Random(7)
    content = rng.randbytes(size - 70_001) + bytes(70_001)
    base, path = tmp_path / "base", tmp_path / "disk.qcow2"
    if base_format == "raw":
        base.write_bytes(content[:-70_001])  # shorter than the overlay: zeros follow
    else:
        create(base, size)
        disk = open_image(base)
        disk.write_from(0, [memoryview(content)])
        disk.close()
    before = base.read_bytes()
    create_overlay(base, path, size_bytes=size, options=options)
    model = Model(path, content, 11)
    for _ in range(120):
        model.step()
    model.finish()
    assert base.read_bytes() == before
    assert_peer_agrees(path, model.content, qemu_check, qemu_img)


def assert_peer_agrees(path: Path, content: bytearray, qemu_check: Check, qemu_img: Run) -> None:
    """QEMU finds the image clean and reads the same from it."""
    answer = qemu_check(path)
    assert not answer.get("corruptions") and not answer.get("leaks"), answer
    raw = path.with_suffix(".raw")
    qemu_img("convert", "-O", "raw", path, raw)
    assert raw.read_bytes() == content
