"""Raw images: contents, holes, bounds, the guard of guessed formats."""

from __future__ import annotations

import errno
import os
from itertools import pairwise
from pathlib import Path

import pytest

from maquina.errors import HostError, ImageError
from maquina.storage.formats import open_image
from maquina.storage.raw import RawImage, create_raw

SIZE = 1 << 20


def read(disk: RawImage, offset: int, length: int) -> bytes:
    data = bytearray(length)
    disk.read_into(offset, [memoryview(data)])
    return bytes(data)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "disk.raw"
    create_raw(path, SIZE)
    return path


def test_writes_scatter_lists_and_reads_them_back(path: Path) -> None:
    disk = RawImage.open(path)
    pieces = [memoryview(bytes([n]) * (n + 1)) for n in range(200)] * 12  # more than IOV_MAX
    whole = b"".join(pieces)
    disk.write_from(4096, pieces)
    disk.flush()
    buffer = bytearray(len(whole))
    view = memoryview(buffer)
    disk.read_into(4096, [view[at : at + 7] for at in range(0, len(whole), 7)])
    disk.close()
    assert buffer == whole
    assert path.read_bytes()[4096 : 4096 + len(whole)] == whole


def test_discard_punches_holes(path: Path) -> None:
    disk = RawImage.open(path)
    disk.write_from(0, [memoryview(b"\xff" * SIZE)])
    disk.flush()
    full = path.stat().st_blocks
    disk.discard(0, SIZE // 2)
    disk.write_zeros(SIZE // 2, 1000)
    assert read(disk, 0, SIZE // 2 + 1001) == bytes(SIZE // 2 + 1000) + b"\xff"
    disk.close()
    assert path.stat().st_blocks < full
    assert path.stat().st_size == SIZE


def test_zeros_are_written_where_holes_cannot_be(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = RawImage.open(path)
    monkeypatch.setattr("maquina.storage.hostfile.HostFile.punch", lambda *_: False)
    disk.write_from(0, [memoryview(b"\xff" * SIZE)])
    disk.write_zeros(1, SIZE - 2)
    assert read(disk, 0, SIZE) == b"\xff" + bytes(SIZE - 2) + b"\xff"
    disk.close()


@pytest.mark.parametrize(("offset", "length"), [(SIZE, 1), (-1, 1), (0, SIZE + 1), (0, -1)])
def test_outside_the_disk_is_an_io_error(path: Path, offset: int, length: int) -> None:
    disk = RawImage.open(path)
    with pytest.raises(OSError, match="outside the disk"):
        disk.discard(offset, length)
    with pytest.raises(OSError, match="outside the disk"):
        disk.write_from(SIZE - 1, [memoryview(b"12")])
    disk.close()
    assert path.stat().st_size == SIZE


def test_a_read_only_disk_is_not_written(path: Path) -> None:
    disk = RawImage.open(path, read_only=True)
    with pytest.raises(OSError, match="read-only") as raised:
        disk.write_from(0, [memoryview(b"x")])
    assert raised.value.errno == errno.EROFS
    disk.flush()
    disk.close()


@pytest.mark.parametrize("cuts", [[4], [1, 2], [0, 3]])
def test_a_guessed_raw_disk_cannot_be_turned_into_another_format(
    path: Path, cuts: list[int]
) -> None:
    header = b"QFI\xfb\0\0\0\3" + bytes(504)
    edges = [0, *cuts, len(header)]
    pieces = [memoryview(header)[a:b] for a, b in pairwise(edges)]
    guessed = open_image(path)
    with pytest.raises(OSError, match="refused to turn"):
        guessed.write_from(0, pieces)
    guessed.write_from(0, [memoryview(b"QFI")])
    with pytest.raises(OSError, match="refused to turn"):
        guessed.write_from(3, [memoryview(b"\xfb")])
    guessed.write_from(0, [memoryview(b"\xeb\x63\x90" + bytes(600))])
    guessed.close()
    declared = open_image(path, image_format="raw")
    declared.write_from(0, pieces)
    declared.close()


def test_paths_that_are_no_disks(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="there is no disk image"):
        RawImage.open(tmp_path / "missing")
    with pytest.raises((ImageError, HostError), match="directory"):
        RawImage.open(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ImageError, match="neither a file nor a block device"):
        RawImage.open(tmp_path / "fifo")
    with pytest.raises(ImageError, match="already there"):
        create_raw(tmp_path / "fifo", SIZE)


def test_a_lost_flush_stays_lost(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = RawImage.open(path)

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "the disk is dying")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        with pytest.raises(OSError, match="dying"):
            disk.flush()
    with pytest.raises(OSError, match="writes were lost"):
        disk.flush()
    disk.close()
