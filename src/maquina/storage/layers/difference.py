"""What a stack has besides its layers, written down as one more layer.

A layer costs nothing to open, however much is in it, and has what is wanted of the changes only:
so this is what becomes of a stack that later ones are to begin with. Times are kept to the second.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from stat import S_ISLNK
from typing import TYPE_CHECKING

from maquina.errors import FormatError
from maquina.storage.layers.inode import Inode, Level
from maquina.storage.layers.layer import Layer
from maquina.storage.layers.union import ROOT, Union
from maquina.storage.layers.writer import LayerWriter

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from maquina.storage.layers.stack import Stack

# Contents in one difference. A guest may make a file that is all hole, longer than the host's
# disk; a layer has no holes.
DEFAULT_LIMIT = 1 << 30
NANOSECONDS = 1_000_000_000

Keeps = Callable[[bytes, int], bool]  # a path, and the inode there now, 0 if it is gone


def everything(path: bytes, ino: int) -> bool:
    """Keep all that was changed."""
    del path, ino
    return True


def write_difference(
    stack: Stack,
    layers: Sequence[Layer],
    writer: LayerWriter,
    keeps: Keeps = everything,
    limit_bytes: int = DEFAULT_LIMIT,
) -> None:
    """Write all that differs from `layers`, those of the stack, and that `keeps` says yes to.

    What it says no to stays as the layers have it, with everything below. FormatError if there is
    more than `limit_bytes`.
    """
    _Difference(stack, layers, writer, keeps, limit_bytes).write()


class _Difference:
    def __init__(
        self,
        stack: Stack,
        layers: Sequence[Layer],
        writer: LayerWriter,
        keeps: Keeps,
        limit_bytes: int,
    ) -> None:
        self._stack, self._writer, self._keeps = stack, writer, keeps
        self._union = Union(layers)
        self._room = limit_bytes
        self._names: dict[int, bytes] = {}  # of files written, for their other names
        # Directories to look into: path, number, and whether the layers have it at this path. A
        # list, for a guest may put more of them in one another than Python allows calls.
        self._todo: list[tuple[bytes, int, bool]] = [(b"", ROOT, True)]

    def write(self) -> None:
        self._write(b"", self._stack.inode(ROOT), is_new=False)
        while self._todo:
            path, ino, is_below = self._todo.pop()
            prefix = path + b"/" if path else b""
            before = self._union.entries(ino) if is_below else {}
            now = {name: child for _, name, child, _ in self._stack.list(ino, 0)}
            for name in before.keys() - now.keys():
                if self._keeps(prefix + name, 0):
                    self._writer.whiteout(prefix + name)
            for name, child in sorted(now.items()):
                if self._keeps(prefix + name, child):
                    self._compare(prefix + name, child, before.get(name))

    def _compare(self, path: bytes, ino: int, before: int | None) -> None:
        """One name: the inode it has now, and the layers' inode if it has one."""
        inode, is_new = self._stack.inode(ino), ino != before
        if is_new and before is not None:
            self._writer.whiteout(path)
        self._write(path, inode, is_new)
        if inode.is_directory:
            self._todo.append((path, ino, not is_new))

    def _write(self, path: bytes, inode: Inode, is_new: bool) -> None:
        if not is_new and inode.level is Level.LAYER:
            return
        writer, uid, gid = self._writer, inode.uid, inode.gid
        mtime = inode.mtime_ns // NANOSECONDS
        if inode.is_directory:
            writer.directory(path, inode.mode, uid, gid, mtime)
        elif inode.ino in self._names:
            writer.hardlink(path, self._names[inode.ino])
            return
        elif inode.is_regular:
            self._room -= inode.size
            if self._room < 0:
                raise FormatError("more was written than one layer may have")
            contents = io.BufferedReader(_Contents(self._stack, inode.ino))
            writer.file(path, contents, inode.mode, uid, gid, mtime)
        elif S_ISLNK(inode.mode):
            writer.symlink(path, inode.target, uid, gid, mtime)
        else:
            writer.node(path, inode.mode, inode.rdev, uid, gid, mtime)
        if not inode.is_directory:
            self._names[inode.ino] = path
        for name, value in self._stack.xattrs(inode.ino).items():
            writer.xattr(path, name, value)


class _Contents(io.RawIOBase):
    """A file of a stack, to read from its beginning to its end."""

    def __init__(self, stack: Stack, ino: int) -> None:
        super().__init__()
        self._stack, self._ino, self._at = stack, ino, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        size = self._stack.read_into(self._ino, self._at, [memoryview(buffer)])
        self._at += size
        return size
