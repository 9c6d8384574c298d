"""Making a layer, entry by entry, as an archive is unpacked.

Contents go straight into `data`; the tree is kept in memory until `finish` writes the table and
lets the layer appear: readers see a whole one or none, whenever the writer is killed.
"""

from __future__ import annotations

import hashlib
import os
import stat
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from maquina.errors import FormatError, HostError
from maquina.storage.layers.beside import Beside
from maquina.storage.layers.format import (
    DATA_NAME,
    HEADER,
    IMPLICIT,
    MAGIC,
    MAX_NAME,
    MAX_TARGET,
    OPAQUE,
    RECORD,
    TABLE_NAME,
    WHITEOUT,
    pack_xattrs,
)
from maquina.storage.layers.layer import Layer
from maquina.storage.layers.union import Union

Name = bytes | str | os.PathLike[str]

CHUNK = 1 << 20
ALIGN_FROM = 1 << 16  # contents of this size begin on a page, so that file systems can share them
PAGE = 4096
MAX_ID = 0xFFFF_FFFF  # owners and times have no bounds in an archive, but here
MAX_TIME = 1 << 33  # seconds before and after 1970
MAX_LINKS = 40  # symlinks followed in one path, as in Linux; an archive may have loops of them


class Entry:
    """An inode of the layer being made. `children` is None unless it is a directory."""

    __slots__ = (
        "children", "flags", "gid", "links", "mode", "mtime_ns",
        "number", "offset", "parent", "rdev", "size", "target", "uid", "xattrs",
    )  # fmt: skip

    def __init__(self, mode: int, uid: int, gid: int, mtime: int) -> None:
        self.mode, self.uid, self.gid = mode, uid & MAX_ID, gid & MAX_ID
        self.mtime_ns = max(-MAX_TIME, min(mtime, MAX_TIME)) * 1_000_000_000
        self.rdev = self.size = self.offset = self.flags = self.links = self.parent = 0
        self.number = -1
        self.target = b""
        self.xattrs: dict[bytes, bytes] = {}
        self.children: dict[bytes, Entry | None] | None = {} if stat.S_ISDIR(mode) else None

    def enter(self, name: bytes) -> Entry:
        """What a directory has under a name; an implicit directory is made if it has nothing."""
        assert self.children is not None
        child = self.children.get(name)
        if child is None:
            child = Entry(stat.S_IFDIR | 0o755, 0, 0, 0)
            child.flags = IMPLICIT | OPAQUE if name in self.children else IMPLICIT
            self.children[name] = child
        return child

    def adopt(self, old: Entry) -> None:
        """Take over what a directory described again keeps."""
        self.children, self.xattrs, self.flags = old.children, old.xattrs, old.flags & OPAQUE


