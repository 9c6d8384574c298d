"""The FUSE server under the host's own kernel: what the protocol says, the kernel judges."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from maquina.storage.layers.writer import LayerWriter

HERE = Path(__file__).parent
UNSHARE = ["unshare", "--user", "--map-root-user", "--mount", "--propagation", "private"]

pytestmark = pytest.mark.conformance


def in_mount(tmp_path: Path, layer: Path | str, *command: str) -> str:
    """What a command prints that runs in a mount of a stack; it must succeed."""
    place = tmp_path / "mnt"
    place.mkdir(exist_ok=True)
    script = [sys.executable, str(HERE / "fuse_mount.py"), str(layer), str(tmp_path / "up")]
    paths = os.pathsep.join(path for path in sys.path if path)
    result = subprocess.run(
        [*UNSHARE, *script, str(place), *command],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(autouse=True)
def _can_mount(tmp_path: Path) -> None:
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("no /dev/fuse to read and write")
    try:
        trial = subprocess.run([*UNSHARE, "true"], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("no unshare")
    if trial.returncode:
        pytest.skip("no user namespaces")


@pytest.mark.parametrize("seed", range(4))
def test_it_is_a_file_system_like_the_hosts(tmp_path: Path, seed: int) -> None:
    there = tmp_path / "there"
    there.mkdir()
    layer = populated(tmp_path / "layer", there) if seed % 2 else "-"
    script = [sys.executable, str(HERE / "fuse_exercise.py"), ".", str(there), str(seed), "2000"]
    in_mount(tmp_path, layer, *script)


def populated(layer: Path, there: Path) -> Path:
    """A layer, and a directory of the host with the same in it."""
    with LayerWriter(layer) as writer:
        for path in ("a/a", "a/b/a", "b/a", "b/b/b/b", "c"):
            (there / path).parent.mkdir(parents=True, exist_ok=True)
            (there / path).write_bytes(path.encode() * 5000)
            (there / path).chmod(0o640)
            writer.file(path, path.encode() * 5000, 0o640)
        for directory in ("a", "a/b", "b", "b/b", "b/b/b"):
            (there / directory).chmod(0o755)
        writer.finish().close()
    return layer


def test_a_layer_is_seen_whole_and_kept_changes_come_back(tmp_path: Path) -> None:
    with LayerWriter(tmp_path / "layer") as writer:
        for number in range(500):
            writer.file(f"many/file{number:03}", b"%d\n" % number, 0o644)
        writer.file("big", bytes(range(256)) * 8192, 0o755)
        writer.hardlink("same", "big")
        writer.symlink("link", "many/file007")
        writer.finish().close()
    layer = tmp_path / "layer"
    script = """
        test "$(ls many | wc -l)" = 500
        test "$(cat many/* | sort -n | tail -1)" = 499
        test "$(cat link)" = 7
        test "$(stat -c %h same)" = 2
        cmp big same
        echo changed >> same
        cmp big same
        rm -r many && mkdir many && echo new > many/file007
        mv big moved && ln moved third
        tail -c 8 third; cat link
    """
    assert in_mount(tmp_path, layer, "sh", "-euc", script) == "changed\nnew\n"
    again = 'test "$(stat -c %h third)" = 3; ls many; tail -c 8 same'
    assert in_mount(tmp_path, layer, "sh", "-euc", again) == "file007\nchanged\n"
