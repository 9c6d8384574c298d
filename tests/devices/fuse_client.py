"""A guest's kernel as far as FUSE goes: it builds raw requests and takes answers apart."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from maquina.devices import fuse_abi as abi
from maquina.devices.fuse_abi import Op

ALL_FLAGS = (1 << 30) - 1
NO_OPEN = abi.NO_OPEN_SUPPORT | abi.NO_OPENDIR_SUPPORT


class Entry(NamedTuple):
    node: int
    size: int
    mode: int
    links: int
    uid: int
    gid: int
    rdev: int
    mtime: int


class Client:
    """Requests through `handle`, cut into `pieces` buffers each way."""

    def __init__(
        self, handle: Callable[[Sequence[memoryview], Sequence[memoryview]], int], pieces: int = 2
    ) -> None:
        self.handle, self.pieces, self.unique = handle, pieces, 0

    def ask(self, op: int, node: int = 1, body: bytes = b"", room: int = 4096) -> bytes:
        """The body of the answer; OSError if that is it."""
        answer = self.ask_raw(op, node, body, room)
        assert answer is not None
        return answer

    def ask_raw(self, op: int, node: int, body: bytes, room: int) -> bytes | None:
        """As `ask`; None if there is no answer."""
        self.unique += 1
        header = abi.IN_HEADER.pack(
            abi.IN_HEADER.size + len(body), op, self.unique, node, 1000, 100, 1, 0
        )
        space = bytearray(abi.OUT_HEADER.size + room)
        length = self.handle(
            cut(memoryview(header + body), self.pieces), cut(memoryview(space), self.pieces)
        )
        if not length:
            return None
        told, error, unique = abi.OUT_HEADER.unpack_from(space)
        assert (told, unique) == (length, self.unique)
        assert not any(space[length:])
        if error:
            assert length == abi.OUT_HEADER.size
            assert -4096 < error < 0
            raise OSError(-error, os.strerror(-error))
        return bytes(space[abi.OUT_HEADER.size : length])

    def init(self, flags: int = ALL_FLAGS, minor: int = 41) -> tuple[int, ...]:
        body = abi.INIT_IN.pack(7, minor, 1 << 17, flags) + bytes(48)
        return abi.INIT_OUT.unpack(self.ask(Op.INIT, 0, body))

    def entry(self, op: int, node: int, body: bytes) -> Entry:
        return entry(self.ask(op, node, body))

    def lookup(self, path: str) -> Entry:
        found = Entry(1, 0, 0, 0, 0, 0, 0, 0)
        for name in path.split("/"):
            found = self.entry(Op.LOOKUP, found.node, name.encode() + b"\0")
        return found

    def create(self, node: int, name: bytes, mode: int, rdev: int = 0) -> Entry:
        return self.entry(Op.MKNOD, node, abi.MKNOD_IN.pack(mode, rdev, 0) + name + b"\0")

    def write(self, node: int, offset: int, data: bytes, flags: int = 0) -> int:
        body = abi.WRITE_IN.pack(0, offset, len(data), flags, 0, 0) + data
        size: int = abi.WRITE_OUT.unpack(self.ask(Op.WRITE, node, body))[0]
        return size

    def read(self, node: int, offset: int, size: int, room: int | None = None) -> bytes:
        body = abi.READ_IN.pack(0, offset, size, 0, 0, 0)
        return self.ask(Op.READ, node, body, size if room is None else room)

    def getattr(self, node: int) -> Entry:
        fields = abi.ATTR_OUT.unpack(self.ask(Op.GETATTR, node, bytes(16)))
        return attributes(fields[2:])

    def setattr(self, node: int, valid: int, **values: int) -> Entry:
        names = (
            "fh", "size", "lock_owner", "atime", "mtime", "ctime", "atimensec", "mtimensec",
            "ctimensec", "mode", "uid", "gid",
        )  # fmt: skip
        body = abi.SETATTR_IN.pack(valid, *(values.get(name, 0) for name in names))
        return attributes(abi.ATTR_OUT.unpack(self.ask(Op.SETATTR, node, body))[2:])

    def names(self, node: int, room: int = 4096, *, plus: bool = False) -> list[bytes]:
        """A directory's names, "." and ".." too, in as many requests as it takes."""
        found, offset = [], 0
        while chunk := self.entries(node, offset, room, plus=plus):
            found += [name for _, name, _ in chunk]
            offset = chunk[-1][0]
        return found

    def entries(
        self, node: int, offset: int, room: int, *, plus: bool = False
    ) -> list[tuple[int, bytes, int]]:
        """One request's entries: cookie, name and node."""
        body = abi.READ_IN.pack(0, offset, room, 0, 0, 0)
        data = self.ask(Op.READDIRPLUS if plus else Op.READDIR, node, body, room)
        found, at = [], 0
        while at < len(data):
            at += abi.ENTRY_OUT.size if plus else 0
            ino, cookie, length, _ = abi.DIRENT.unpack_from(data, at)
            at += abi.DIRENT.size
            found.append((cookie, data[at : at + length], ino))
            at += length + -length % 8
        return found

    def forget(self, node: int, count: int) -> None:
        assert self.ask_raw(Op.FORGET, node, struct.pack("<Q", count), 0) is None


def entry(data: bytes) -> Entry:
    fields = abi.ENTRY_OUT.unpack_from(data)
    found = attributes(fields[6:])
    assert found.node == fields[0]
    return found


def attributes(fields: Sequence[int]) -> Entry:
    ino, size, _, _, mtime, _, _, _, _, mode, links, uid, gid, rdev, _, _ = fields
    return Entry(ino, size, mode, links, uid, gid, rdev, mtime)


def cut(view: memoryview, pieces: int) -> list[memoryview]:
    """A buffer in pieces; of two, the first has the header, as Linux makes it."""
    if pieces == 2:
        at = 40 if len(view) >= 40 and view.readonly else 16
        return [part for part in (view[:at], view[at:]) if len(part)]
    edges = [len(view) * at // pieces for at in range(pieces + 1)]
    return [view[low:high] for low, high in pairwise(edges)]