class LayerWriter:
    """A layer in the making, to appear as the directory `path`.

    Paths are relative, of any bytes but NUL; a leading "/" or "./" is ignored. Missing parents are
    made, the last write to a path wins, and symlinks on the way are followed inside the tree
    (`bin -> usr/bin`), those of the layers `below` too. A `directory` where a symlink to one is
    leaves the symlink, as dpkg does. Times are seconds. FormatError for a path that an archive
    should not have: with "..", or below something that is not a directory.
    """

    def __init__(self, path: str | os.PathLike[str], below: Sequence[Layer] = ()) -> None:
        self.path = Path(path)
        self._below = Union(below)
        self._links_below: dict[tuple[bytes, ...], bytes] = {}
        self._root = Entry(stat.S_IFDIR | 0o755, 0, 0, 0)
        self._root.flags = IMPLICIT
        self._size = 0
        self._digest = hashlib.sha256()
        try:
            self._beside = Beside(self.path)
            self._data = (self._beside.path / DATA_NAME).open("wb", buffering=CHUNK)
        except OSError as error:
            raise _refused(self.path, error) from error

    def __enter__(self) -> LayerWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abort()

    def directory(self, path: Name, mode: int, uid: int = 0, gid: int = 0, mtime: int = 0) -> None:
        """A directory. One that is there already keeps its entries and gets these attributes."""
        parts = _split(path)
        new = Entry(stat.S_IFDIR | stat.S_IMODE(mode), uid, gid, mtime)
        if not parts:
            new.adopt(self._root)
            self._root = new
        elif not self._leads_to_directory(parts):
            place, name = self._parent(parts), parts[-1]
            old = place.get(name)
            if old is not None and old.children is not None:
                new.adopt(old)
            elif name in place:
                new.flags = OPAQUE
            place[name] = new

    def file(
        self,
        path: Name,
        data: bytes | BinaryIO,
        mode: int,
        uid: int = 0,
        gid: int = 0,
        mtime: int = 0,
    ) -> None:
        """A regular file. A stream is read to its end."""
        entry = Entry(stat.S_IFREG | stat.S_IMODE(mode), uid, gid, mtime)
        entry.offset, entry.size = self._store(data)
        self._put(path, entry)

    def symlink(
        self, path: Name, target: Name, uid: int = 0, gid: int = 0, mtime: int = 0
    ) -> None:
        """A symbolic link; its target is stored as it is."""
        entry = Entry(stat.S_IFLNK | 0o777, uid, gid, mtime)
        entry.target = os.fsencode(target)
        if not 0 < len(entry.target) <= MAX_TARGET or 0 in entry.target:
            raise FormatError(f"{_shown(path)} is a symlink to {_shown(target)}")
        entry.size = len(entry.target)
        self._put(path, entry)

    def hardlink(self, path: Name, existing: Name) -> None:
        """Another name for something already in this layer that is not a directory."""
        entry = self._find(existing)
        if entry.children is not None:
            raise FormatError(f"{_shown(path)} is a hard link to a directory")
        self._put(path, entry)

    def node(
        self, path: Name, mode: int, rdev: int = 0, uid: int = 0, gid: int = 0, mtime: int = 0
    ) -> None:
        """A device, FIFO or socket: `mode` has the type, `rdev` is as in `os.makedev`."""
        entry = Entry(mode, uid, gid, mtime)
        entry.rdev = rdev
        if stat.S_IFMT(mode) not in (stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK):
            raise ValueError(f"{mode:#o} is no device, FIFO or socket")
        self._put(path, entry)

    def xattr(self, path: Name, name: Name, value: bytes) -> None:
        """An extended attribute of something already in this layer."""
        if len(os.fsencode(name)) > MAX_NAME:
            raise FormatError(f"an extended attribute of {_shown(path)} has too long a name")
        self._find(path).xattrs[os.fsencode(name)] = value

    def whiteout(self, path: Name) -> None:
        """Hide what lower layers have at `path`; what this layer has there stays."""
        parts = _split(path)
        if not parts:
            self._root.flags |= OPAQUE
            return
        place = self._parent(parts)
        entry = place.setdefault(parts[-1], None)
        if entry is not None and entry.children is not None:
            entry.flags |= OPAQUE

    def opaque(self, path: Name) -> None:
        """Hide what lower layers have in the directory `path`."""
        parts = _split(path)
        entry = self._walk(parts) if parts else self._root
        entry.flags |= OPAQUE

    def finish(self) -> Layer:
        """Write the table and let the layer appear; returns it open.

        If another process has finished the same layer meanwhile, its one stays and is returned.
        """
        try:
            self._write()
            self._beside.appear()
        except OSError as error:
            raise _refused(self.path, error) from error
        finally:
            self.abort()
        return Layer.open(self.path)

    def abort(self) -> None:
        """Remove what was made. Does nothing after `finish`."""
        self._data.close()
        self._beside.discard()

    def _put(self, path: Name, entry: Entry) -> None:
        parts = _split(path)
        if not parts:
            raise FormatError("the root of a layer is a directory")
        self._parent(parts)[parts[-1]] = entry

    def _find(self, path: Name) -> Entry:
        parts = _split(path)
        entry = self._parent(parts).get(parts[-1]) if parts else self._root
        if entry is None:
            raise FormatError(f"there is no {_shown(path)} in this layer")
        return entry

    def _parent(self, parts: list[bytes]) -> dict[bytes, Entry | None]:
        """The directory that the last of `parts` is in, made if it is missing."""
        children = self._walk(parts[:-1]).children
        assert children is not None
        return children

    def _walk(self, parts: list[bytes]) -> Entry:
        """The directory at a path, following symlinks, making what is missing."""
        return self._resolve(parts)[0]

    def _resolve(self, parts: list[bytes]) -> tuple[Entry, tuple[bytes, ...]]:
        """What `_walk` answers, and the path it has without symlinks."""
        todo, at, names, followed = parts[::-1], [self._root], list[bytes](), 0
        while todo:
            name = todo.pop()
            if name == b"..":
                del at[max(1, len(at) - 1) :], names[-1:]
                continue
            target = self._target(at[-1], (*names, name))
            if target:
                followed += 1
                if followed > MAX_LINKS:
                    raise FormatError(f"{_joined(parts)} is a loop of symlinks")
                if target.startswith(b"/"):
                    del at[1:], names[:]
                todo += [part for part in target.split(b"/") if part not in (b"", b".")][::-1]
                continue
            child = at[-1].enter(name)
            if child.children is None:
                raise FormatError(f"{_joined(parts)} is below something that is no directory")
            at.append(child)
            names.append(name)
        return at[-1], tuple(names)

    def _target(self, place: Entry, path: tuple[bytes, ...]) -> bytes:
        """Where the symlink at a path points, in this layer or below; empty if none is there."""
        children = place.children or {}
        if path[-1] in children:
            entry = children[path[-1]]
            return entry.target if entry is not None else b""
        if path not in self._links_below:
            self._links_below[path] = self._below.link(path)
        return self._links_below[path]

    def _leads_to_directory(self, parts: list[bytes]) -> bool:
        """Whether a symlink is at a path, and a directory where it points."""
        place, path = self._resolve(parts[:-1])
        if not self._target(place, (*path, parts[-1])):
            return False
        try:
            self._walk(parts)
        except FormatError:
            return False
        return True

    def _store(self, data: bytes | BinaryIO) -> tuple[int, int]:
        """Append contents to `data`; returns where they begin and their size."""
        first = data if isinstance(data, bytes) else data.read(CHUNK)
        if len(first) >= ALIGN_FROM:
            self._append(bytes(-self._size % PAGE))
        start = self._size
        self._append(first)
        if not isinstance(data, bytes):
            while chunk := data.read(CHUNK):
                self._append(chunk)
        return start, self._size - start

    def _append(self, data: bytes) -> None:
        try:
            self._data.write(data)
        except OSError as error:
            raise _refused(self.path, error) from error
        self._digest.update(data)
        self._size += len(data)

    def _write(self) -> None:
        inodes = _numbered(self._root)
        heap = bytearray()
        records = b"".join(_packed(entry, heap) for entry in inodes)
        crc = zlib.crc32(heap, zlib.crc32(records))
        header = HEADER.pack(MAGIC, len(inodes), len(heap), self._size, crc, self._digest.digest())
        with (self._beside.path / TABLE_NAME).open("wb") as table:
            table.writelines((header, records, heap))
            table.flush()
            os.fsync(table.fileno())
        self._data.flush()
        os.fsync(self._data.fileno())


