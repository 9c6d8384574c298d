"""A disk made of layers has their files, as e2fsprogs reads it back."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from maquina.errors import HostError, UsageError
from maquina.images.disks import make_disk
from maquina.storage.layers.writer import LayerWriter

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    path = tmp_path / "layer"
    with LayerWriter(path) as writer:
        writer.directory("root", 0o700)
        writer.file("etc/shadow", b"root:*\n", 0o640, gid=42)
        writer.file("usr/bin/su", b"set-user-id", 0o4755)
        writer.file("var/x", b"joe's", 0o600, uid=1000, gid=1001)
        writer.hardlink("var/y", "var/x")
        writer.file("odd name 'quoted'", b"odd", 0o000)
        writer.symlink("bin", "usr/bin", uid=7)
        writer.node("dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        writer.finish().close()
    return path


def debugfs(image: Path, command: str) -> str:
    tool = shutil.which("debugfs", path=PATH)
    assert tool is not None
    done = subprocess.run([tool, "-R", command, str(image)], capture_output=True, check=True)
    return done.stdout.decode()


@pytest.mark.conformance
def test_a_disk_has_the_files_of_the_layers(layer: Path, tmp_path: Path) -> None:
    fsck = shutil.which("e2fsck", path=PATH)
    if fsck is None:
        pytest.skip("needs e2fsprogs")
    image = tmp_path / "disk.raw"
    make_disk([layer], image, 32 << 20)
    assert image.stat().st_size == 32 << 20
    subprocess.run([fsck, "-f", "-n", str(image)], check=True, capture_output=True)
    assert debugfs(image, 'cat "/etc/shadow"') == "root:*\n"
    assert debugfs(image, "cat /odd\\ name\\ 'quoted'") in ("odd", "")
    for path, mode, user, group in (
        ("/", "0755", 0, 0),
        ("/root", "0700", 0, 0),
        ("/etc/shadow", "0640", 0, 42),
        ("/usr/bin/su", "04755", 0, 0),
        ("/var/x", "0600", 1000, 1001),
        ("/bin", "0777", 7, 0),
        ("/dev/null", "0666", 0, 0),
    ):
        text = debugfs(image, f'stat "{path}"')
        assert re.search(rf"Mode:\s+0?{mode}\b", text), (path, text)
        assert re.search(rf"User:\s+{user}\s+Group:\s+{group}\b", text), (path, text)
    assert "Device major/minor number: 01:03" in debugfs(image, "stat /dev/null")
    assert "Links: 2" in debugfs(image, "stat /var/y")
    assert list(tmp_path.iterdir()) == [layer, image] or len(list(tmp_path.iterdir())) == 2


def test_a_disk_that_is_too_small(layer: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="too small"):
        make_disk([layer], tmp_path / "disk.raw", 1 << 20)
    assert [path.name for path in tmp_path.iterdir()] == ["layer"]


def test_a_host_without_e2fsprogs(
    layer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maquina.images.disks.shutil.which", lambda *_, **__: None)
    with pytest.raises(HostError, match="install e2fsprogs"):
        make_disk([layer], tmp_path / "disk.raw")
    assert [path.name for path in tmp_path.iterdir()] == ["layer"]
