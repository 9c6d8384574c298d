"""A file of the merged tree, as it is now."""

from __future__ import annotations

import stat
from enum import IntEnum
from typing import Protocol

from maquina.storage.layers.format import Record

DIRECTORY_SIZE = 4096  # what a directory says its size is
FIRST_COOKIE = 3  # 1 and 2 are for "." and "..", which a directory here does not hold

Entries = dict[bytes, tuple[int, int]]  # by name: ino and cookie, in the order of cookies


class Store(Protocol):
    """Where contents are: a layer, or the numbered files of an upper."""

    def file(self, content: int, /) -> int:
        """The host file that has them."""
        ...

    def blocks(self, content: int, size: int, /) -> int:
        """How many blocks of 512 bytes `size` bytes of contents take."""
        ...


class Level(IntEnum):
    """Who knows an inode's attributes and entries best."""

    LAYER = 0  # the layers do: it can be dropped from memory and read again
    FROZEN = 1  # a frozen upper does
    CHANGED = 2  # only the present upper does


class Inode:
    """A file. Contents are `size` bytes at `offset` of file `content` in `store`, None if empty.

    `entries` and `xattrs` are None until somebody asks for them. `before` is what the entries of a
    directory were below the present upper, None while it has not changed them.
    """

    __slots__ = (
        "atime_ns", "before", "content", "ctime_ns", "entries", "gid", "ino", "level", "links",
        "mode", "mtime_ns", "next_cookie", "offset", "parent", "rdev", "size", "store", "target",
        "uid", "xattrs",
    )  # fmt: skip

    def __init__(self, ino: int, mode: int, owner: tuple[int, int], now_ns: int) -> None:
        self.ino = ino
        self.mode = mode
        self.uid, self.gid = owner
        self.atime_ns = self.mtime_ns = self.ctime_ns = now_ns
        self.links = 1
        self.rdev = self.size = self.content = self.offset = 0
        self.parent = 0  # of a directory: the inode it is in, 0 if not known yet
        self.level = Level.CHANGED
        self.store: Store | None = None
        self.target = b""
        self.xattrs: dict[bytes, bytes] | None = {}
        self.entries: Entries | None = None
        self.before: Entries | None = None
        self.next_cookie = FIRST_COOKIE
        if stat.S_ISDIR(mode):
            self.size, self.entries, self.before = DIRECTORY_SIZE, {}, {}

    @classmethod
    def of_record(cls, ino: int, record: Record, store: Store) -> Inode:
        """An inode as a layer has it."""
        inode = cls(ino, record.mode, (record.uid, record.gid), record.mtime_ns)
        inode.level = Level.LAYER
        inode.links, inode.rdev = record.links, record.rdev
        inode.xattrs = None if record.xattrs else {}
        if stat.S_ISDIR(record.mode):
            inode.entries = inode.before = None
        else:
            inode.size, inode.offset = record.size, record.offset
            inode.store = store if record.size and stat.S_ISREG(record.mode) else None
        return inode

    @property
    def blocks(self) -> int:
        """How many blocks of 512 bytes its contents take."""
        return 0 if self.store is None else self.store.blocks(self.content, self.size)

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_regular(self) -> bool:
        return stat.S_ISREG(self.mode)
