"""Kernel and firmware files of every kind, whole and broken."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from maquina.boards.loading import read_firmware, read_initrd, read_kernel
from maquina.errors import FormatError, ImageError

BASE = 0x8000_0000
TEXT_OFFSET = 0x20_0000


def image(body_bytes: int = 0x400, *, machine: int = 0x5064, image_bytes: int = 0x1000) -> bytes:
    """A Linux Image: code0, code1, text offset, size, flags, version, magics, EFI stub."""
    head = struct.pack(
        "<4s4xQQQI12x8s4sI", b"MZ", TEXT_OFFSET, image_bytes, 0, 2, b"", b"RSC\x05", 64
    )
    stub = struct.pack("<4sHHIIIHH", b"PE\0\0", machine, 1, 0, 0, 0, 0, 0)
    section = struct.pack("<8sIIII16x", b".text", body_bytes, 0, body_bytes, 0x100)
    return (head + stub + section).ljust(0x100, b"\0") + b"\x13\0\0\0" * (body_bytes // 4)


def elf(segments: list[tuple[int, int, bytes, int]], entry: int, machine: int = 243) -> bytes:
    """A 64-bit ELF file from (virtual, physical, data, size in memory)."""
    table = b""
    body = b""
    start = 64 + 56 * len(segments)
    for virtual, physical, data, size in segments:
        row = (1, 7, start + len(body), virtual, physical, len(data), size, 16)
        table += struct.pack("<IIQQQQQQ", *row)
        body += data
    identity = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    counts = (64, 56, len(segments), 0, 0, 0)
    head = struct.pack("<16sHHIQQQIHHHHHH", identity, 2, machine, 1, entry, 64, 0, 0, *counts)
    return head + table + body


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file"


def zboot(payload: bytes) -> bytes:
    head = struct.pack("<2s2x4sII8s", b"MZ", b"zimg", 64, len(payload), b"").ljust(64, b"\0")
    return head + payload


PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "zstd": zstandard.compress,
    "zboot": lambda data: zboot(gzip.compress(data, mtime=0)),
}


@pytest.mark.parametrize("packing", PACKINGS)
def test_linux_image(file: Path, packing: str) -> None:
    file.write_bytes(PACKINGS[packing](image()))
    program = read_kernel(file, BASE)
    (segment,) = program.segments
    assert program.entry == segment.address == BASE + TEXT_OFFSET
    assert segment.data == image()
    assert program.end == BASE + TEXT_OFFSET + 0x1000


def test_elf_goes_to_physical_addresses(file: Path) -> None:
    file.write_bytes(
        elf([(0xFFFF_0000, BASE, b"code", 4), (0xFFFF_1000, BASE + 0x1000, b"d", 64)], 0xFFFF_0002)
    )
    program = read_kernel(file, BASE)
    assert program.entry == BASE + 2
    assert [(s.address, bytes(s.data), s.size) for s in program.segments] == [
        (BASE, b"code", 4),
        (BASE + 0x1000, b"d", 64),
    ]


def test_raw_firmware(file: Path) -> None:
    file.write_bytes(b"\x13\0\0\0")
    assert read_firmware(file, BASE).entry == BASE


def test_raw_program_behind_a_firmware(file: Path) -> None:
    file.write_bytes(b"\x13\0\0\0")
    assert read_kernel(file, BASE, may_be_raw=True).entry == BASE + 0x20_0000
    file.write_bytes(image())
    assert read_kernel(file, BASE, may_be_raw=True).segments[0].size == 0x1000
    file.write_bytes(b"\0" * 0x202 + b"HdrS" + b"\0" * 64)
    with pytest.raises(ImageError, match="x86"):
        read_kernel(file, BASE, may_be_raw=True)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "truncated"),
        (image()[:0x300], "truncated"),
        (image()[:0x80], "truncated"),
        (gzip.compress(image(), mtime=0)[:-9], "truncated"),
        (zstandard.compress(image())[:-3], "truncated"),
        (zboot(gzip.compress(image(), mtime=0))[:-50], "truncated"),
        (image(machine=0x8664), "another processor"),
        (image(image_bytes=0), "truncated"),
        (image(image_bytes=1 << 40), "claims"),
        (b"\0" * 0x38 + b"ARM\x64" + b"\0" * 64, "64-bit ARM"),
        (b"\0" * 0x202 + b"HdrS" + b"\0" * 64, "x86"),
        (elf([(0, BASE, b"x", 1)], 0, machine=62), "x86-64"),
        (elf([(0, BASE, b"xyz", 3)], 0)[:-1], "truncated"),
        (elf([(0, BASE, b"xyz", 2)], 0), "truncated"),
        (elf([], 0), "nothing to load"),
        (b"#!/bin/sh\n" + b"\0" * 100, "no kernel"),
        (gzip.compress(b"", mtime=0)[:10] + b"\xff" * 50, "damaged"),
    ],
)
def test_broken_kernels_say_what_to_do(file: Path, data: bytes, words: str) -> None:
    file.write_bytes(data)
    with pytest.raises(ImageError, match=words) as caught:
        read_kernel(file, BASE)
    assert caught.value.remedy
    assert str(file) in caught.value.message


def test_missing_file(file: Path) -> None:
    with pytest.raises(ImageError, match="No such file"):
        read_kernel(file, BASE)


@settings(derandomize=True, max_examples=300)
@given(st.data())
def test_damaged_kernels(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Invariant: any file gives a bounded program or an ImageError, nothing else."""
    whole = data.draw(
        st.sampled_from(
            [image(64), elf([(0, BASE, b"xyz", 9)], 0), zboot(gzip.compress(image(64), mtime=0))]
        )
    )
    blob = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "fuzzed"
    path.write_bytes(blob)
    try:
        program = read_kernel(path, BASE)
    except ImageError as error:
        assert error.remedy
    else:
        assert all(len(segment.data) <= segment.size <= 1 << 29 for segment in program.segments)


def test_firmware_for_other_processors(file: Path) -> None:
    file.write_bytes(b"MZ".ljust(0x38, b"\0") + b"ARM\x64".ljust(0x400, b"\0"))
    with pytest.raises(FormatError, match="is a 64-bit ARM kernel"):
        read_firmware(file, BASE)


def test_big_endian_programs(file: Path) -> None:
    file.write_bytes(b"\x7fELF\x02\x02\x01".ljust(64, b"\0"))
    with pytest.raises(FormatError, match="for a 32-bit or big-endian processor"):
        read_kernel(file, BASE)


def test_initrd(file: Path) -> None:
    file.write_bytes(b"070701")
    assert bytes(read_initrd(file)) == b"070701"
    file.write_bytes(b"")
    with pytest.raises(FormatError, match="file is empty; get it again"):
        read_initrd(file)
