"""Checking and mending images, compared with qemu-img check."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maquina.errors import FormatError, ImageError
from maquina.storage.formats import open_image
from maquina.storage.qcow2.check import Repair, Report, check
from maquina.storage.qcow2.create import Options, create
from maquina.storage.qcow2.header import FIELD_INCOMPATIBLE, Header, parse

Check = Callable[[Path], dict[str, Any]]
SIZE = 1 << 20
CONTENT = random.Random(1).randbytes(SIZE // 2)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "disk.qcow2"
    create(path, SIZE, options=Options(cluster_size=4096))
    disk = open_image(path)
    disk.write_from(0, [memoryview(CONTENT)])
    disk.close()
    return path


def header_of(path: Path) -> Header:
    return parse(path.read_bytes())


def word_at(path: Path, offset: int) -> int:
    (word,) = struct.unpack_from(">Q", path.read_bytes(), offset)
    return int(word)


def put(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def l2_offset(path: Path) -> int:
    return word_at(path, header_of(path).l1_offset) & 0x00FF_FFFF_FFFF_FE00


def count_offset(path: Path, cluster: int) -> int:
    """Where the 16-bit refcount of a cluster is (all in the first block)."""
    return word_at(path, header_of(path).refcount_table_offset) + 2 * cluster


def assert_agrees(report: Report, answer: dict[str, Any]) -> None:
    assert bool(report.errors) == bool(answer.get("corruptions")), (report, answer)
    assert report.leaks == answer.get("leaks", 0), (report, answer)


def test_a_leak_is_found_and_mended(path: Path, qemu_check: Check) -> None:
    last = path.stat().st_size // 4096 - 1
    put(path, count_offset(path, last), b"\0\2")
    put(path, count_offset(path, last + 40), b"\0\1")  # past the end of the file
    report = check(path)
    assert (report.leaks, report.errors) == (2, 1)  # the flag of what is counted twice
    put(path, count_offset(path, last), b"\0\1")
    assert check(path).leaks == 1
    assert check(path, repair=Repair.LEAKS).repaired == 1
    assert check(path).is_clean
    assert_agrees(check(path), qemu_check(path))


def test_a_count_that_is_too_low_is_an_error(path: Path, qemu_check: Check) -> None:
    used = word_at(path, l2_offset(path) + 80) & 0x00FF_FFFF_FFFF_FE00
    put(path, count_offset(path, used >> 12), b"\0\0")
    report = check(path)
    assert report.errors == 2
    assert_agrees(report, qemu_check(path))
    assert check(path, repair=Repair.LEAKS).errors == 2
    mended = check(path, repair=Repair.ALL)
    assert mended.is_clean
    assert mended.repaired == 1
    assert_agrees(check(path), qemu_check(path))
    disk = open_image(path)
    found = bytearray(SIZE)
    disk.read_into(0, [memoryview(found)])
    disk.close()
    assert found == CONTENT + bytes(SIZE // 2)


def test_a_wrong_flag_is_an_error(path: Path, qemu_check: Check) -> None:
    at = l2_offset(path) + 80
    put(path, at, struct.pack(">Q", word_at(path, at) & ~(1 << 63)))
    report = check(path)
    assert report.errors == 1
    assert_agrees(report, qemu_check(path))
    assert check(path, repair=Repair.ALL).is_clean
    assert word_at(path, at) >> 63 == 1


def test_two_owners_of_a_cluster(path: Path, qemu_check: Check) -> None:
    at = l2_offset(path)
    put(path, at, struct.pack(">Q", word_at(path, at + 8)))
    report = check(path)
    assert report.errors
    assert report.leaks == 1
    assert_agrees(report, qemu_check(path))
    # Counting it twice makes it shared, and the next write copies it.
    assert check(path, repair=Repair.ALL).is_clean
    disk = open_image(path)
    disk.write_from(0, [memoryview(CONTENT)[:4096]])
    found = bytearray(8192)
    disk.read_into(0, [memoryview(found)])
    disk.close()
    assert found == CONTENT[:8192]
    # What was shared is one's own again, which its flag does not say yet: harmless.
    assert check(path).errors == 1
    assert check(path, repair=Repair.ALL).is_clean


@pytest.mark.parametrize("target", ["header", "l1", "refcounts", "l2", "outside"])
def test_data_in_the_tables_is_told_and_never_written(
    path: Path, target: str, qemu_check: Check
) -> None:
    header = header_of(path)
    places = {
        "header": 0,
        "l1": header.l1_offset,
        "refcounts": header.refcount_table_offset,
        "l2": l2_offset(path),
        "outside": 1 << 40,
    }
    put(path, l2_offset(path), struct.pack(">Q", places[target] | 1 << 63))
    report = check(path)
    if target != "header":  # offset 0 means unallocated
        assert report.errors
        assert any("tables" in text or "outside" in text for text in report.messages)
        assert qemu_check(path).get("corruptions") or qemu_check(path).get("check-errors")
    assert check(path, repair=Repair.ALL).errors == report.errors  # not mendable, not touched
    before = path.read_bytes()
    disk = open_image(path)
    if target in ("l1", "refcounts"):
        with pytest.raises(OSError, match="damaged"):
            disk.write_from(0, [memoryview(b"guest" * 100)])
    disk.close()
    assert path.read_bytes()[:4096] == before[:4096]


def test_marked_corrupt(path: Path) -> None:
    put(path, FIELD_INCOMPATIBLE, struct.pack(">Q", 2))
    with pytest.raises(ImageError, match="marked corrupt; open it read-only"):
        open_image(path)
    open_image(path, read_only=True).close()
    assert check(path, repair=Repair.ALL).is_clean
    open_image(path).close()


def test_unclosed_with_missing_refcount_blocks(tmp_path: Path, qemu_check: Check) -> None:
    path = tmp_path / "disk.qcow2"
    create(path, SIZE, options=Options(cluster_size=512))  # a block counts 256 clusters
    disk = open_image(path)
    disk.write_from(0, [memoryview(CONTENT)])
    disk.close()
    header = header_of(path)
    for block in (2, 3):
        put(path, header.refcount_table_offset + 8 * block, bytes(8))
    put(path, FIELD_INCOMPATIBLE, struct.pack(">Q", 1))
    assert check(path).errors > 200
    disk = open_image(path)
    disk.write_from(SIZE // 2, [memoryview(CONTENT)])
    found = bytearray(SIZE)
    disk.read_into(0, [memoryview(found)])
    disk.close()
    assert found == CONTENT * 2
    assert check(path).is_clean
    assert_agrees(check(path), qemu_check(path))


def test_an_unclosed_image_that_is_damaged_is_refused(path: Path) -> None:
    put(path, FIELD_INCOMPATIBLE, struct.pack(">Q", 1))
    put(path, l2_offset(path), struct.pack(">Q", 1 << 63 | header_of(path).l1_offset))
    with pytest.raises(ImageError, match="not closed properly, and is damaged"):
        open_image(path)
    open_image(path, read_only=True).close()


def test_what_cannot_be_checked(path: Path, tmp_path: Path) -> None:
    disk = open_image(path)
    with pytest.raises(ImageError, match="in use"):
        check(path)
    disk.close()
    huge = tmp_path / "huge.qcow2"
    create(huge, SIZE, options=Options(cluster_size=512))
    with huge.open("r+b") as file:
        file.truncate(1 << 43)
    with pytest.raises(ImageError, match="too large to be checked"):
        check(huge)
    (tmp_path / "text").write_text("no image")
    with pytest.raises(FormatError, match="no qcow2 image"):
        check(tmp_path / "text")
