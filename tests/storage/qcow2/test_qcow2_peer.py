"""Images that QEMU's tools made: every feature read, written on, and read back by them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maquina.errors import ImageError
from maquina.storage.disk import Disk
from maquina.storage.formats import open_image
from maquina.storage.info import image_info
from maquina.storage.qcow2.check import check

Run = Callable[..., str]
Check = Callable[[Path], dict[str, Any]]
MB = 1 << 20
SIZE = 4 * MB + 512 * 3
LAYOUTS = [
    "compat=v2",
    "compat=v3",
    "cluster_size=512",
    "cluster_size=2M",
    "cluster_size=4k,refcount_bits=1",
    "cluster_size=1k,refcount_bits=2",
    "refcount_bits=8",
    "cluster_size=8k,refcount_bits=32",
    "refcount_bits=64,lazy_refcounts=on",
    "extended_l2=on",
    "extended_l2=on,cluster_size=16k,compression_type=zstd",
    "extended_l2=on,cluster_size=2M",
    "preallocation=metadata",
    "preallocation=metadata,extended_l2=on",
    "preallocation=full,cluster_size=4k",
]
COMPRESSED = [
    "compat=v2",
    "cluster_size=512",
    "cluster_size=2M",
    "compression_type=zstd",
    "compression_type=zstd,cluster_size=4k",
    "compression_type=zstd,extended_l2=on",
    "compression_type=zstd,cluster_size=2M",
]


def read_all(disk: Disk) -> bytes:
    data = bytearray(disk.size_bytes)
    disk.read_into(0, [memoryview(data)])
    return bytes(data)


def assert_equal(path: Path, content: bytes, qemu_img: Run) -> None:
    raw = path.with_suffix(".compared")
    raw.write_bytes(content)
    assert "identical" in qemu_img("compare", "-f", "qcow2", "-F", "raw", path, raw)


def assert_clean(path: Path, qemu_check: Check) -> None:
    report = check(path)
    assert report.is_clean, report.messages
    answer = qemu_check(path)
    assert not answer.get("corruptions") and not answer.get("leaks"), answer


def write_patterns(disk: Disk, content: bytes, seed: int) -> bytes:
    model, rng = bytearray(content), random.Random(seed)
    for _ in range(60):
        offset, length = rng.randrange(SIZE - 99_000), rng.choice((1, 512, 4096, 99_000))
        if rng.random() < 0.2:
            disk.write_zeros(offset, length)
            model[offset : offset + length] = bytes(length)
        else:
            data = rng.randbytes(length)
            disk.write_from(offset, [memoryview(data)])
            model[offset : offset + length] = data
    assert read_all(disk) == model
    return bytes(model)


@pytest.mark.parametrize("options", LAYOUTS)
def test_patterns_by_qemu_io(
    options: str,
    tmp_path: Path,
    qemu_img: Run,
    qemu_io: Callable[[Path, list[str]], str],
    qemu_check: Check,
) -> None:
    path, rng = tmp_path / "disk.qcow2", random.Random(options)
    qemu_img("create", "-q", "-f", "qcow2", "-o", options, path, SIZE)
    model, lines = bytearray(SIZE), []
    for number in range(1, 40):
        offset, length = rng.randrange(SIZE - 99_328) & -512, rng.choice((512, 4096, 99_328))
        fill = 0 if rng.random() < 0.3 else number
        command = f"write -P {fill}" if fill else rng.choice(("write -z", "write -zu"))
        lines.append(f"{command} {offset} {length}")
        model[offset : offset + length] = bytes([fill]) * length
    qemu_io(path, lines)
    disk = open_image(path)
    assert read_all(disk) == model
    content = write_patterns(disk, bytes(model), 1)
    disk.close()
    assert_equal(path, content, qemu_img)
    assert_clean(path, qemu_check)


@pytest.mark.parametrize("options", COMPRESSED)
def test_compressed_images(options: str, tmp_path: Path, qemu_img: Run, qemu_check: Check) -> None:
    rng, raw, path = random.Random(options), tmp_path / "source", tmp_path / "disk.qcow2"
    blocks = [rng.randbytes(4096), b"text " * 1000, bytes(9000), rng.randbytes(300) * 40]
    content = b"".join(rng.choice(blocks) for _ in range(900))[:SIZE].ljust(SIZE, b"x")
    raw.write_bytes(content)
    qemu_img("convert", "-c", "-f", "raw", "-O", "qcow2", "-o", options, raw, path)
    disk = open_image(path)
    assert read_all(disk) == content
    for _ in range(100):
        offset = rng.randrange(SIZE - 9000)
        piece = bytearray(9000)
        disk.read_into(offset, [memoryview(piece)[:1], memoryview(piece)[1:]])
        assert piece == content[offset : offset + 9000]
    content = write_patterns(disk, content, 2)
    disk.discard(0, SIZE)
    assert read_all(disk) == bytes(SIZE)
    disk.write_from(0, [memoryview(content)])
    disk.close()
    assert_equal(path, content, qemu_img)
    assert_clean(path, qemu_check)


def test_internal_snapshots_stay_what_they_are(
    tmp_path: Path, qemu_img: Run, qemu_check: Check
) -> None:
    path, rng = tmp_path / "disk.qcow2", random.Random(4)
    qemu_img("create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", path, SIZE)
    content, kept = bytes(SIZE), []
    for name in ("first", "second"):
        disk = open_image(path)
        content = write_patterns(disk, content, rng.randrange(99))
        disk.close()
        qemu_img("snapshot", "-c", name, path)
        kept.append((name, content))
    disk = open_image(path)
    content = write_patterns(disk, content, 5)
    disk.discard(MB, MB)
    disk.write_from(MB, [memoryview(content)[MB : 2 * MB]])
    disk.close()
    assert_clean(path, qemu_check)
    assert_equal(path, content, qemu_img)
    for name, then in kept:
        raw = tmp_path / name
        qemu_img("convert", "-l", name, "-O", "raw", path, raw)
        assert raw.read_bytes() == then
    details = image_info(path).qcow2
    assert details is not None
    assert [snapshot.name for snapshot in details.snapshots] == ["first", "second"]
    assert [snapshot.size_bytes for snapshot in details.snapshots] == [SIZE, SIZE]
    qemu_img("snapshot", "-a", "first", path)
    qemu_img("snapshot", "-d", "first", path)
    qemu_img("snapshot", "-d", "second", path)
    disk = open_image(path)
    assert read_all(disk) == kept[0][1]
    disk.close()
    assert_clean(path, qemu_check)


def test_an_image_of_nothing(tmp_path: Path, qemu_img: Run) -> None:
    path = tmp_path / "disk.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", path, 0)
    disk = open_image(path)
    assert disk.size_bytes == 0
    disk.read_into(0, [])
    disk.close()


def test_dirty_bitmaps_are_invalidated_by_writing(tmp_path: Path, qemu_img: Run) -> None:
    path = tmp_path / "disk.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", path, SIZE)
    qemu_img("bitmap", "--add", path, "changes")
    assert check(path).is_clean
    open_image(path, read_only=True).close()
    assert json.loads(qemu_img("info", "--output=json", path))["format-specific"]["data"][
        "bitmaps"
    ]
    disk = open_image(path)
    disk.write_from(0, [memoryview(b"x" * 512)])
    disk.close()
    details = json.loads(qemu_img("info", "--output=json", path))["format-specific"]["data"]
    assert not details.get("bitmaps")
    assert not check(path).errors


@pytest.mark.parametrize("raw", ["on", "off"])
def test_external_data_files(raw: str, tmp_path: Path, qemu_img: Run, qemu_check: Check) -> None:
    path, data = tmp_path / "disk.qcow2", tmp_path / "data"
    options = f"data_file={data.name},data_file_raw={raw}"
    # qemu-img takes the name relative to the current directory when it makes the file
    qemu_img("create", "-q", "-f", "qcow2", "-o", options.replace("data,", f"{data},"), path, SIZE)
    with pytest.raises(ImageError, match="not allowed to open"):
        open_image(path)
    disk = open_image(path, allow_backing=[tmp_path])
    content = write_patterns(disk, bytes(SIZE), 6)
    disk.discard(0, MB)
    content = read_all(disk)
    disk.close()
    assert_equal(path, content, qemu_img)
    assert_clean(path, qemu_check)
    if raw == "on":
        assert data.read_bytes()[:SIZE] == content  # qemu-img made it whole clusters long


def test_an_unclosed_image_is_repaired_before_it_is_written(
    tmp_path: Path,
    qemu_img: Run,
    qemu_io: Callable[[Path, list[str]], str],
    qemu_check: Check,
) -> None:
    path = tmp_path / "disk.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-o", "lazy_refcounts=on,cluster_size=512", path, SIZE)
    with pytest.raises(AssertionError):
        qemu_io(path, ["write -P 7 0 1M", "flush", "write -P 8 1M 1M", "flush", "abort"])
    assert check(path).errors
    reader = open_image(path, read_only=True)
    content = read_all(reader)
    reader.close()
    assert content == b"\7" * MB + b"\x08" * MB + bytes(SIZE - 2 * MB)
    disk = open_image(path)
    content = write_patterns(disk, content, 9)
    disk.close()
    assert_clean(path, qemu_check)
    assert_equal(path, content, qemu_img)
