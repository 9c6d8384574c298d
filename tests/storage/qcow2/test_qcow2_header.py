"""Headers: what is refused, and that what is written is read back."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from maquina.errors import FormatError, ImageError, UsageError
from maquina.storage.info import image_info
from maquina.storage.qcow2.create import Backing, Options, create
from maquina.storage.qcow2.header import BACKING_FORMAT, Header, pack, parse

GOOD = Header(
    version=3,
    cluster_bits=16,
    size_bytes=1 << 30,
    l1_size=2,
    l1_offset=0x30000,
    refcount_table_offset=0x10000,
    refcount_table_clusters=1,
    backing_name="base",
    extensions={BACKING_FORMAT: b"raw", 0x12345678: b"unknown"},
)


def patched(offset: int, form: str, *values: int | bytes) -> bytes:
    data = bytearray(pack(GOOD).ljust(65536, b"\0"))
    struct.pack_into(">" + form, data, offset, *values)
    return bytes(data)


def test_round_trip() -> None:
    for header in (
        GOOD,
        replace(GOOD, version=2, backing_name=None, extensions={}),
        replace(GOOD, incompatible=8 | 16, compression_type=1, refcount_order=0, l1_size=9),
        replace(GOOD, size_bytes=0, snapshot_count=3, snapshots_offset=0x50000, autoclear=4),
    ):
        assert parse(pack(header).ljust(65536, b"\0")) == header


@pytest.mark.parametrize(
    ("offset", "form", "value", "message"),
    [
        (0, "4s", b"QFI\0", "no qcow2 image"),
        (4, "I", 1, "version 1 is unknown; convert"),
        (4, "I", 4, "version 4 is unknown"),
        (8, "Q", 100, "outside the header"),
        (8, "Q", 1 << 63, "outside the header"),
        (16, "I", 1024, "outside the header"),
        (16, "I", 0, "empty"),
        (20, "I", 8, "clusters of"),
        (20, "I", 22, "clusters of"),
        (20, "I", 0xFFFFFFFF, "clusters of"),
        (24, "Q", 1 << 62, "a disk of"),
        (24, "Q", 1 << 55, "L1 table"),
        (32, "I", 1, "encrypted; decrypt"),
        (32, "I", 2, "encrypted; decrypt"),
        (36, "I", 1, "L1 table is too small"),
        (36, "I", 0xFFFFFFFF, "L1 table"),
        (40, "Q", 0x30200, "l1_offset"),
        (40, "Q", 1 << 63, "l1_offset"),
        (48, "Q", 0x10001, "refcount_table_offset"),
        (56, "I", 0, "refcount table"),
        (56, "I", 129, "refcount table"),
        (60, "I", 65537, "snapshots"),
        (64, "Q", 3, "snapshots_offset"),
        (72, "Q", 32, r"unknown features \(0x20\)"),
        (72, "Q", 8, "contradicts"),
        (96, "I", 7, "refcounts of"),
        (100, "I", 96, "a header of 96 bytes"),
        (100, "I", 106, "a header of 106 bytes"),
        (100, "I", 1 << 20, "a header of"),
        (104, "B", 1, "contradicts"),
        (104, "B", 2, "compression 2 is unknown"),
        (116, "I", 1 << 30, "longer than the header"),
    ],
)
def test_refused(offset: int, form: str, value: int | bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message) as raised:
        parse(patched(offset, form, value))
    assert raised.value.remedy


@pytest.mark.parametrize("length", [0, 3, 71, 72, 100])
def test_cut_off(length: int) -> None:
    with pytest.raises(FormatError):
        parse(pack(GOOD)[:length])


@pytest.mark.parametrize(
    "options",
    [
        Options(cluster_size=1000),
        Options(cluster_size=256),
        Options(cluster_size=4 << 20),
        Options(cluster_size=8192, extended_l2=True),
        Options(refcount_bits=3),
        Options(version=1),
        Options(version=2, extended_l2=True),
        Options(compression="lzma"),
    ],
)
def test_options_that_cannot_be(options: Options, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        create(tmp_path / "disk", 1 << 20, options=options)
    assert not (tmp_path / "disk").exists()


def test_creating(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    create(path, 1000, options=Options(version=2))
    with pytest.raises(ImageError, match="already there"):
        create(path, 1000)
    info = image_info(path)
    assert (info.format, info.size_bytes) == ("qcow2", 1024)
    assert info.qcow2 is not None
    assert (info.qcow2.version, info.qcow2.cluster_size) == (2, 65536)
    with pytest.raises(FormatError, match="does not fit"):
        create(tmp_path / "x", 1000, backing=Backing("x" * 1024, "raw"))
    with pytest.raises(UsageError, match="larger clusters"):
        create(tmp_path / "x", 1 << 60, options=Options(cluster_size=512))
    create(tmp_path / "large", 1 << 50, options=Options(cluster_size=2 << 20))
    raw = tmp_path / "raw"
    raw.write_bytes(bytes(700))
    assert image_info(raw).qcow2 is None
