"""Damaged and hostile images."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from maquina.errors import ImageError
from maquina.storage.disk import Disk
from maquina.storage.formats import create_overlay, open_image
from maquina.storage.info import image_info
from maquina.storage.qcow2.check import Repair, check
from maquina.storage.qcow2.create import Options, create
from maquina.storage.raw import create_raw

Run = Callable[..., str]
SIZE = 256 << 10
TRIALS = 120
INTERESTING = (0, 1, 2, 9, 0x7F, 0x80, 0xC0, 0xFF)


def seed_image(kind: str, tmp_path: Path, qemu_img: Run) -> Path:
    """An image with something of everything in its tables."""
    path, raw = tmp_path / "seed.qcow2", tmp_path / "raw"
    rng = random.Random(kind)
    if kind.startswith("compressed"):
        raw.write_bytes(b"".join(bytes([n % 7]) * 3000 for n in range(SIZE // 3000)))
        method = kind.partition("-")[2]
        options = f"cluster_size=4k,compression_type={method}"
        qemu_img("convert", "-c", "-O", "qcow2", "-o", options, raw, path)
        return path
    if kind == "overlay":
        create_raw(raw, SIZE)
        create_overlay(raw, path, options=Options(cluster_size=16384, extended_l2=True))
    else:
        create(path, SIZE, options=Options(cluster_size=512, refcount_bits=8))
    disk = open_image(path, allow_backing=True)
    for _ in range(30):
        length = rng.randrange(1, 20_000)
        disk.write_from(rng.randrange(SIZE - length), [memoryview(rng.randbytes(length))])
    disk.write_zeros(1000, 50_000)
    disk.close()
    if kind == "snapshot":
        qemu_img("snapshot", "-c", "s", path)
    return path


def damage(rng: random.Random, seed: bytes) -> bytes:
    """Change a few bytes, mostly in the header and in tables (where bytes are few but zero)."""
    image = bytearray(seed)
    for _ in range(rng.choice((1, 1, 2, 4))):
        where = rng.random()
        if where < 0.4:
            at = rng.randrange(4, 160)
        else:
            at = rng.randrange(len(image) >> 3) << 3 | rng.choice((0, 1, 5, 6, 7))
            while where < 0.95 and image[at & -8] not in (0, 0x40, 0x80):
                at = rng.randrange(len(image) >> 3) << 3 | rng.choice((0, 1, 5, 6, 7))
        image[at] = rng.choice((rng.choice(INTERESTING), rng.randrange(256)))
    if rng.random() < 0.1:
        del image[rng.randrange(len(image)) :]
    return bytes(image)


def use(disk: Disk, rng: random.Random) -> None:
    """What a guest does: each call works or is an OSError."""
    size = disk.size_bytes
    for _ in range(25):
        length = rng.randrange(1, min(size, 60_000) + 1) if size else 0
        offset = rng.randrange(min(size - length, 2 * SIZE) + 1)
        action = rng.choice(("read", "write", "zeros", "discard", "flush"))
        try:
            if action == "read":
                disk.read_into(offset, [memoryview(bytearray(length))])
            elif action == "write":
                disk.write_from(offset, [memoryview(bytes([7]) * length)])
            elif action == "zeros":
                disk.write_zeros(offset, length)
            elif action == "discard":
                disk.discard(offset, length)
            else:
                disk.flush()
        except OSError:
            continue


@pytest.mark.parametrize(
    "kind", ["plain", "overlay", "snapshot", "compressed-zlib", "compressed-zstd"]
)
def test_damaged_images(kind: str, tmp_path: Path, qemu_img: Run) -> None:
    """Invariant: opening gives an image or an ImageError, I/O works or is an OSError, soon.

    And no guest write changes the header.
    """
    seed = seed_image(kind, tmp_path, qemu_img).read_bytes()
    path = tmp_path / "damaged.qcow2"
    opened = 0
    for trial in range(TRIALS):
        rng = random.Random(f"{kind} {trial}")
        path.write_bytes(damage(rng, seed))
        started = time.monotonic()
        with suppress(ImageError):
            image_info(path)
        with suppress(ImageError):
            check(path)
        for read_only in (True, False):
            with suppress(ImageError):
                disk = open_image(path, read_only=read_only, allow_backing=[tmp_path])
                opened += 1
                name = path.read_bytes()[8:20]
                use(disk, rng)
                with suppress(OSError):
                    disk.close()
                assert path.read_bytes()[8:20] == name, trial
        with suppress(ImageError):
            check(path, repair=Repair.ALL)
        assert time.monotonic() - started < 10, f"{kind} {trial}"
    assert opened > TRIALS // 2
