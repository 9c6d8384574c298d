"""Telling formats, and refusing what an image would have opened beneath it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from maquina.errors import FormatError, ImageError, UsageError
from maquina.machine.backends import BlockBackend
from maquina.storage.disk import Disk
from maquina.storage.formats import MAX_CHAIN, create_overlay, detect, open_image
from maquina.storage.info import image_info
from maquina.storage.magic import MAGICS
from maquina.storage.qcow2.create import Backing, Options, create
from maquina.storage.qcow2.header import BACKING_FORMAT, pack, parse

SIZE = 1 << 20


def read(disk: Disk, offset: int, length: int) -> bytes:
    data = bytearray(length)
    disk.read_into(offset, [memoryview(data)])
    return bytes(data)


def fill(path: Path, letter: bytes, at: int = 0) -> None:
    disk = open_image(path, allow_backing=True)
    disk.write_from(at, [memoryview(letter * 4096)])
    disk.close()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.qcow2"
    create(path, SIZE)
    fill(path, b"b")
    return path


def test_an_image_is_what_a_block_device_needs(base: Path) -> None:
    backend: BlockBackend = open_image(base)  # mypy compares the two protocols
    data = bytearray(8192)
    backend.read_into(2048, [memoryview(data)[:100], memoryview(data)[100:]])
    backend.flush()
    backend.close()
    backend.close()
    assert data == b"b" * 2048 + bytes(6144)


def test_detection(tmp_path: Path, base: Path) -> None:
    assert detect(base) == "qcow2"
    raw = tmp_path / "raw"
    raw.write_bytes(b"")
    assert detect(raw) == "raw"
    disk = open_image(raw)
    assert (disk.format, disk.size_bytes) == ("raw", 0)
    disk.close()
    for offset, magic, name in MAGICS[1:]:
        raw.write_bytes(bytes(offset) + magic + bytes(900))
        with pytest.raises(ImageError, match=rf"is a {name} image; convert it"):
            open_image(raw)
        open_image(raw, image_format="raw").close()
    with pytest.raises(UsageError, match="use raw or qcow2"):
        open_image(raw, image_format="vmdk")
    with pytest.raises(UsageError, match="use raw or qcow2"):
        create_overlay(raw, tmp_path / "overlay", base_format="vmdk")
    with pytest.raises(FormatError, match="no qcow2 image"):
        open_image(raw, image_format="qcow2")


def test_a_qcow2_image_is_raw_when_declared_so(base: Path) -> None:
    disk = open_image(base, image_format="raw", read_only=True)
    assert read(disk, 0, 4) == b"QFI\xfb"
    disk.close()


def test_overlays_of_overlays(tmp_path: Path, base: Path, qemu_img: Callable[..., str]) -> None:
    middle, top = tmp_path / "middle.qcow2", tmp_path / "deep" / "top.qcow2"
    create_overlay(base, middle)
    top.parent.mkdir()
    fill(middle, b"m", 8192)
    with pytest.raises(ImageError, match="say that its format is qcow2 if you made it"):
        create_overlay(middle, top)
    create_overlay(middle, top, base_format="qcow2", size_bytes=2 * SIZE)
    fill(top, b"t", SIZE - 2048)
    disk = open_image(top, allow_backing=True)
    expected = b"b" * 4096 + bytes(4096) + b"m" * 4096
    expected = expected.ljust(SIZE - 2048, b"\0") + b"t" * 4096
    assert read(disk, 0, 2 * SIZE) == expected.ljust(2 * SIZE, b"\0")
    disk.close()
    details = image_info(middle).qcow2
    assert details is not None
    assert (details.backing_name, details.backing_format) == ("base.qcow2", "qcow2")
    qemu_img("convert", "-O", "raw", top, tmp_path / "flat")
    assert (tmp_path / "flat").read_bytes() == expected.ljust(2 * SIZE, b"\0")


def test_backing_files_are_refused_unless_allowed(tmp_path: Path, base: Path) -> None:
    overlay = tmp_path / "overlay.qcow2"
    create_overlay(base, overlay)
    with pytest.raises(ImageError, match="not allowed to open; allow backing files if you trust"):
        open_image(overlay)
    with pytest.raises(ImageError, match="not allowed"):
        open_image(overlay, read_only=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with pytest.raises(ImageError, match="outside the directories allowed"):
        open_image(overlay, allow_backing=[elsewhere])
    open_image(overlay, allow_backing=[elsewhere, tmp_path]).close()
    open_image(overlay, allow_backing=True).close()


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../secret", "link", "sub/../../secret", "/proc/self/mem"]
)
def test_hostile_backing_names(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("a key")
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "link").symlink_to(tmp_path / "secret")
    create(allowed / "evil", SIZE, backing=Backing(name, "raw"))
    with pytest.raises(ImageError, match="not allowed"):
        open_image(allowed / "evil")
    with pytest.raises(ImageError, match="outside the directories allowed"):
        open_image(allowed / "evil", allow_backing=[allowed])


@pytest.mark.parametrize("name", ["json:{}", "nbd:localhost:10809", "nbd://host/x", "fat:rw:/etc"])
def test_protocols_are_refused(tmp_path: Path, name: str) -> None:
    create(tmp_path / "evil", SIZE, backing=Backing(name, "raw"))
    with pytest.raises(ImageError, match="not a file"):
        open_image(tmp_path / "evil", allow_backing=True)


def test_other_kinds_of_backing_files(tmp_path: Path, base: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name, kind, match in (
        ("missing", "raw", "there is no disk image"),
        ("fifo", "raw", "neither a file nor"),
        ("base.qcow2", "vmdk", "lies on a vmdk image"),
        ("evil", "qcow2", "in use|lies on itself"),
    ):
        create(tmp_path / "evil", SIZE, backing=Backing(name, kind))
        for read_only in (True, False):
            with pytest.raises(ImageError, match=match):
                open_image(tmp_path / "evil", allow_backing=True, read_only=read_only)
        (tmp_path / "evil").unlink()


def test_loops_and_deep_chains_end(tmp_path: Path, base: Path) -> None:
    create(tmp_path / "a", SIZE, backing=Backing("b", "qcow2"))
    create(tmp_path / "b", SIZE, backing=Backing("a", "qcow2"))
    with pytest.raises(ImageError, match="lies on itself"):
        open_image(tmp_path / "a", allow_backing=True, read_only=True)
    below = base
    for depth in range(MAX_CHAIN - 1):
        create(tmp_path / f"o{depth}", SIZE, backing=Backing(below.name, "qcow2"))
        below = tmp_path / f"o{depth}"
    disk = open_image(below, allow_backing=True)
    assert read(disk, 0, 2) == b"bb"
    disk.close()
    create(tmp_path / "one-more", SIZE, backing=Backing(below.name, "qcow2"))
    with pytest.raises(ImageError, match="merge some"):
        open_image(tmp_path / "one-more", allow_backing=True)


def test_a_probed_backing_file_names_no_further_files(tmp_path: Path, base: Path) -> None:
    """A guest wrote a qcow2 header into its raw disk; then an overlay is laid on that disk."""
    create(tmp_path / "disk", SIZE, backing=Backing("base.qcow2", "qcow2"))
    overlay = tmp_path / "overlay"
    create(overlay, SIZE, backing=Backing("disk", "qcow2"))
    open_image(overlay, allow_backing=True).close()
    header = parse(overlay.read_bytes())
    extensions = {kind: data for kind, data in header.extensions.items() if kind != BACKING_FORMAT}
    with overlay.open("r+b") as file:
        file.write(pack(replace(header, extensions=extensions)).ljust(4096, b"\0"))
    with pytest.raises(ImageError, match=r"not allowed to open.*state their format"):
        open_image(overlay, allow_backing=True)


def test_nothing_stays_open_or_locked_after_a_refusal(tmp_path: Path, base: Path) -> None:
    overlay = tmp_path / "overlay"
    create_overlay(base, overlay, options=Options(extended_l2=True))
    before = len(list(Path("/proc/self/fd").iterdir()))
    with base.open("r+b") as file:
        file.seek(20)
        file.write(b"\xff\xff\xff\xff")
    with pytest.raises(FormatError) as raised:
        open_image(overlay, allow_backing=True)
    assert raised.value.message.startswith(f"{overlay}: {base}: qcow2 image: ")
    assert any("backing file of" in note for note in raised.value.__notes__)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
