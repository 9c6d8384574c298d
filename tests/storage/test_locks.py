"""Who excludes whom from an image: ours, and QEMU's tools."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from maquina.errors import ImageError
from maquina.storage import locks
from maquina.storage.formats import create_overlay, open_image
from maquina.storage.qcow2.create import create

HOLD = """
import sys
from pathlib import Path
from maquina.storage.formats import open_image
disk = open_image(Path(sys.argv[1]), read_only=sys.argv[2] == "reader")
print("held", flush=True)
sys.stdin.read()
disk.close()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "disk.qcow2"
    create(path, 1 << 20)
    return path


def test_one_writer_or_many_readers(path: Path) -> None:
    readers = [open_image(path, read_only=True) for _ in range(2)]
    with pytest.raises(ImageError, match="in use"):
        open_image(path)
    for reader in readers:
        reader.close()
    writer = open_image(path)
    for read_only in (False, True):
        with pytest.raises(ImageError, match="give each machine an overlay"):
            open_image(path, read_only=read_only)
    writer.close()
    open_image(path).close()


def test_without_open_file_description_locks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "F_OFD_SETLK", 9999)  # EINVAL, as hosts without them answer
    writer = open_image(path)
    with pytest.raises(ImageError, match="in use"):
        open_image(path, read_only=True)
    writer.close()
    assert locks.FLOCK.size == 32


@pytest.mark.parametrize(("role", "excluded"), [("writer", False), ("writer", True)])
def test_another_process(path: Path, role: str, excluded: bool) -> None:
    command = [sys.executable, "-c", HOLD, str(path), role]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ImageError, match="in use"):
            open_image(path, read_only=excluded)
        other.kill()
    open_image(path).close()  # a killed process holds nothing


def test_a_base_in_use_by_overlays_is_not_written(path: Path, tmp_path: Path) -> None:
    overlays = [tmp_path / f"overlay{n}" for n in range(2)]
    for overlay in overlays:
        create_overlay(path, overlay)
    disks = [open_image(overlay, allow_backing=True) for overlay in overlays]
    with pytest.raises(ImageError, match="in use"):
        open_image(path)
    for disk in disks:
        disk.close()


def test_qemu_respects_our_locks(
    path: Path, qemu_io: Callable[[Path, list[str]], str], qemu_img: Callable[..., str]
) -> None:
    writer = open_image(path)
    with pytest.raises(AssertionError, match="lock"):
        qemu_io(path, ["write 0 4k"])
    with pytest.raises(AssertionError, match="lock"):
        qemu_img("check", path)
    writer.close()
    reader = open_image(path, read_only=True)
    with pytest.raises(AssertionError, match="lock"):
        qemu_io(path, ["write 0 4k"])
    qemu_img("check", path)
    reader.close()
    qemu_io(path, ["write 0 4k"])


def test_we_respect_qemu_locks(path: Path, qemu_img: Callable[..., str]) -> None:
    command = ["qemu-io", "-f", "qcow2", str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdin.write("write 0 512\n")
        other.stdin.flush()
        assert any("ops" in line for line in other.stdout)
        for read_only in (True, False):
            with pytest.raises(ImageError, match="in use"):
                open_image(path, read_only=read_only)
        other.stdin.close()
        other.stdout.read()