def _numbered(root: Entry) -> list[Entry]:
    """All inodes, each once, the root first, with their numbers, parents and link counts set.

    A directory's link count is 1: how many it has inside depends on the other layers.
    """
    root.number, root.links, found = 0, 1, [root]
    for parent in found:
        for _, child in sorted((parent.children or {}).items()):
            if child is None:
                continue
            child.parent = parent.number
            child.links += 1
            if child.number < 0:
                child.number = len(found)
                found.append(child)
    return found


def _packed(entry: Entry, heap: bytearray) -> bytes:
    """The record of an inode, whose variable part is added to the heap."""
    offset, size = entry.offset, entry.size
    if entry.children is not None:
        names = b"/".join(sorted(entry.children))
        offset, size = len(heap), len(entry.children)
        heap += len(names).to_bytes(4, "little") + names
        for _, child in sorted(entry.children.items()):
            heap += (WHITEOUT if child is None else child.number).to_bytes(4, "little")
    elif entry.target:
        offset = len(heap)
        heap += entry.target
    xattrs = 0
    if entry.xattrs:
        xattrs = len(heap) + 1
        heap += pack_xattrs(entry.xattrs)
    return RECORD.pack(
        entry.mode, entry.uid, entry.gid, entry.links, entry.rdev, entry.parent,
        entry.mtime_ns, size, offset, xattrs, entry.flags,
    )  # fmt: skip


def _split(path: Name) -> list[bytes]:
    parts = [part for part in os.fsencode(path).split(b"/") if part not in (b"", b".")]
    for part in parts:
        if part == b".." or len(part) > MAX_NAME or 0 in part:
            raise FormatError(f"{_shown(path)} is no path for a layer")
    return parts


def _shown(path: Name) -> str:
    return ascii(os.fsdecode(path))


def _joined(parts: Sequence[bytes]) -> str:
    return _shown(b"/".join(parts))


def _refused(path: Path, error: OSError) -> HostError:
    return HostError(f"cannot write the layer {path} ({error.strerror})", "make room for it")
