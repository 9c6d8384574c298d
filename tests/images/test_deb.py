"""Packages are read whole or refused."""

from __future__ import annotations

import gzip
import stat
import tarfile
from pathlib import Path

import pytest
import zstandard
from tests.images.fake_mirror import deb_of, tar_of

from maquina.errors import FormatError
from maquina.images import deb as deb_module
from maquina.images.deb import Deb
from maquina.images.trees import walk
from maquina.images.unpack import Unpacker
from maquina.storage.layers.writer import LayerWriter

CONTROL = {"control": b"Package: x\nVersion: 1\n"}


def write(tmp_path: Path, data: bytes) -> Deb:
    path = tmp_path / "x.deb"
    path.write_bytes(data)
    return Deb(path)


def packed_as(suffix: str) -> bytes:
    pack = gzip.compress if suffix == "gz" else zstandard.ZstdCompressor().compress
    if suffix == "xz":
        return deb_of(CONTROL, {"usr/x": b"x" * 5000})
    plain = deb_of(CONTROL, {"usr/x": b"x" * 5000}, "")
    out, at = plain[:8], 8
    while at < len(plain):
        header, size = plain[at : at + 60], int(plain[at + 48 : at + 58])
        body, name = plain[at + 60 : at + 60 + size], plain[at : at + 16].strip().decode()
        if suffix and ".tar" in name:
            body, name = pack(body), f"{name}.{suffix}"
        header = f"{name:<16}".encode() + header[16:48] + f"{len(body):<10}`\n".encode()
        out += header + body + b"\n" * (len(body) % 2)
        at += 60 + size + size % 2
    return out


@pytest.mark.parametrize("suffix", ["", "gz", "xz", "zst"])
def test_every_compression(tmp_path: Path, suffix: str) -> None:
    package = write(tmp_path, packed_as(suffix))
    assert package.control() == CONTROL
    with package.data() as tar:
        member = tar.next()
        assert member is not None
        stream = tar.extractfile(member)
        assert stream is not None
        assert stream.read() == b"x" * 5000


@pytest.mark.parametrize("cut", [0, 5, 60, 100, 150, 200, 300, -10])
def test_a_truncated_package_is_refused(tmp_path: Path, cut: int) -> None:
    package = write(tmp_path, deb_of(CONTROL, {"usr/x": b"x" * 5000})[:cut])
    with pytest.raises(FormatError):
        package.control()
        with package.data() as tar:
            for member in tar:
                stream = tar.extractfile(member)
                assert stream is not None
                assert len(stream.read()) == member.size


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deb_module, "MAX_DATA", 1 << 20)
    package = write(tmp_path, deb_of(CONTROL, {"usr/x": bytes(8 << 20)}))
    with pytest.raises(FormatError, match="more in it"), package.data() as tar:
        for member in tar:
            tar.extractfile(member)


def test_owners_modes_and_devices_are_kept(tmp_path: Path) -> None:
    device, owned, linked, fifo = (tarfile.TarInfo() for _ in range(4))
    device.type, device.mode, device.devmajor, device.devminor = tarfile.CHRTYPE, 0o660, 1, 3
    owned.type, owned.mode, owned.uid, owned.gid = tarfile.DIRTYPE, 0o2775, 12, 34
    linked.type, linked.linkname = tarfile.LNKTYPE, "./usr/a"
    fifo.type, fifo.mode = tarfile.FIFOTYPE, 0o600
    members = {"usr/a": b"a", "dev/x": device, "own": owned, "usr/b": linked, "pipe": fifo}
    package = write(tmp_path, deb_of(CONTROL, members))
    with LayerWriter(tmp_path / "layer") as writer:
        unpacked = Unpacker(writer, lambda path: path == "/usr/a").unpack(package)
        layer = writer.finish()
    with layer:
        nodes = {node.path: node for node in walk([layer])}
        assert unpacked.paths == ("/usr/a", "/dev/x", "/own", "/usr/b", "/pipe")
        assert nodes[b"dev/x"].record.mode == stat.S_IFCHR | 0o660
        assert nodes[b"dev/x"].record.rdev == 0x103
        assert (nodes[b"own"].record.uid, nodes[b"own"].record.gid) == (12, 34)
        assert nodes[b"own"].record.mode == stat.S_IFDIR | 0o2775
        assert nodes[b"usr/a"].ino == nodes[b"usr/b"].ino
        assert stat.S_ISFIFO(nodes[b"pipe"].record.mode)


def test_hostile_members_are_refused(tmp_path: Path) -> None:
    below, missing = tarfile.TarInfo(), tarfile.TarInfo()
    below.size = 0
    missing.type, missing.linkname = tarfile.LNKTYPE, "./../../etc/passwd"
    for members in (
        {"../../etc/x": b"x"},
        {"a": b"file", "a/b": b"below a file"},
        {"x": missing},
    ):
        package = write(tmp_path, deb_of(CONTROL, members))
        with LayerWriter(tmp_path / "layer") as writer, pytest.raises(FormatError):
            Unpacker(writer, lambda _: False).unpack(package)
        assert not (tmp_path / "layer").exists()


def test_tars_are_made_as_expected() -> None:
    assert tar_of({"a": b"x"}, "").startswith(b"./a\0")
