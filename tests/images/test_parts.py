"""Archives, certificates, command lines and progress."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from maquina.errors import FormatError
from maquina.images.certificates import subject_hash
from maquina.images.cpio import CpioWriter
from maquina.images.guest import MODULES, Guest
from maquina.images.initramfs import DISK_INIT, build_initramfs
from maquina.images.kernels import STOCK, tuned
from maquina.images.progress import RichProgress, on_terminal


def entries(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """Mode and contents by name, read as the kernel's documentation of the format says."""
    found: dict[str, tuple[int, bytes]] = {}
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        size, name_size = fields[6], fields[11]
        name = archive[at + 110 : at + 109 + name_size].decode()
        at += (110 + name_size + 3) & ~3
        if name == "TRAILER!!!":
            return found
        found[name] = (fields[1], archive[at : at + size])
        at += (size + 3) & ~3


def test_cpio_entries_are_aligned() -> None:
    out = io.BytesIO()
    archive = CpioWriter(out)
    for size in range(6):
        archive.file("f" * (size + 1), b"x" * size, 0o600)
    archive.symlink("link", "f")
    archive.finish()
    found = entries(out.getvalue())
    assert [len(data) for _, data in found.values()] == [0, 1, 2, 3, 4, 5, 1]
    assert found["f"][0] == 0o100600
    assert found["link"] == (0o120777, b"f")


def test_an_initramfs_has_parents_before_children(tmp_path: Path) -> None:
    (tmp_path / "busybox").write_bytes(b"static")
    (tmp_path / "ext4.ko").write_bytes(b"module")
    modules = [tmp_path / "ext4.ko"]
    archive = build_initramfs(
        tmp_path / "busybox", DISK_INIT, modules, {"opt/a/b": b"tool"}, is_compressed=True
    )
    found = entries(gzip.decompress(archive))
    names = list(found)
    for name in names:
        parent = name.rpartition("/")[0]
        assert not parent or names.index(parent) < names.index(name), name
    assert found["init"][1] == DISK_INIT.encode()
    assert found[f"{MODULES}/order"][1] == b"ext4.ko\n"
    assert found["dev/console"][0] == 0o020600
    assert found["opt/a/b"] == (0o100755, b"tool")


@pytest.mark.conformance
def test_openssl_finds_certificates_by_our_hash(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl")
    for number, subject in enumerate(("/C=DE/O=A  B GmbH/CN=Test Äuthority", "/CN=x", "/O=Ab")):
        path = tmp_path / f"{number}.pem"
        command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt",
                   "ec_paramgen_curve:P-256", "-nodes", "-keyout", "/dev/null", "-utf8",
                   "-subj", subject, "-out", str(path)]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True)
        ask = [openssl, "x509", "-subject_hash", "-noout", "-in", str(path)]
        wanted = subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip()
        assert subject_hash(path.read_bytes()) == wanted


def test_what_is_no_certificate() -> None:
    with pytest.raises(FormatError):
        subject_hash(b"nothing")


def test_command_lines_fit_the_kernel() -> None:
    assert "unaligned_scalar_speed=fast" in tuned("7.2.12+deb14-riscv64")
    assert "jent_mod_init" in tuned("6.12.107+deb13-riscv64")
    assert tuned("6.1.0-riscv64") == STOCK


def test_a_description_of_something_else_is_refused(tmp_path: Path) -> None:
    for text in ("", "[]", "{}", '{"kernel": {}}', '{"name": 1, "kernel": 2}'):
        with pytest.raises(FormatError):
            Guest.load(text, tmp_path)


def test_progress_draws_nothing_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with on_terminal() as progress:
        with progress.task("work", 10) as task:
            task.advance(10)
        progress.note("waiting")
    assert capsys.readouterr() == ("", "waiting\n")


def test_progress_on_a_terminal_goes_to_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with RichProgress() as progress, progress.task("downloading", 10) as task:
        task.advance(5)
        progress.note("still here")
    output = capsys.readouterr()
    assert output.out == ""
    assert "still here" in output.err


def test_asking_imports_nothing_heavy() -> None:
    code = (
        "import sys, maquina.images\n"
        "heavy = {'httpx', 'rich', 'zstandard', 'pysequoia', 'tarfile', 'ssl'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
