"""From what is asked for to what a machine is made of."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from maquina.errors import HostError, ImageError, UsageError
from maquina.hypervisor.recipes import Drive, Materials, Wanted, state_directory
from maquina.images import Guest, Kernel
from maquina.net.publish import parse_publication
from maquina.storage.layers.writer import LayerWriter


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    """A guest of one layer, in a cache of its own."""
    cache = tmp_path / "cache" / "maquina"
    for kind in ("layers", "tools/busybox", "kernels/linux", "modules/net"):
        (cache / kind).mkdir(parents=True)
    with LayerWriter(cache / "layers" / "base") as writer:
        writer.file("etc/issue", b"hello\n", 0o644)
        writer.finish().close()
    (cache / "tools" / "busybox" / "busybox").write_bytes(b"program")
    (cache / "kernels" / "linux" / "Image").write_bytes(b"")
    (cache / "modules" / "net" / "virtio_net.ko").write_bytes(b"")
    return Guest(
        name="Test",
        architecture="riscv64",
        layers=(cache / "layers" / "base",),
        kernel=Kernel(cache / "kernels" / "linux" / "Image", "7.2", "quiet fast"),
        modules=(cache / "modules" / "net" / "virtio_net.ko",),
        disk_modules=(),
        busybox=cache / "tools" / "busybox" / "busybox",
    )


def test_root_has_our_files_and_goes_with_the_run(guest: Guest) -> None:
    with Materials(Wanted(guest=guest, has_network=False)) as made:
        assert made.root is not None
        assert made.root.find("etc/issue").size == 6
        assert made.root.find(".maquina/busybox").size == len(b"program")
        assert made.root.find(".maquina/dev/stdin").mode & 0o170000 == 0o120000
        assert list(state_directory().iterdir())
    assert not list(state_directory().iterdir())


def test_command_line(guest: Guest) -> None:
    with Materials(Wanted(guest=guest, has_network=False, append="debug", name="box")) as made:
        words = made.command_line.split()
    assert words[:2] == ["quiet", "fast"]
    assert words[-1] == "debug"
    wanted = {"root=rootfs", "rootfstype=virtiofs", "rw", "init=/.maquina/init", "hostname=box"}
    assert wanted <= set(words)
    with Materials(Wanted(guest=guest, has_network=False, is_stock=True)) as made:
        assert "fast" not in made.command_line
    with Materials(Wanted(kernel=Path("x"), has_network=False, append="a b")) as made:
        assert made.command_line == "a b"


def test_network(guest: Guest, tmp_path: Path) -> None:
    published = (parse_publication("0:80"),)
    wanted = Wanted(guest=guest, published=published, capture=tmp_path / "pcap")
    with Materials(wanted) as made:
        assert made.first_calls == [
            ("load", "/usr/lib/maquina/modules/virtio_net.ko"),
            ("network", "10.0.2.15", "255.255.255.0", "10.0.2.2", "10.0.2.3"),
        ]
        assert made.network is not None
        assert [one.guest_port for one in made.network.published] in ([80], [])
    assert (tmp_path / "pcap").stat().st_size


def test_a_taken_port_leaves_nothing_open(guest: Guest) -> None:
    with Materials(Wanted(guest=guest)) as first:
        assert first.network is not None
        port = first.network.publish("127.0.0.1", 0, 80).host_port
        with pytest.raises(HostError, match=str(port)):
            Materials(Wanted(guest=guest, published=(parse_publication(f"{port}:80"),)))


def test_drives(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(1 << 20))
    drive = Drive(path=tmp_path / "disk", format="raw", is_read_only=True)
    with Materials(Wanted(kernel=Path("x"), drives=(drive,), has_network=False)) as made:
        assert [disk.size_bytes for disk in made.drives] == [1 << 20]
        assert made.drives[0].is_read_only
    on_mmio = replace(drive, bus="mmio")
    with Materials(Wanted(kernel=Path("x"), drives=(drive, on_mmio), has_network=False)) as made:
        assert [len(made.drives_on(bus)) for bus in ("pci", "mmio")] == [1, 1]
    missing = Drive(path=tmp_path / "missing")
    with pytest.raises((ImageError, HostError)):
        Materials(Wanted(kernel=Path("x"), drives=(drive, missing)))


def test_what_does_not_go_together(tmp_path: Path) -> None:
    for wrong in (
        Wanted(),
        Wanted(kernel=Path("x"), has_network=False, capture=tmp_path / "p"),
    ):
        with pytest.raises(UsageError):
            Materials(wrong)
    with pytest.raises(HostError, match="trace"):
        Materials(Wanted(kernel=Path("x"), has_network=False, trace=tmp_path / "no" / "trace"))


def test_a_command_line_that_the_kernel_would_cut(guest: Guest) -> None:
    wanted = Wanted(guest=guest, has_network=False, append="x" * 1000)
    with Materials(wanted) as made, pytest.raises(UsageError, match="shorten --append"):
        _ = made.command_line


def test_state_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(HostError, match=r"Not a directory; .*set XDG_STATE_HOME"):
        state_directory()


def test_a_full_disk_below_the_state(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("maquina.storage.layers.stack.Stack.write_from", refuse)
    with pytest.raises(HostError, match="No space left on device; make room"):
        Materials(Wanted(guest=guest, has_network=False))
    assert not list(state_directory().iterdir())


def test_a_relative_directory_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    assert state_directory() == tmp_path / ".local" / "state" / "maquina"


def test_a_port_that_the_host_chooses_is_known(guest: Guest) -> None:
    wanted = Wanted(guest=guest, published=(parse_publication("0:80"),))
    with Materials(wanted) as made:
        (one,) = made.published
    assert one.host_port > 0
    assert one.guest_port == 80


def test_a_guest_is_refused_memory_in_which_it_dies_silently(guest: Guest) -> None:
    with pytest.raises(UsageError, match="ask for 96M"):
        Wanted(guest=guest, memory_bytes=64 << 20).check()
    Wanted(guest=guest, memory_bytes=96 << 20).check()
