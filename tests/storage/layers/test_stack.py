"""A stack does what a directory of the host does, and keeps what an upper is to keep."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from maquina.errors import FormatError, HostError, MaquinaError, StateError
from maquina.storage.layers import journal as journals
from maquina.storage.layers.layer import Layer
from maquina.storage.layers.stack import Stack
from maquina.storage.layers.upper import Frozen, Upper
from maquina.storage.layers.writer import LayerWriter

NAMES = ["a", "b", "c"]


@pytest.fixture
def layer(tmp_path: Path) -> Iterator[Layer]:
    with LayerWriter(tmp_path / "layer") as writer:
        for path in ("a/a", "a/b", "a/c/a", "b/a"):
            writer.file(path, path.encode() * 3000, 0o644)
        writer.hardlink("b/b", "a/a")
        writer.symlink("c", "nowhere")
        writer.file("suid", b"x", 0o4755)
        made = writer.finish()
    with made:
        yield made


def outcome(action: Callable[[], object]) -> int:
    """The errno of an action, 0 if it succeeds."""
    try:
        action()
    except OSError as error:
        return error.errno or -1
    return 0


def read(stack: Stack, path: str) -> bytes:
    inode = stack.find(path)
    buffer = bytearray(inode.size)
    assert stack.read_into(inode.ino, 0, [memoryview(buffer)]) == inode.size
    return bytes(buffer)


Description = tuple[str, int, bytes]  # mode, links, contents or target


def seen(stack: Stack, prefix: str = "", ino: int = 1) -> dict[str, Description]:
    """Every path of a stack, with what it is."""
    found: dict[str, Description] = {}
    for _, name, child, _ in stack.list(ino, 0):
        path, inode = prefix + os.fsdecode(name), stack.inode(child)
        contents = b""
        if inode.is_directory:
            assert stack.parent(child) == ino
            found |= seen(stack, path + "/", child)
        elif stat.S_ISLNK(inode.mode):
            contents = stack.read_link(child)
        else:
            contents = read(stack, path)
        found[path] = describe(inode.mode, inode.links, contents)
    return found


def on_host(root: Path) -> dict[str, Description]:
    """Every path below a directory of the host, likewise."""
    found: dict[str, Description] = {}
    for path in root.rglob("*"):
        status, contents = path.lstat(), b""
        if path.is_symlink():
            contents = os.fsencode(path.readlink())
        elif path.is_file():
            contents = path.read_bytes()
        found[str(path.relative_to(root))] = describe(status.st_mode, status.st_nlink, contents)
    return found


def describe(mode: int, links: int, contents: bytes) -> Description:
    return (stat.filemode(mode), 1 if stat.S_ISDIR(mode) else links, contents)


class Pair:
    """A stack and a directory of the host, to which the same is done."""

    def __init__(self, stack: Stack, host: Path) -> None:
        self.stack, self.host = stack, host

    def place(self, path: str) -> tuple[int, bytes]:
        directory, _, name = path.rpartition("/")
        return self.stack.find(directory).ino, name.encode()

    def write(self, path: str, offset: int, data: bytes) -> tuple[int, int]:
        def here() -> None:
            self.stack.write_from(self.regular(path), offset, [memoryview(data)])

        def there() -> None:
            with open(self.host / path, "r+b", opener=no_follow) as file:
                file.seek(offset)
                file.write(data)

        return outcome(here), outcome(there)

    def regular(self, path: str) -> int:
        inode = self.stack.find(path)
        if stat.S_ISLNK(inode.mode):
            raise OSError(errno.ELOOP, "symlink")
        return inode.ino

    def truncate(self, path: str, size: int) -> tuple[int, int]:
        def there() -> None:
            fd = no_follow(str(self.host / path), os.O_RDWR)
            os.ftruncate(fd, size)
            os.close(fd)

        return (
            outcome(lambda: self.stack.change(self.regular(path), {"size": size})),
            outcome(there),
        )

    def create(self, path: str, directory: bool) -> tuple[int, int]:
        mode = (stat.S_IFDIR | 0o755) if directory else (stat.S_IFREG | 0o640)
        return (
            outcome(lambda: self.stack.create(*self.place(path), mode, (0, 0))),
            outcome(lambda: made(self.host / path, directory)),
        )

    def symlink(self, path: str, target: str) -> tuple[int, int]:
        return (
            outcome(lambda: self.stack.symlink(*self.place(path), target.encode(), (0, 0))),
            outcome(lambda: (self.host / path).symlink_to(target)),
        )

    def link(self, old: str, new: str) -> tuple[int, int]:
        return (
            outcome(lambda: self.stack.link(self.stack.find(old).ino, *self.place(new))),
            outcome(lambda: os.link(self.host / old, self.host / new, follow_symlinks=False)),
        )

    def remove(self, path: str, directory: bool) -> tuple[int, int]:
        there = os.rmdir if directory else os.unlink
        return (
            outcome(lambda: self.forget(self.stack.remove(*self.place(path), directory))),
            outcome(lambda: there(self.host / path)),
        )

    def rename(self, old: str, new: str) -> tuple[int, int]:
        return (
            outcome(lambda: self.forget(self.stack.rename(self.place(old), self.place(new), 0))),
            outcome(lambda: (self.host / old).rename(self.host / new)),
        )

    def chmod(self, path: str, mode: int) -> tuple[int, int]:
        def there() -> None:
            if (self.host / path).is_symlink():
                raise OSError(errno.ELOOP, "symlink")
            (self.host / path).chmod(mode)

        return (
            outcome(lambda: self.stack.change(self.regular(path), {"mode": mode})),
            outcome(there),
        )

    def forget(self, ino: int) -> None:
        if ino:
            self.stack.forget(ino)

    def step(self, choose: random.Random) -> tuple[int, int]:
        def path() -> str:
            return "/".join(choose.choices(NAMES, k=choose.choice([1, 1, 2, 2, 2, 3])))

        actions: list[Callable[[], tuple[int, int]]] = [
            lambda: self.write(path(), choose.randrange(20000), choose.randbytes(500)),
            lambda: self.truncate(path(), choose.choice([0, 5, 9000, 30000])),
            lambda: self.create(path(), choose.random() < 0.5),
            lambda: self.create(path(), choose.random() < 0.5),
            lambda: self.symlink(path(), "nowhere"),
            lambda: self.link(path(), path()),
            lambda: self.remove(path(), choose.random() < 0.3),
            lambda: self.rename(path(), path()),
            lambda: self.rename(path(), path()),
            lambda: self.chmod(path(), choose.choice([0o600, 0o755, 0o700])),
        ]
        return choose.choice(actions)()


def no_follow(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW)


def made(path: Path, directory: bool) -> None:
    if directory:
        path.mkdir(mode=0o755)
        path.chmod(0o755)
    else:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640))
        path.chmod(0o640)


def unpack(stack: Stack, host: Path) -> None:
    """What a stack has, as files of the host. Paths of hard links must come in one directory."""
    links: dict[int, Path] = {}
    todo = [(1, host)]
    while todo:
        ino, place = todo.pop()
        for _, name, child, mode in stack.list(ino, 0):
            path, inode = place / os.fsdecode(name), stack.inode(child)
            if inode.is_directory:
                path.mkdir()
                todo.append((child, path))
            elif stat.S_ISLNK(mode):
                path.symlink_to(os.fsdecode(inode.target))
                continue
            elif child in links:
                path.hardlink_to(links[child])
            else:
                buffer = bytearray(inode.size)
                stack.read_into(child, 0, [memoryview(buffer)])
                path.write_bytes(buffer)
                links[child] = path
            path.chmod(stat.S_IMODE(inode.mode))


# Of several reasons to refuse, which is told first may differ.
NO_PATH = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
NO_TARGET = {errno.EISDIR, errno.ENOTEMPTY, errno.ENOTDIR, errno.EINVAL}


def alike(here: int, there: int) -> bool:
    """Whether two errnos tell the same, or two of the reasons that may hold at a time."""
    return here == there or {here, there} <= NO_PATH or {here, there} <= NO_TARGET


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


def test_a_journal_cut_anywhere_is_a_state_there_was(layer: Layer, tmp_path: Path) -> None:
    host, kept, journal = tmp_path / "host", tmp_path / "kept", tmp_path / "kept" / "journal"
    host.mkdir()
    names: list[set[str]] = []
    choose = random.Random(5)
    with Stack([layer], Upper.open(kept)) as stack:
        unpack(stack, host)
        pair = Pair(stack, host)
        names.append(set(seen(stack)))
        for _ in range(500):
            pair.step(choose)
            if set(seen(stack)) != names[-1]:
                names.append(set(seen(stack)))
        whole = journal.read_bytes()
    reached = set()
    for size in [*range(0, len(whole), 131), len(whole)]:
        journal.write_bytes(whole[:size])
        with Stack([layer], Upper.open(kept)) as stack:
            found = set(seen(stack))
            assert found in names, f"cut at {size}"
            reached.add(names.index(found))
            stack.create(1, b"after the cut", stat.S_IFREG | 0o644, (0, 0))
        with Stack([layer], Upper.open(kept)) as stack:
            assert set(seen(stack)) == {*found, "after the cut"}
    assert len(reached) > len(names) // 2 > 10


@pytest.mark.parametrize("kept", [True, False])
def test_frozen_uppers_are_ground_for_new_ones(layer: Layer, tmp_path: Path, kept: bool) -> None:
    choose, host = random.Random(3), tmp_path / "host"
    host.mkdir()
    first = Upper.open(tmp_path / "kept") if kept else Upper.temporary(tmp_path)
    with Stack([layer], first) as stack:
        unpack(stack, host)
        pair = Pair(stack, host)
        for _ in range(200):
            pair.step(choose)
        numbers = {path: stack.find(path).ino for path in seen(stack)}
        then = seen(stack)
        stack.freeze(tmp_path / "frozen", Upper.temporary(tmp_path))
        assert seen(stack) == then
        for _ in range(200):
            pair.step(choose)
        now = seen(stack)
        assert now == on_host(host) != then
        frozen = Frozen(tmp_path / "frozen")
        with Stack([layer], Upper.open(tmp_path / "twin"), [frozen]) as twin:
            assert seen(twin) == then
            assert {path: twin.find(path).ino for path in then} == numbers
            twin.freeze(tmp_path / "second", Upper.temporary(tmp_path))
        pair.chmod("a", 0o700)
    grounds = [Frozen(tmp_path / "frozen"), Frozen(tmp_path / "second")]
    with Stack([layer], Upper.temporary(tmp_path), grounds) as stack:
        assert seen(stack) == then


def test_an_overgrown_journal_is_rewritten(
    layer: Layer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maquina.storage.layers.journal.COMPACT_FROM", 10_000)
    with Stack([layer], Upper.open(tmp_path / "kept")) as stack:
        for turn in range(1000):
            ino = stack.create(1, b"n%d" % turn, stat.S_IFREG | 0o644, (0, 0)).ino
            stack.write_from(ino, 0, [memoryview(b"%d" % turn)])
            stack.set_xattr(ino, b"user.turn", b"%d" % turn, 0)
            if turn >= 5:
                stack.forget(stack.remove(1, b"n%d" % (turn - 5), False))
        result = seen(stack)
    assert (tmp_path / "kept" / "journal").stat().st_size < 20_000
    with Stack([layer], Upper.open(tmp_path / "kept")) as stack:
        assert seen(stack) == result
        assert stack.xattrs(stack.find("n999").ino) == {b"user.turn": b"999"}
        assert len(list((tmp_path / "kept" / "contents").iterdir())) == 5


def test_an_upper_has_one_owner_and_one_ground(layer: Layer, tmp_path: Path) -> None:
    with Stack([layer], Upper.open(tmp_path / "kept")):
        with pytest.raises(HostError, match="in use"):
            Upper.open(tmp_path / "kept")
        with pytest.raises(HostError):
            Frozen(tmp_path / "kept")
    upper = Upper.open(tmp_path / "kept")
    with pytest.raises(StateError):
        Stack([], upper)
    upper.close()
    (tmp_path / "kept" / "journal").write_bytes(b"something else")
    upper = Upper.open(tmp_path / "kept")
    with pytest.raises(FormatError):
        Stack([layer], upper)
    upper.close()


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


def test_a_full_host_refuses_before_anything_changes(
    layer: Layer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, mode: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    with Stack([layer], Upper.open(tmp_path / "kept")) as stack:
        before = seen(stack)
        with monkeypatch.context() as patch:
            patch.setattr("maquina.storage.layers.journal.allocate", full)
            stack._table.upper.journal._reserved = 0  # type: ignore[union-attr]
            pair = Pair(stack, tmp_path)
            assert outcome(lambda: stack.rename((1, b"a"), (1, b"z"), 0)) == errno.ENOSPC
            assert outcome(lambda: stack.remove(1, b"c", False)) == errno.ENOSPC
            assert outcome(lambda: stack.create(1, b"n", stat.S_IFREG, (0, 0))) == errno.ENOSPC
            assert outcome(lambda: stack.link(stack.find("c").ino, 1, b"d")) == errno.ENOSPC
            assert pair.chmod("a", 0o123)[0] == errno.ENOSPC
            assert seen(stack) == before
        stack.rename((1, b"a"), (1, b"z"), 0)
    with Stack([layer], Upper.open(tmp_path / "kept")) as stack:
        assert "z/c/a" in seen(stack)


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
    with Stack([layer], Upper.temporary(tmp_path)) as stack:
        inos = [stack.create(1, b"n%d" % n, stat.S_IFREG, (0, 0)).ino for n in range(500)]
        for ino in [*inos, *inos]:
            stack.write_from(ino, stack.inode(ino).size, [memoryview(b"%d" % ino)])
        assert len(list(Path("/proc/self/fd").iterdir())) < 300
        for ino in inos:
            assert read(stack, f"n{ino - inos[0]}") == b"%d%d" % (ino, ino)


CHILD = """
import stat, sys
from maquina.storage.layers.layer import Layer
from maquina.storage.layers.stack import Stack
from maquina.storage.layers.upper import Upper
stack = Stack([Layer.open(sys.argv[1])], Upper.open(sys.argv[2]))
for turn in range(1_000_000):
    ino = stack.create(1, b"new", stat.S_IFREG | 0o644, (turn, 0)).ino
    stack.write_from(ino, 0, [memoryview(b"%d" % turn)])
    stack.forget(stack.rename((1, b"new"), (1, b"n%d" % (turn % 50)), 0))
    print(turn, flush=True)
