"""A stack does what a directory of the host does."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import stat
from pathlib import Path

import pytest
from tests.storage.layers.stack_pair import Pair, alike, on_host, outcome, read, seen, unpack

from maquina.storage.layers.layer import Layer
from maquina.storage.layers.stack import Stack
from maquina.storage.layers.upper import Upper


@pytest.mark.parametrize("seed", range(40))
def test_it_does_what_a_directory_does(layer: Layer, tmp_path: Path, seed: int) -> None:
    choose, host = random.Random(seed), tmp_path / "host"
    host.mkdir()
    upper = Upper.open(tmp_path / "kept") if seed % 2 else Upper.temporary(tmp_path / "tmp")
    with Stack([layer], upper) as stack:
        unpack(stack, host)
        pair = Pair(stack, host)
        for number in range(150):
            here, there = pair.step(choose)
            assert alike(here, there), f"seed {seed}, step {number}: {here} here, {there} there"
        result = seen(stack)
        assert result == on_host(host), f"seed {seed}"
    if seed % 2:
        with Stack([layer], Upper.open(tmp_path / "kept")) as stack:
            assert seen(stack) == result, f"seed {seed}, opened again"
    else:
        assert not list((tmp_path / "tmp").iterdir())


def test_a_removed_file_lives_until_it_is_forgotten(layer: Layer, tmp_path: Path) -> None:
    with Stack([layer], Upper.temporary(tmp_path)) as stack:
        ino = stack.remove(stack.find("b").ino, b"a", False)
        stack.write_from(ino, 0, [memoryview(b"still")])
        buffer = bytearray(5)
        assert stack.read_into(ino, 0, [memoryview(buffer)]) == 5
        assert buffer == b"still"
        stack.forget(ino)
        assert outcome(lambda: stack.inode(ino)) == errno.ESTALE
        assert stack.space()[1] <= stack.space()[0]
        unnamed = stack.create_unnamed(1, 0o600, (5, 6))
        assert unnamed.links == 0
        stack.link(unnamed.ino, 1, b"named")
        assert stack.find("named").links == 1


def test_what_a_guest_may_store_is_bounded(layer: Layer, tmp_path: Path) -> None:
    with Stack([layer], Upper.temporary(tmp_path, limit_bytes=1 << 20)) as stack:
        ino = stack.create(1, b"big", stat.S_IFREG | 0o644, (0, 0)).ino
        block = [memoryview(bytes(1 << 16))]
        results = [
            outcome(lambda at=at: stack.write_from(ino, at << 16, block))  # type: ignore[misc]
            for at in range(20)
        ]
        assert results[:15] == [0] * 15
        assert results[-1] == errno.ENOSPC
        assert stack.change(ino, {"size": 1 << 40}).size == 1 << 40  # a hole costs nothing
        assert outcome(lambda: stack.allocate(ino, 0, 0, 1 << 30)) == errno.ENOSPC
        stack.forget(stack.remove(1, b"big", False))
        small = stack.create(1, b"small", stat.S_IFREG | 0o644, (0, 0)).ino
        assert stack.write_from(small, 0, block) == 1 << 16
        stack._table.upper.table_bytes = 1 << 30
        assert outcome(lambda: stack.create(1, b"x", stat.S_IFREG, (0, 0))) == errno.ENOSPC
        assert outcome(lambda: stack.find("x")) == errno.ENOENT


def test_renames_of_both_kinds(layer: Layer, tmp_path: Path) -> None:
    with Stack([layer], Upper.temporary(tmp_path)) as stack:
        a, b = stack.find("a").ino, stack.find("b").ino
        assert outcome(lambda: stack.rename((1, b"a"), (1, b"b"), 1)) == errno.EEXIST
        assert outcome(lambda: stack.rename((1, b"a"), (1, b"no"), 2)) == errno.ENOENT
        assert outcome(lambda: stack.rename((1, b"a"), (1, b"x"), 4)) == errno.EINVAL
        inner = stack.find("a/c").ino
        assert outcome(lambda: stack.rename((1, b"b"), (a, b"c"), 2)) == 0
        assert (stack.find("b").ino, stack.find("a/c").ino) == (inner, b)
        assert stack.parent(b) == a
        assert outcome(lambda: stack.rename((1, b"a"), (a, b"c"), 2)) == errno.EINVAL
        assert outcome(lambda: stack.rename((a, b"c"), (1, b"a"), 2)) == errno.EINVAL


def test_cookies_stay_with_their_entries(layer: Layer, tmp_path: Path) -> None:
    with Stack([layer], Upper.temporary(tmp_path)) as stack:
        for number in range(100):
            stack.create(1, b"%d" % number, stat.S_IFREG, (0, 0))
        everything, cookie, count = set(), 0, 0
        while chunk := list(stack.list(1, cookie))[:7]:
            cookie = chunk[-1][0]
            for _, name, _, _ in chunk:
                everything.add(name)
                if name.isdigit():
                    stack.remove(1, name, False)
                    stack.create(1, b"new%d" % count, stat.S_IFREG, (0, 0)) if count < 9 else None
                    count += 1
        assert everything >= {b"%d" % number for number in range(100)}


def test_set_id_bits_and_capabilities_go_with_owner_and_writes(
    layer: Layer, tmp_path: Path
) -> None:
    with Stack([layer], Upper.temporary(tmp_path)) as stack:
        ino = stack.find("suid").ino
        assert stack.change(ino, {"uid": 5}).mode == stat.S_IFREG | 0o755
        stack.change(ino, {"mode": 0o6755})
        stack.set_xattr(ino, b"security.capability", b"cap", 1)
        assert outcome(lambda: stack.set_xattr(ino, b"security.capability", b"", 1)) == 17
        assert outcome(lambda: stack.set_xattr(ino, b"user.x", b"", 2)) == errno.ENODATA
        assert outcome(lambda: stack.set_xattr(ino, b"system.posix_acl_access", b"", 0)) == 95
        assert outcome(lambda: stack.set_xattr(ino, b"user.x", bytes(1 << 17), 0)) == 28
        stack.drop_privileges(ino)
        assert stack.inode(ino).mode == stat.S_IFREG | 0o755
        assert stack.xattrs(ino) == {}
        directory = stack.create(1, b"group", stat.S_IFDIR | 0o2777, (0, 9)).ino
        inner = stack.create(directory, b"d", stat.S_IFDIR | 0o755, (1, 1))
        assert (inner.gid, inner.mode) == (9, stat.S_IFDIR | 0o2755)
        assert stack.create(directory, b"f", stat.S_IFREG | 0o644, (1, 1)).gid == 9


def test_ranges_of_files(layer: Layer, tmp_path: Path) -> None:
    with Stack([layer], Upper.temporary(tmp_path)) as stack:
        size = stack.find("a/a").size
        source, target = stack.find("a/a").ino, stack.create(1, b"n", stat.S_IFREG, (0, 0)).ino
        assert stack.copy((source, 3), (target, 1 << 20), 1 << 30) == size - 3
        assert stack.find("n").size == (1 << 20) + size - 3
        assert read(stack, "n")[1 << 20 :] == read(stack, "a/a")[3:]
        assert stack.seek(target, 0, os.SEEK_DATA) == 1 << 20
        assert stack.seek(target, 0, os.SEEK_HOLE) == 0
        assert stack.seek(source, 5, os.SEEK_DATA) == 5
        assert stack.seek(source, 5, os.SEEK_HOLE) == size
        assert outcome(lambda: stack.seek(source, size, os.SEEK_DATA)) == errno.ENXIO
        with contextlib.suppress(OSError):  # not every host file system punches holes
            stack.allocate(target, 3, 1 << 20, 4096)
            assert read(stack, "n")[1 << 20 :][:4096] == bytes(4096)
        assert outcome(lambda: stack.allocate(target, 8, 0, 1)) == errno.EOPNOTSUPP
        stack.allocate(target, 0, 0, 2 << 20)
        assert stack.find("n").size == 2 << 20
        assert outcome(lambda: stack.write_from(target, (1 << 63) - 1, [memoryview(b"x")])) == 27
        assert outcome(lambda: stack.change(target, {"size": 1 << 63})) == errno.EFBIG


def test_without_layers_there_is_a_root(tmp_path: Path) -> None:
    with Stack([], Upper.open(tmp_path / "kept")) as stack:
        stack.create(1, b"d", stat.S_IFDIR | 0o700, (1, 2))
        stack.symlink(1, b"l", b"to", (3, 4))
        stack.create(1, b"null", stat.S_IFCHR | 0o666, (0, 0), os.makedev(1, 3))
        stack.sync(None)
    with Stack([], Upper.open(tmp_path / "kept")) as stack:
        assert stack.read_link(stack.find("l").ino) == b"to"
        assert stack.find("l").gid == 4
        assert stack.find("null").rdev == os.makedev(1, 3)


def test_any_number_of_files_are_in_use_at_a_time(layer: Layer, tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with Stack([layer], Upper.temporary(tmp_path)) as stack:
        inos = [stack.create(1, b"n%d" % n, stat.S_IFREG, (0, 0)).ino for n in range(500)]
        for ino in [*inos, *inos]:
            stack.write_from(ino, stack.inode(ino).size, [memoryview(b"%d" % ino)])
        assert len(list(Path("/proc/self/fd").iterdir())) < before + 300
        for ino in inos:
            assert read(stack, f"n{ino - inos[0]}") == b"%d%d" % (ino, ino)
