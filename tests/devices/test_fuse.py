"""The FUSE server, asked by a client that builds raw requests."""

from __future__ import annotations

import errno
import os
import random
import stat
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.devices.fuse_client import ALL_FLAGS, NO_OPEN, Client, entry

from maquina.devices import fuse_abi as abi
from maquina.devices.fuse import FuseServer
from maquina.devices.fuse_abi import Op
from maquina.devices.fuse_operations import OPERATIONS
from maquina.errors import StateError
from maquina.machine.clock import HostClock
from maquina.storage.layers.layer import Layer
from maquina.storage.layers.stack import Stack
from maquina.storage.layers.upper import Frozen, Upper
from maquina.storage.layers.writer import LayerWriter

FILE = stat.S_IFREG | 0o644


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Layer]:
    with LayerWriter(tmp_path_factory.mktemp("layers") / "base") as writer:
        writer.file("etc/motd", b"hello" * 2000, 0o644, uid=3, gid=4, mtime=99)
        writer.file("bin/su", b"x", 0o4755)
        writer.symlink("link", "etc/motd")
        writer.node("null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        writer.xattr("bin/su", "security.capability", b"cap")
        for number in range(300):
            writer.file(f"many/file{number}", b"%d" % number, 0o644)
        made = writer.finish()
    with made:
        yield made


@pytest.fixture
def stack(layer: Layer, tmp_path: Path) -> Iterator[Stack]:
    with Stack([layer], Upper.temporary(tmp_path)) as made:
        yield made


@pytest.fixture
def client(stack: Stack) -> Client:
    made = Client(FuseServer(stack, HostClock()).handle)
    made.init()
    return made


def refused(client: Client, number: int, *request: object) -> bool:
    with pytest.raises(OSError) as info:
        client.ask(*request)  # type: ignore[arg-type]
    return info.value.errno == number


def test_versions_and_flags_are_agreed_upon(stack: Stack) -> None:
    client = Client(FuseServer(stack, HostClock()).handle)
    assert refused(client, errno.EIO, Op.GETATTR, 1, bytes(16))
    assert refused(client, errno.EPROTO, Op.INIT, 0, abi.INIT_IN.pack(7, 30, 0, 0))
    newer = client.ask(Op.INIT, 0, abi.INIT_IN.pack(8, 1, 0, 0))
    assert abi.INIT_OUT.unpack(newer)[:2] == (7, abi.MINOR)
    major, minor, readahead, flags, *_, max_write, granularity, max_pages, _, _ = client.init()
    assert (major, minor, readahead) == (7, 41, 1 << 17)
    assert (max_write, granularity, max_pages) == (1 << 20, 1, 256)
    assert flags & abi.WRITEBACK_CACHE
    assert client.init(flags=abi.BIG_WRITES)[3] == abi.BIG_WRITES


@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_files_are_found_and_read(stack: Stack, pieces: int) -> None:
    client = Client(FuseServer(stack, HostClock()).handle, pieces)
    client.init()
    motd = client.lookup("etc/motd")
    assert motd[1:] == (10_000, FILE, 1, 3, 4, 0, 99)
    assert client.read(motd.node, 3, 100) == (b"hello" * 2000)[3:103]
    assert client.read(motd.node, 9_990, 100) == b"hello" * 2
    assert client.read(motd.node, 10_000, 100) == b""
    assert client.read(motd.node, 0, 1 << 20, room=8192) == (b"hello" * 2000)[:8192]
    assert client.ask(Op.READLINK, client.lookup("link").node) == b"etc/motd"
    assert client.lookup("null").rdev == os.makedev(1, 3)
    assert client.getattr(1).mode == stat.S_IFDIR | 0o755


def test_what_is_not_there_is_remembered(client: Client) -> None:
    answer = abi.ENTRY_OUT.unpack(client.ask(Op.LOOKUP, 1, b"nothing\0"))
    assert answer[0] == 0
    assert answer[2] > 1 << 20
    assert refused(client, errno.ENOTDIR, Op.LOOKUP, client.lookup("link").node, b"x\0")
    assert client.entry(Op.LOOKUP, client.lookup("etc").node, b"..\0").node == 1


@pytest.mark.parametrize("name", [b"a/b", b"", b"..", b".", b"n" * 256, b"a\0b"])
def test_names_are_single_components(client: Client, name: bytes) -> None:
    body = abi.MKNOD_IN.pack(FILE, 0, 0) + name + b"\0"
    number = errno.ENAMETOOLONG if len(name) > 255 else errno.EINVAL
    assert refused(client, number, Op.MKNOD, 1, body)
    assert refused(client, errno.EINVAL, Op.MKNOD, 1, body[:-1])
    assert refused(client, number, Op.RENAME2, 1, struct.pack("<QQ", 1, 0) + b"x\0" + name + b"\0")


@pytest.mark.parametrize("plus", [False, True])
@pytest.mark.parametrize("room", [200, 4096, 1 << 20])
def test_directories_are_listed_in_parts(client: Client, plus: bool, room: int) -> None:
    node = client.lookup("many").node
    names = client.names(node, room, plus=plus)
    assert names[:2] == [b".", b".."]
    assert sorted(names[2:]) == sorted(b"file%d" % number for number in range(300))


def test_files_are_made_written_and_removed(client: Client, stack: Stack) -> None:
    made = client.create(1, b"new", FILE)
    assert (made.uid, made.gid, made.links) == (1000, 100, 1)
    assert client.write(made.node, 5, b"data") == 4
    assert client.read(made.node, 0, 100) == b"\0\0\0\0\0data"
    linked = client.entry(Op.LINK, 1, struct.pack("<Q", made.node) + b"other\0")
    assert (linked.node, linked.links) == (made.node, 2)
    client.ask(Op.UNLINK, 1, b"new\0")
    client.ask(Op.RENAME, 1, struct.pack("<Q", 1) + b"other\0third\0")
    client.ask(Op.UNLINK, 1, b"third\0")
    assert client.getattr(made.node).links == 0
    assert client.read(made.node, 5, 100) == b"data"
    client.forget(made.node, 1)
    assert client.getattr(made.node).size == 9
    client.forget(made.node, 1)
    assert refused(client, errno.ESTALE, Op.GETATTR, made.node, bytes(16))
    assert not list((stack._table.upper.path / "contents").iterdir())


def test_directories_symlinks_and_devices_are_made(client: Client) -> None:
    folder = client.entry(Op.MKDIR, 1, abi.MKDIR_IN.pack(0o750, 0) + b"folder\0")
    assert folder.mode == stat.S_IFDIR | 0o750
    link = client.entry(Op.SYMLINK, folder.node, b"link\0some/where\0")
    assert client.ask(Op.READLINK, link.node) == b"some/where"
    tty = client.create(folder.node, b"tty", stat.S_IFCHR | 0o620, os.makedev(4, 64))
    assert (tty.mode, tty.rdev) == (stat.S_IFCHR | 0o620, os.makedev(4, 64))
    assert refused(client, errno.ENOTEMPTY, Op.RMDIR, 1, b"folder\0")
    assert refused(client, errno.EISDIR, Op.UNLINK, 1, b"folder\0")
    for name in (b"link\0", b"tty\0"):
        client.ask(Op.UNLINK, folder.node, name)
    client.ask(Op.RMDIR, 1, b"folder\0")
    body = abi.MKNOD_IN.pack(stat.S_IFDIR, 0, 0) + b"x\0"
    assert refused(client, errno.EINVAL, Op.MKNOD, 1, body)
    target = b"t" * 5000
    assert refused(client, errno.ENAMETOOLONG, Op.SYMLINK, 1, b"long\0" + target + b"\0")


def test_attributes_are_set(client: Client) -> None:
    node = client.lookup("bin/su").node
    assert client.setattr(node, abi.FATTR_MTIME, mtime=-5, mtimensec=7).mtime == -5
    assert client.setattr(node, abi.FATTR_UID | abi.FATTR_GID, uid=8, gid=9)[2:6] == (
        stat.S_IFREG | 0o755, 1, 8, 9,
    )  # fmt: skip
    assert client.setattr(node, abi.FATTR_MODE, mode=0o4711).mode == stat.S_IFREG | 0o4711
    assert client.setattr(node, abi.FATTR_SIZE, size=100).size == 100
    assert client.read(node, 0, 200) == b"x" + bytes(99)
    before = time.time() - 1
    assert client.setattr(node, abi.FATTR_MTIME_NOW).mtime >= before
    assert client.setattr(node, abi.FATTR_KILL_SUIDGID).mode == stat.S_IFREG | 0o711
    assert refused(client, errno.ENODATA, *xattr_request(node, b"security.capability"))


def xattr_request(node: int, name: bytes, size: int = 64) -> tuple[int, int, bytes]:
    return Op.GETXATTR, node, abi.GETXATTR_IN.pack(size) + name + b"\0"


def test_extended_attributes(client: Client) -> None:
    node = client.lookup("bin/su").node
    assert client.ask(*xattr_request(node, b"security.capability")) == b"cap"
    sized = client.ask(*xattr_request(node, b"security.capability", 0))
    assert abi.GETXATTR_OUT.unpack(sized) == (3,)
    assert refused(client, errno.ERANGE, *xattr_request(node, b"security.capability", 2))
    assert refused(client, errno.EOPNOTSUPP, *xattr_request(node, b"system.posix_acl_access"))
    client.ask(Op.SETXATTR, node, abi.SETXATTR_IN.pack(4, 0, 0) + b"user.a/b\0val\0")
    assert client.ask(*xattr_request(node, b"user.a/b")) == b"val\0"
    names = client.ask(Op.LISTXATTR, node, abi.GETXATTR_IN.pack(100))
    assert set(names.split(b"\0")) == {b"security.capability", b"user.a/b", b""}
    client.ask(Op.REMOVEXATTR, node, b"user.a/b\0")
    assert refused(client, errno.ENODATA, *xattr_request(node, b"user.a/b"))
    large = abi.SETXATTR_IN.pack(1 << 17, 0, 0) + b"user.x\0" + bytes(1 << 17)
    assert refused(client, errno.EINVAL, Op.SETXATTR, node, large)
    client.init(flags=0)
    node = client.lookup("bin/su").node
    client.ask(Op.SETXATTR, node, abi.SETXATTR_IN_SHORT.pack(3, 1) + b"user.s\0abc")
    assert client.ask(*xattr_request(node, b"user.s")) == b"abc"


def test_opening_is_for_those_who_must(client: Client) -> None:
    for op in (Op.OPEN, Op.OPENDIR, Op.CREATE):
        assert refused(client, errno.ENOSYS, op, 1, bytes(16) + b"x\0")
    client.init(flags=ALL_FLAGS & ~NO_OPEN)
    body = abi.CREATE_IN.pack(0, 0o600, 0, 0) + b"made\0"
    answer = client.ask(Op.CREATE, 1, body)
    made = entry(answer)
    assert made.mode == stat.S_IFREG | 0o600
    assert abi.OPEN_OUT.unpack(answer[abi.ENTRY_OUT.size :])[0] == 0
    client.ask(Op.OPEN, made.node, bytes(8))
    client.ask(Op.OPENDIR, 1, bytes(8))
    client.ask(Op.RELEASE, made.node, bytes(24))
    client.ask(Op.RELEASEDIR, 1, bytes(24))


def test_unnamed_files_get_names(client: Client) -> None:
    made = entry(client.ask(Op.TMPFILE, 1, abi.CREATE_IN.pack(0, 0o600, 0, 0) + b"/\0"))
    assert made.links == 0
    client.write(made.node, 0, b"abc")
    client.entry(Op.LINK, 1, struct.pack("<Q", made.node) + b"named\0")
    assert client.lookup("named")[:4] == (made.node, 3, stat.S_IFREG | 0o600, 1)


def test_ranges(client: Client) -> None:
    node = client.create(1, b"sparse", FILE).node
    client.write(node, 1 << 20, b"end")
    (at,) = abi.LSEEK_OUT.unpack(client.ask(Op.LSEEK, node, abi.LSEEK_IN.pack(0, 0, os.SEEK_DATA)))
    assert at == 1 << 20
    client.ask(Op.FALLOCATE, node, abi.FALLOCATE_IN.pack(0, 2 << 20, 4096, 0))
    assert client.getattr(node).size == (2 << 20) + 4096
    copy = abi.COPY_FILE_RANGE_IN.pack(0, 1 << 20, node, 0, 10, 3, 0)
    assert abi.WRITE_OUT.unpack(client.ask(Op.COPY_FILE_RANGE, node, copy)) == (3,)
    assert abi.COPY_FILE_RANGE_OUT.unpack(client.ask(Op.COPY_FILE_RANGE_64, node, copy)) == (3,)
    assert client.read(node, 8, 8) == b"\0\0end\0\0\0"
    huge = abi.READ_IN.pack(0, 1 << 63, 10, 0, 0, 0)
    assert refused(client, errno.EINVAL, Op.READ, node, huge)


def test_statistics_and_syncing(client: Client, layer: Layer, tmp_path: Path) -> None:
    blocks, free, _, files, free_files, size, longest, _ = abi.STATFS_OUT.unpack(
        client.ask(Op.STATFS, 1)
    )
    assert blocks >= free > 0
    assert files > free_files > 0
    assert (size, longest) == (4096, 255)
    for op in (Op.FSYNC, Op.FSYNCDIR, Op.SYNCFS):
        assert refused(client, errno.ENOSYS, op, 1, bytes(16))
    with Stack([layer], Upper.open(tmp_path / "kept")) as kept:
        client = Client(FuseServer(kept, HostClock()).handle)
        client.init()
        node = client.create(1, b"f", FILE).node
        client.write(node, 0, b"data")
        for op in (Op.FSYNC, Op.SYNCFS):
            assert client.ask(op, node, bytes(16)) == b""


def test_forgetting_many_at_once(client: Client, stack: Stack) -> None:
    nodes = [client.create(1, b"n%d" % number, FILE).node for number in range(10)]
    for number in range(10):
        client.ask(Op.UNLINK, 1, b"n%d\0" % number)
    pairs = b"".join(struct.pack("<QQ", node, 1) for node in nodes)
    body = abi.BATCH_FORGET_IN.pack(10) + pairs
    assert client.ask_raw(Op.BATCH_FORGET, 0, body, 0) is None
    for node in nodes:
        assert refused(client, errno.ESTALE, Op.GETATTR, node, bytes(16))
    assert client.ask_raw(Op.BATCH_FORGET, 0, abi.BATCH_FORGET_IN.pack(1 << 31) + b"x", 0) is None
    assert client.ask_raw(Op.INTERRUPT, 0, bytes(8), 0) is None
    client.ask(Op.DESTROY, 0)
    assert refused(client, errno.EIO, Op.GETATTR, 1, bytes(16))


def test_a_session_goes_on_after_a_restore(stack: Stack, client: Client) -> None:
    server = FuseServer(stack, HostClock())
    client = Client(server.handle)
    client.init()
    node = client.create(1, b"open", FILE).node
    client.write(node, 0, b"still there")
    client.ask(Op.UNLINK, 1, b"open\0")
    state = server.save()
    other = FuseServer(stack, HostClock())
    other.restore(state)
    client = Client(other.handle)
    assert client.read(node, 0, 100) == b"still there"
    client.forget(node, 1)
    with pytest.raises(StateError):
        FuseServer(stack, HostClock()).restore(state)
    for wrong in (
        {},
        {**state, "references": b"x"},
        {**state, "flags": -1},
        {**state, "flags": ""},
    ):
        with pytest.raises(StateError):
            other.restore(wrong)


def test_a_fork_goes_on_with_what_was_open(layer: Layer, stack: Stack, tmp_path: Path) -> None:
    server = FuseServer(stack, HostClock())
    client = Client(server.handle)
    client.init()
    nodes = [client.create(1, b"open%d" % number, FILE).node for number in range(3)]
    for node in nodes:
        client.write(node, 0, b"contents")
    client.ask(Op.UNLINK, 1, b"open0\0")
    stack.freeze(tmp_path / "frozen", Upper.temporary(tmp_path))
    state = server.save()
    twins = [Upper.temporary(tmp_path), Upper.open(tmp_path / "kept")]
    for upper in twins:
        with Stack([layer], upper, [Frozen(tmp_path / "frozen")]) as other:
            fork = FuseServer(other, HostClock())
            fork.restore(state)
            twin = Client(fork.handle)
            assert [twin.read(node, 0, 100) for node in nodes] == [b"contents"] * 3
            assert [twin.getattr(node).links for node in nodes] == [0, 1, 1]
            twin.write(nodes[0], 0, b"changed!")
            assert twin.read(nodes[0], 0, 100) == b"changed!"
    assert client.read(nodes[0], 0, 100) == b"contents"


def test_too_little_room_begins_nothing(client: Client, stack: Stack) -> None:
    body = abi.MKNOD_IN.pack(FILE, 0, 0) + b"new\0"
    with pytest.raises(OSError, match="Invalid"):
        client.ask(Op.MKNOD, 1, body, room=100)
    with pytest.raises(OSError, match="no such"):
        stack.find("new")
    server = FuseServer(stack, HostClock())
    assert server.handle([], []) == 0
    assert server.handle([memoryview(bytes(39))], [memoryview(bytearray(100))]) == 0
    header = memoryview(abi.IN_HEADER.pack(40, Op.GETATTR, 1, 1, 0, 0, 0, 0))
    assert server.handle([header], [memoryview(bytearray(15))]) == 0
    assert server.handle([header], [memoryview(bytearray(16))]) == 16


def fuzzed(choose: random.Random) -> tuple[int, int, bytes, int]:
    """A request that may make sense in part."""
    op = choose.choice([*OPERATIONS, *OPERATIONS, choose.randrange(60), choose.getrandbits(32)])
    if op in (Op.DESTROY, Op.INIT) and choose.random() < 0.9:
        op = Op.LOOKUP
    node = choose.choice([1, 2, 3, 4, 310, choose.randrange(400), choose.getrandbits(64)])
    words = [0, 1, 1, 2, 3, 7, 4096, 1 << 31, 1 << 63, choose.getrandbits(64), stat.S_IFREG | 420]
    operation = OPERATIONS.get(op)
    size = operation.body if operation else 16
    body = b"".join(struct.pack("<Q", choose.choice(words)) for _ in range(size // 8 + 1))[:size]
    names = [b"etc\0", b"many\0", b"a\0", b"b\0", b"c\0", b"..\0", b"\0", b"/\0", b"x" * 300, b""]
    body += b"".join(choose.choices(names, k=choose.choice([0, 1, 1, 2, 2, 3])))
    return (
        op,
        node,
        body[: choose.choice([None, None, None, choose.randrange(64)])],
        choose.choice([0, 10, 100, 128, 200, 4096, 70_000]),
    )


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kept", [True, False])
def test_fuzz(layer: Layer, tmp_path: Path, seed: int, kept: bool) -> None:
    """Whatever is asked, an answer is well-formed, the tree whole, and the host safe.

    Whole: every entry leads to a file that has as many links as there are entries for it.
    """
    choose = random.Random(seed)
    upper = Upper.open(tmp_path / "u", 1 << 24) if kept else Upper.temporary(tmp_path, 1 << 24)
    with Stack([layer], upper) as stack:
        server = FuseServer(stack, HostClock())
        client = Client(server.handle)
        client.init()
        for number in range(2500):
            client.pieces = choose.choice([1, 2, 3, 9])
            try:
                client.ask_raw(*fuzzed(choose))
            except OSError:
                continue
            except Exception as error:
                raise AssertionError(f"seed {seed}, request {number}") from error
        check_whole(stack)
        server.restore(server.save())
    assert {path.name for path in tmp_path.iterdir()} <= {"u"}
    if kept:
        with Stack([layer], Upper.open(tmp_path / "u")) as stack:
            check_whole(stack)


def check_whole(stack: Stack) -> None:
    counts: dict[int, int] = {}
    todo = [1]
    for ino in todo:
        for _, _, child, mode in stack.list(ino, 0):
            counts[child] = counts.get(child, 0) + 1
            if stat.S_ISDIR(mode):
                assert stack.parent(child) == ino
                todo.append(child)
    for ino, count in counts.items():
        assert stack.inode(ino).links == count


def test_a_request_takes_microseconds(client: Client) -> None:
    """Not a benchmark: a bound far above what it takes (under 50 µs), far below what hurts."""
    node = client.lookup("etc/motd").node
    start, count = time.perf_counter(), 2000
    for _ in range(count):
        client.read(node, 0, 4096)
    assert (time.perf_counter() - start) / count < 1e-3