"""


@pytest.mark.parametrize("count", [1, 70, 400])
def test_a_killed_process_loses_nothing_it_has_told_of(
    layer: Layer, tmp_path: Path, count: int
) -> None:
    command = [sys.executable, "-c", CHILD, str(layer.path), str(tmp_path / "kept")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as child:
        assert child.stdout is not None
        last = [int(child.stdout.readline()) for _ in range(count)][-1]
        child.kill()
    with Stack([layer], Upper.open(tmp_path / "kept")) as stack:
        for turn in range(max(0, last - 49), last + 1):
            inode = stack.find(f"n{turn % 50}")
            assert inode.uid >= turn
            assert read(stack, f"n{turn % 50}") == b"%d" % inode.uid
        assert {"a/c/a", "b/b", "suid"} <= set(seen(stack))


@pytest.mark.parametrize("seed", range(30))
def test_fuzz_frozen(layer: Layer, tmp_path: Path, seed: int) -> None:
    """A frozen upper from elsewhere is refused, or a tree of which only OSError comes."""
    choose = random.Random(seed)
    with Stack([layer], Upper.temporary(tmp_path)) as stack:
        pair = Pair(stack, tmp_path / "none")
        for path in ("d", "d/e", "d/e/f", "a/d"):
            pair.create(path, directory=True)
        stack.set_xattr(stack.find("a/a").ino, b"user.x", b"value", 0)
        stack.rename((1, b"b"), pair.place("d/e/b"), 0)
        pair.write("a/a", 10, b"data")
        stack.freeze(tmp_path / "frozen", Upper.temporary(tmp_path))
    journal = tmp_path / "frozen" / "journal"
    changes = [change for _, change in journals.read(journal.read_bytes(), journal)]
    for _ in range(choose.randrange(1, 6)):
        at = choose.randrange(1, len(changes))
        body = bytearray(changes[at].body)
        if body:
            body[choose.randrange(len(body))] = choose.choice([0, 1, 2, 3, 5, 64, 128, 255])
        kind = choose.choice([changes[at].kind] * 6 + [choose.randrange(9)])
        ino = choose.choice([changes[at].ino] * 3 + [choose.randrange(30), 1 << 63])
        changes[at] = journals.Change(kind, ino, bytes(body[: choose.choice([None, None, 5])]))
    journals.write(journal, changes)
    upper, frozen = Upper.temporary(tmp_path), Frozen(tmp_path / "frozen")
    try:
        stack = Stack([layer], upper, [frozen])
    except MaquinaError:
        upper.close()
        frozen.close()
        return
    with stack:
        inos = [*range(30), 1 << 63]
        for ino in inos:
            outcome(lambda ino=ino: list(stack.list(ino, 0)))  # type: ignore[misc]
            outcome(lambda ino=ino: stack.read_into(ino, 0, [memoryview(bytearray(9))]))  # type: ignore[misc]
            outcome(lambda ino=ino: stack.xattrs(ino))  # type: ignore[misc]
            for name in (b"a", b"b", b"d", b"e"):
                outcome(lambda ino=ino, name=name: stack.lookup(ino, name))  # type: ignore[misc]
                other = choose.choice(inos)
                outcome(lambda a=(ino, name), b=(other, b"new"): stack.rename(a, b, 0))  # type: ignore[misc]
