"""Writing layers and reading them back, as one tree and as several merged."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

import pytest

from maquina.errors import FormatError, HostError, ImageError
from maquina.storage.layers.layer import Layer
from maquina.storage.layers.union import Union
from maquina.storage.layers.writer import LayerWriter


def tree(*layers: Layer) -> dict[str, str]:
    """Every path of merged layers, with what it is."""
    union, found = Union(layers), dict[str, str]()
    todo = [("", 1)]
    while todo:
        prefix, ino = todo.pop()
        for name, child in union.entries(ino).items():
            path, record = prefix + os.fsdecode(name), union.record(child)
            found[path] = stat.filemode(record.mode)
            if stat.S_ISDIR(record.mode):
                assert union.parent(child) == ino
                todo.append((path + "/", child))
            elif stat.S_ISLNK(record.mode):
                found[path] += " " + os.fsdecode(union.layer(child).target(record))
            elif stat.S_ISREG(record.mode):
                layer = union.layer(child)
                data = os.pread(layer.file(0), record.size, record.offset)
                found[path] += " " + data.decode()
    return found


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    with LayerWriter(tmp_path / "base") as writer:
        writer.directory("", 0o711, uid=3)
        writer.directory("etc", 0o750, uid=1, gid=2, mtime=1000)
        writer.file("etc/motd", b"hello", 0o4644, uid=5, gid=6, mtime=-7)
        writer.file("./usr/share/big", io.BytesIO(b"x" * 3_000_000), 0o600)
        writer.symlink("etc/link", "motd", mtime=9)
        writer.node("dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        writer.hardlink("etc/same", "/etc/motd")
        writer.xattr("etc/motd", "security.capability", b"\0\1")
        writer.file(b"\xff\xfe", b"", 0o644)
        with writer.finish() as layer:
            union = Union([layer])
            motd = union.find([b"etc", b"motd"])
            assert motd is not None
            assert motd == union.find([b"etc", b"same"])
            record = union.record(motd)
            assert (record.mode, record.uid, record.gid) == (stat.S_IFREG | 0o4644, 5, 6)
            assert (record.mtime_ns, record.links, record.size) == (-7_000_000_000, 2, 5)
            assert layer.xattrs(record) == {b"security.capability": b"\0\1"}
            assert union.record(1).uid == 3
            null = union.find([b"dev", b"null"])
            assert null is not None
            assert union.record(null).rdev == os.makedev(1, 3)
            big = union.find([b"usr", b"share", b"big"])
            assert big is not None
            big_record = union.record(big)
            assert (big_record.size, big_record.offset % 4096) == (3_000_000, 0)
            assert os.fsencode(b"\xff\xfe") in union.entries(1)
            layer.verify()
    assert [entry.name for entry in tmp_path.iterdir()] == ["base"]


def test_symlinks_to_directories_are_followed_inside_the_tree(tmp_path: Path) -> None:
    with LayerWriter(tmp_path / "base") as writer:
        writer.symlink("bin", "usr/bin")
        writer.symlink("usr/lib64", "../../../../usr/lib")
        writer.symlink("usr/lib/abs", "/opt")
        writer.file("bin/sh", b"1", 0o755)
        writer.directory("bin", 0o700)
        writer.file("usr/lib64/libc", b"2", 0o644)
        writer.file("usr/lib/abs/x", b"3", 0o644)
        with writer.finish() as layer:
            found = tree(layer)
    assert found["usr/bin/sh"] == "-rwxr-xr-x 1"
    assert found["usr/lib/libc"] == "-rw-r--r-- 2"
    assert found["opt/x"] == "-rw-r--r-- 3"
    assert found["bin"] == "lrwxrwxrwx usr/bin"


@pytest.mark.parametrize("path", ["../x", "a/../../x", "a/" + "n" * 256, "a\0b", "loop/x", "f/x"])
def test_paths_that_no_archive_should_have(tmp_path: Path, path: str) -> None:
    with LayerWriter(tmp_path / "base") as writer:
        writer.symlink("loop", "loop")
        writer.file("f", b"", 0o644)
        with pytest.raises(FormatError):
            writer.file(path, b"", 0o644)


def test_the_last_write_wins(tmp_path: Path) -> None:
    with LayerWriter(tmp_path / "base") as writer:
        writer.file("a", b"old", 0o600)
        writer.file("a", b"new", 0o644)
        writer.directory("d", 0o700)
        writer.file("d/x", b"", 0o644)
        writer.directory("d", 0o755)
        writer.file("e", b"", 0o644)
        writer.directory("e", 0o755)
        with writer.finish() as layer:
            assert tree(layer) == {
                "a": "-rw-r--r-- new",
                "d": "drwxr-xr-x",
                "d/x": "-rw-r--r-- ",
                "e": "drwxr-xr-x",
            }


def test_layers_merge_by_path(tmp_path: Path) -> None:
    with LayerWriter(tmp_path / "low") as writer:
        for path in ("keep/a", "keep/b", "gone/x", "opaque/old", "again/old", "file", "was/dir"):
            writer.file(path, b"low", 0o644)
        writer.directory("keep", 0o700, uid=7)
        writer.symlink("bin", "usr/bin")
        low = writer.finish()
    with LayerWriter(tmp_path / "high", below=[low]) as writer:
        writer.whiteout("keep/a")
        writer.whiteout("gone")
        writer.file("keep/c", b"high", 0o644)
        writer.directory("opaque", 0o755)
        writer.opaque("opaque")
        writer.whiteout("again")
        writer.file("again/new", b"high", 0o644)
        writer.file("was", b"high", 0o644)
        writer.file("bin/sh", b"high", 0o755)
        high = writer.finish()
    with LayerWriter(tmp_path / "top", below=[low, high]) as writer:
        writer.file("keep/d", b"top", 0o644)
        writer.directory("gone", 0o711)
        top = writer.finish()
    with low, high, top:
        assert tree(low, high, top) == {
            "keep": "drwx------",
            "keep/b": "-rw-r--r-- low",
            "keep/c": "-rw-r--r-- high",
            "keep/d": "-rw-r--r-- top",
            "gone": "drwx--x--x",
            "opaque": "drwxr-xr-x",
            "again": "drwxr-xr-x",
            "again/new": "-rw-r--r-- high",
            "file": "-rw-r--r-- low",
            "was": "-rw-r--r-- high",
            "bin": "lrwxrwxrwx usr/bin",
            "usr": "drwxr-xr-x",
            "usr/bin": "drwxr-xr-x",
            "usr/bin/sh": "-rwxr-xr-x high",
        }
        numbered = Union([low, high, top])
        keep = numbered.find([b"keep"])
        assert keep is not None
        fresh = Union([low, high, top])
        assert fresh.record(keep).uid == 7
        assert fresh.entries(keep) == numbered.entries(keep)
        assert fresh.parent(keep) == 1


def test_aborted_and_dead_writers_leave_nothing(tmp_path: Path) -> None:
    dead = tmp_path / ".base.dead"
    dead.mkdir()
    (dead / "data").write_bytes(b"half")
    with LayerWriter(tmp_path / "base") as first:
        assert not dead.exists()
        with LayerWriter(tmp_path / "base") as second:
            first.file("who", b"first", 0o644)
            second.file("who", b"second", 0o644)
            second.finish().close()
        with first.finish() as layer:
            assert tree(layer) == {"who": "-rw-r--r-- second"}
    with LayerWriter(tmp_path / "other") as writer:
        writer.file("x", b"", 0o644)
    assert [entry.name for entry in tmp_path.iterdir()] == ["base"]


def test_damage_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "base"
    with pytest.raises(ImageError):
        Layer.open(path)
    with LayerWriter(path) as writer:
        writer.file("x", b"contents", 0o644)
        writer.finish().close()
    table, data = (path / "table").read_bytes(), (path / "data").read_bytes()
    for broken in (b"", table[:20], table[:-1], b"X" + table[1:], table[:-1] + b"\xff"):
        (path / "table").write_bytes(broken)
        with pytest.raises(FormatError):
            Layer.open(path)
    (path / "table").write_bytes(table)
    (path / "data").write_bytes(data[:-1])
    with pytest.raises(FormatError):
        Layer.open(path)
    (path / "data").write_bytes(b"X" + data[1:])
    with Layer.open(path) as layer, pytest.raises(FormatError):
        layer.verify()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(HostError):
        LayerWriter(tmp_path / "file" / "layer")
