"""What a guest is given, and that its script is one that a shell can read."""

from __future__ import annotations

import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from maquina.errors import ImageError
from maquina.guest.files import guest_files


def test_files_come_after_their_directories(tmp_path: Path) -> None:
    (tmp_path / "busybox").write_bytes(b"program")
    files = guest_files(tmp_path / "busybox")
    directories = {""} | {file.path for file in files if stat.S_ISDIR(file.mode)}
    seen = {""}
    for file in files:
        assert file.path.rpartition("/")[0] in seen
        seen.add(file.path)
    assert ".maquina/dev/pts" in directories
    by_path = {file.path: file for file in files}
    assert by_path[".maquina/busybox"].data == b"program"
    assert by_path[".maquina/init"].data.startswith(b"#!/.maquina/busybox sh\n")
    assert by_path[".maquina/dev/stdout"].data == b"/proc/self/fd/1"


def test_missing_busybox(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="busybox"):
        guest_files(tmp_path / "busybox")


def test_the_script_parses(tmp_path: Path) -> None:
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("needs busybox")
    (tmp_path / "busybox").write_bytes(b"")
    script = next(f.data for f in guest_files(tmp_path / "busybox") if f.path.endswith("/init"))
    subprocess.run([busybox, "sh", "-n"], input=script, check=True, timeout=10)
