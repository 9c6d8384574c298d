"""Layers with a writable upper on top, as one file tree: what a guest sees and changes.

A file's contents are copied up when they are first written, whole; its attributes alone cost
nothing. Directories say that they have one link, as on btrfs and overlayfs. Reading does not
change access times. POSIX ACLs are refused (EOPNOTSUPP) rather than stored and not obeyed. A stack
is for one thread at a time.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from maquina.errors import HostError
from maquina.storage.layers import ranges
from maquina.storage.layers.inode import Inode
from maquina.storage.layers.layer import Layer
from maquina.storage.layers.table import ENTRY_BYTES, INODE_BYTES, Table
from maquina.storage.layers.union import ROOT
from maquina.storage.layers.upper import TABLE_LIMIT, Frozen, Upper

RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
XATTR_CREATE, XATTR_REPLACE = 1, 2
CAPABILITY = b"security.capability"

MAX_SIZE = (1 << 63) - 1  # of a file, as in Linux
MAX_LINKS = 65_000  # names of one file: link counts stay small numbers in all kernels
# Directories in one another. A guest may go as deep as it likes, and a frozen upper from elsewhere
# may have a circle of them; each rename of a directory looks at all that are above.
MAX_DEPTH = 10_000
# Bytes of names and values on one inode. A guest may set attributes without end, and each set is
# one frame of the journal.
MAX_XATTRS = 1 << 17
# Bytes copied in one request: a guest may ask for all of a file, and its machine waits meanwhile.
MAX_COPY = 1 << 24

FALLOC_KEEP_SIZE = 1
FALLOC_MODES = {0, 1, 2 | 1, 16, 16 | 1}  # allocate, punch a hole, zero a range


class Stack:
    """A `maquina.machine.files.FileTree` of layers (the bottom first), frozen uppers and an upper.

    The layers stay the caller's; the uppers are closed with the stack. StateError if an upper was
    made on other layers, FormatError if it is damaged, HostError if it cannot be read. `now` gives
    nanoseconds since 1970.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        upper: Upper,
        frozen: Sequence[Frozen] = (),
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        try:
            self._table = Table(layers, upper, frozen)
        except OSError as error:
            raise HostError(
                f"cannot use {upper.path} ({error.strerror})", "see who owns it and what is in it"
            ) from error
        self._now = now

    def __enter__(self) -> Stack:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def is_durable(self) -> bool:
        """Whether what is written outlives the stack."""
        return self._table.upper.journal is not None

    # Names.

    def inode(self, ino: int) -> Inode:
        """A file by number. ESTALE if there is none."""
        return self._table.get(ino)

    def find(self, path: str | bytes) -> Inode:
        """A file by path, symlinks not followed."""
        inode = self._table.get(ROOT)
        for name in os.fsencode(path).split(b"/"):
            inode = self.lookup(inode.ino, name) if name not in (b"", b".") else inode
        return inode

    def lookup(self, parent: int, name: bytes) -> Inode:
        """What a directory has under a name. ENOENT if nothing."""
        directory = self._table.directory(parent)
        return self._table.get(self._entry(directory, name))

    def parent(self, ino: int) -> int:
        """The directory that a directory is in; the root's is the root."""
        return self._table.parent(self._table.directory(ino))

    def list(self, ino: int, after: int) -> Iterator[tuple[int, bytes, int, int]]:
        """A directory's entries behind cookie `after`: cookie, name, ino and mode."""
        entries = self._table.entries(self._table.directory(ino))
        listed = list(entries.items())
        start = bisect_right(listed, after, key=lambda item: item[1][1])
        for name, (child, cookie) in listed[start:]:
            yield cookie, name, child, self._table.mode(child)

    def create(
        self, parent: int, name: bytes, mode: int, owner: tuple[int, int], rdev: int = 0
    ) -> Inode:
        """Make a file, directory, device, FIFO or socket, as the type in `mode` says."""
        directory = self._vacant(parent, name)
        self._table.begin()
        inode = self._added(directory, mode, owner)
        inode.rdev = rdev
        return self._named(directory, name, inode)

    def create_unnamed(self, parent: int, mode: int, owner: tuple[int, int]) -> Inode:
        """Make a regular file without a name."""
        directory = self._table.directory(parent)
        self._table.begin()
        inode = self._added(directory, stat.S_IFREG | stat.S_IMODE(mode), owner)
        inode.links = 0
        self._table.commit(inode)
        return inode

    def symlink(self, parent: int, name: bytes, target: bytes, owner: tuple[int, int]) -> Inode:
        """Make a symbolic link."""
        directory = self._vacant(parent, name)
        self._table.begin()
        self._table.upper.charge(len(target))
        inode = self._added(directory, stat.S_IFLNK | 0o777, owner)
        inode.target, inode.size = target, len(target)
        return self._named(directory, name, inode)

    def read_link(self, ino: int) -> bytes:
        """Where a symlink points. EINVAL if it is none."""
        inode = self._table.get(ino)
        if not stat.S_ISLNK(inode.mode):
            raise OSError(errno.EINVAL, "not a symlink")
        return inode.target

    def link(self, ino: int, parent: int, name: bytes) -> Inode:
        """Give a file another name. EPERM for a directory."""
        inode, directory = self._table.get(ino), self._vacant(parent, name)
        if inode.is_directory:
            raise OSError(errno.EPERM, "a directory has one name")
        if inode.links >= MAX_LINKS:
            raise OSError(errno.EMLINK, "too many links")
        self._table.begin()
        inode.links += 1
        inode.ctime_ns = self._now()
        return self._named(directory, name, inode)

    def remove(self, parent: int, name: bytes, is_directory: bool) -> int:
        """Take a name away; answers whose it was. The file lives until it is forgotten."""
        directory = self._table.directory(parent)
        inode = self._table.get(self._entry(directory, name))
        self._check_kind(inode, is_directory)
        self._table.begin()
        self._table.leave(directory, name)
        self._unlinked(inode)
        self._changed(directory)
        self._table.commit(inode, directory, entries=[(directory, name)])
        return inode.ino

    def rename(self, old: tuple[int, bytes], new: tuple[int, bytes], flags: int) -> int:
        """Move an entry; `flags` as renameat2. Answers which file lost its name to it, or 0."""
        if flags not in (0, RENAME_NOREPLACE, RENAME_EXCHANGE):
            raise OSError(errno.EINVAL, "unknown kind of rename")
        source, target = self._table.directory(old[0]), self._table.directory(new[0])
        inode = self._table.get(self._entry(source, old[1]))
        there = self._table.entries(target).get(new[1])
        other = None if there is None else self._table.get(there[0])
        self._check_rename(inode, target, other, flags)
        if flags == RENAME_EXCHANGE and other is not None:
            self._check_descent(other, source)
        elif other is inode:
            return 0
        self._table.begin()
        if flags == RENAME_EXCHANGE and other is not None:
            self._table.enter(source, old[1], other)
            other.ctime_ns = self._now()
        else:
            self._table.leave(source, old[1])
        self._table.enter(target, new[1], inode)
        replaced = other if flags != RENAME_EXCHANGE else None
        if replaced is not None:
            self._unlinked(replaced)
        inode.ctime_ns = self._now()
        self._changed(source)
        self._changed(target)
        changed = {each.ino: each for each in (inode, other, source, target) if each is not None}
        self._table.commit(*changed.values(), entries=[(source, old[1]), (target, new[1])])
        return 0 if replaced is None else replaced.ino

    # Attributes.

    def change(self, ino: int, values: Mapping[str, int]) -> Inode:
        """Set attributes by name. Changing the owner of a file clears set-user-ID bits."""
        inode = self._table.get(ino)
        if "size" in values:
            self._resize(inode, values["size"])
        self._table.begin()
        now = self._now()
        if ("uid" in values or "gid" in values) and not inode.is_directory:
            inode.mode = _without_set_id(inode)
        if "mode" in values:
            inode.mode = stat.S_IFMT(inode.mode) | stat.S_IMODE(values["mode"])
        inode.uid, inode.gid = values.get("uid", inode.uid), values.get("gid", inode.gid)
        inode.atime_ns = values.get("atime_ns", inode.atime_ns)
        inode.mtime_ns = values.get("mtime_ns", now if "size" in values else inode.mtime_ns)
        inode.ctime_ns = values.get("ctime_ns", now)
        self._table.commit(inode)
        return inode

    def drop_privileges(self, ino: int) -> None:
        """Clear what writing to a file clears: set-user-ID, set-group-ID, capabilities."""
        inode = self._table.get(ino)
        mode, xattrs = _without_set_id(inode), self._table.xattrs(inode)
        if mode == inode.mode and CAPABILITY not in xattrs:
            return
        self._table.begin()
        inode.mode = mode
        xattrs.pop(CAPABILITY, None)
        self._table.commit_xattrs(inode)

    def xattrs(self, ino: int) -> Mapping[bytes, bytes]:
        """A file's extended attributes."""
        return self._table.xattrs(self._table.get(ino))

    def set_xattr(self, ino: int, name: bytes, value: bytes, flags: int) -> None:
        """Set an extended attribute. EEXIST, ENODATA as `flags` say; ENOSPC if there are many."""
        if name.startswith(b"system."):
            raise OSError(errno.EOPNOTSUPP, "no POSIX ACLs")
        inode = self._table.get(ino)
        xattrs = self._table.xattrs(inode)
        if flags & XATTR_CREATE and name in xattrs:
            raise OSError(errno.EEXIST, "it has this attribute")
        if flags & XATTR_REPLACE and name not in xattrs:
            raise OSError(errno.ENODATA, "it does not have this attribute")
        before = len(name) + len(xattrs[name]) if name in xattrs else 0
        grown = len(name) + len(value) - before
        if sum(len(key) + len(xattrs[key]) for key in xattrs) + grown > MAX_XATTRS:
            raise OSError(errno.ENOSPC, "too many extended attributes")
        self._table.begin()
        self._table.upper.charge(grown)
        xattrs[name] = value
        inode.ctime_ns = self._now()
        self._table.commit_xattrs(inode)

    def remove_xattr(self, ino: int, name: bytes) -> None:
        """Remove an extended attribute. ENODATA if there is none of that name."""
        inode = self._table.get(ino)
        xattrs = self._table.xattrs(inode)
        if name not in xattrs:
            raise OSError(errno.ENODATA, "it does not have this attribute")
        self._table.begin()
        self._table.upper.charge(-len(name) - len(xattrs.pop(name)))
        inode.ctime_ns = self._now()
        self._table.commit_xattrs(inode)

    # Contents.

    def read_into(self, ino: int, offset: int, buffers: Sequence[memoryview]) -> int:
        """Fill buffers, one after another; answers how many bytes there were."""
        inode = self._file(ino)
        room = inode.size - offset
        if room <= 0 or inode.store is None:
            return 0
        if sum(map(len, buffers)) > room:
            buffers = ranges.clip(buffers, room)
        return ranges.read_into(inode.store.file(inode.content), inode.offset + offset, buffers)

    def write_from(self, ino: int, offset: int, buffers: Sequence[memoryview]) -> int:
        """Store buffers, one after another; answers how many bytes were taken."""
        inode = self._file(ino)
        length = sum(map(len, buffers))
        if offset + length > MAX_SIZE:
            raise OSError(errno.EFBIG, "too large a file")
        if not length:
            return 0
        fd = self._own(inode, inode.size, length)
        written = ranges.write_from(fd, offset, buffers)
        self._written(inode, offset + written)
        return written

    def allocate(self, ino: int, mode: int, offset: int, length: int) -> None:
        """As fallocate(2): allocate, punch holes, zero ranges. EOPNOTSUPP for other modes."""
        inode = self._file(ino)
        if mode not in FALLOC_MODES:
            raise OSError(errno.EOPNOTSUPP, "unknown mode of fallocate")
        if not length or offset + length > MAX_SIZE:
            raise OSError(errno.EFBIG if length else errno.EINVAL, "not a range of a file")
        fd = self._own(inode, inode.size, length if mode & ~FALLOC_KEEP_SIZE != 2 else 0)
        ranges.allocate(fd, mode, offset, length)
        self._written(inode, inode.size if mode & FALLOC_KEEP_SIZE else offset + length)

    def seek(self, ino: int, offset: int, whence: int) -> int:
        """The next data or hole, as lseek(2). A layer's files have no holes."""
        inode = self._file(ino)
        if whence not in (os.SEEK_DATA, os.SEEK_HOLE):
            raise OSError(errno.EINVAL, "unknown kind of seek")
        if offset >= inode.size:
            raise OSError(errno.ENXIO, "beyond the end")
        if isinstance(inode.store, Layer) or inode.store is None:
            return offset if whence == os.SEEK_DATA else inode.size
        return os.lseek(inode.store.file(inode.content), offset, whence)

    def copy(self, source: tuple[int, int], target: tuple[int, int], length: int) -> int:
        """Copy a range; `source` and `target` are ino and offset. Answers how much, maybe less."""
        (from_ino, start), (to_ino, at) = source, target
        inode, other = self._file(from_ino), self._file(to_ino)
        length = max(0, min(length, inode.size - start, MAX_COPY))
        if at + length > MAX_SIZE:
            raise OSError(errno.EFBIG, "too large a file")
        if not length:
            return 0
        if inode is other and abs(start - at) < length:
            raise OSError(errno.EINVAL, "the ranges overlap")
        fd = self._own(other, other.size, length)
        assert inode.store is not None
        place = (inode.store.file(inode.content), inode.offset + start)
        done = ranges.copy(place, (fd, at), length)
        self._written(other, at + done)
        return done

    def sync(self, ino: int | None) -> None:
        """Return when a file, or everything, is on stable storage."""
        self._table.sync(None if ino is None else self._table.get(ino))

    # The whole tree.

    def space(self) -> tuple[int, int, int, int]:
        """Bytes in all, bytes free (and on the host too), files in all, files free."""
        upper, host = self._table.upper, os.statvfs(self._table.upper.path)
        free = max(0, upper.limit_bytes - upper.contents.used_bytes)
        free_files = max(0, TABLE_LIMIT - upper.table_bytes) // (INODE_BYTES + ENTRY_BYTES)
        total_files = self._table.count + free_files
        free = min(free, host.f_bavail * host.f_frsize)
        return upper.limit_bytes, free, total_files, free_files

    def forget(self, ino: int) -> None:
        """Nobody refers to this file by number: it goes if it has no name."""
        self._table.forget(ino)

    def reclaim(self) -> None:
        """Nobody refers to any file by number: all without a name go."""
        self._table.reclaim()

    def freeze(self, path: str | os.PathLike[str], upper: Upper) -> Frozen:
        """Make what was written so far a read-only ground at `path`; write to `upper` from now on.

        `path` must be on the host file system that the old upper is on. Numbers stay as they are.
        """
        return self._table.freeze(Path(path), upper)

    def close(self) -> None:
        """Close the uppers. A kept one has everything then."""
        self._table.close()

    # Inside.

    def _entry(self, directory: Inode, name: bytes) -> int:
        found = self._table.entries(directory).get(name)
        if found is None:
            raise OSError(errno.ENOENT, "no such name")
        return found[0]

    def _file(self, ino: int) -> Inode:
        inode = self._table.get(ino)
        if not inode.is_regular:
            raise OSError(errno.EISDIR if inode.is_directory else errno.EINVAL, "not a file")
        return inode

    def _vacant(self, parent: int, name: bytes) -> Inode:
        """The directory `parent`, in which `name` is free."""
        directory = self._table.directory(parent)
        if not directory.links:
            raise OSError(errno.ENOENT, "the directory is removed")
        if name in self._table.entries(directory):
            raise OSError(errno.EEXIST, "the name is taken")
        return directory

    def _added(self, directory: Inode, mode: int, owner: tuple[int, int]) -> Inode:
        """A new inode; a set-group-ID directory gives its group."""
        if directory.mode & stat.S_ISGID:
            owner = (owner[0], directory.gid)
            mode |= stat.S_ISGID if stat.S_ISDIR(mode) else 0
        return self._table.add(mode, owner, self._now())

    def _named(self, directory: Inode, name: bytes, inode: Inode) -> Inode:
        """Enter a new name into a directory and journal it."""
        self._table.enter(directory, name, inode)
        self._changed(directory)
        self._table.commit(inode, directory, entries=[(directory, name)])
        return inode

    def _changed(self, directory: Inode) -> None:
        directory.mtime_ns = directory.ctime_ns = self._now()

    def _unlinked(self, inode: Inode) -> None:
        inode.links -= 1
        inode.ctime_ns = self._now()

    def _check_kind(self, inode: Inode, is_directory: bool) -> None:
        """Whether unlink or rmdir may remove it."""
        if is_directory and not inode.is_directory:
            raise OSError(errno.ENOTDIR, "not a directory")
        if inode.is_directory and not is_directory:
            raise OSError(errno.EISDIR, "a directory")
        if is_directory and self._table.entries(inode):
            raise OSError(errno.ENOTEMPTY, "not empty")

    def _check_rename(self, inode: Inode, target: Inode, other: Inode | None, flags: int) -> None:
        if not target.links:
            raise OSError(errno.ENOENT, "the directory is removed")
        if flags == RENAME_NOREPLACE and other is not None:
            raise OSError(errno.EEXIST, "the name is taken")
        if flags == RENAME_EXCHANGE and other is None:
            raise OSError(errno.ENOENT, "no such name")
        self._check_descent(inode, target)
        if flags == 0 and other is not None and other is not inode:
            self._check_kind(other, inode.is_directory)

    def _check_descent(self, inode: Inode, directory: Inode) -> None:
        """EINVAL if a directory would be moved into itself: the tree would lose it."""
        if not inode.is_directory:
            return
        for _ in range(MAX_DEPTH):
            if directory is inode:
                raise OSError(errno.EINVAL, "a directory cannot be inside itself")
            if directory.ino == ROOT:
                return
            directory = self._table.get(self._table.parent(directory))
        raise OSError(errno.ELOOP, "too deep")

    def _own(self, inode: Inode, keep: int, size: int) -> int:
        """The host file of an inode's contents, to write `size` bytes; copied up if it was not."""
        contents = self._table.upper.contents
        is_own = inode.store is contents
        self._table.begin(size if is_own else size + keep)
        if is_own:
            return contents.file(inode.content)
        number = contents.create()
        fd = contents.file(number)
        if inode.store is not None and keep:
            self._copy_up(inode, fd, keep)
        inode.store, inode.content, inode.offset = contents, number, 0
        inode.size = keep
        self._table.commit(inode)
        return fd

    def _copy_up(self, inode: Inode, target: int, keep: int) -> None:
        """Copy the first bytes of an inode's contents, holes left out."""
        assert inode.store is not None
        source, base = inode.store.file(inode.content), inode.offset
        for begin, end in ranges.data_ranges(source, base, base + keep):
            ranges.copy((source, begin), (target, begin - base), end - begin)
        os.ftruncate(target, keep)

    def _written(self, inode: Inode, end: int) -> None:
        self._table.upper.contents.measure(inode.content)
        inode.size = max(inode.size, end)
        inode.mtime_ns = inode.ctime_ns = self._now()
        self._table.touch(inode)

    def _resize(self, inode: Inode, size: int) -> None:
        if not inode.is_regular:
            raise OSError(errno.EISDIR if inode.is_directory else errno.EINVAL, "not a file")
        if size > MAX_SIZE:
            raise OSError(errno.EFBIG, "too large a file")
        if size == inode.size:
            return
        if not size and inode.store is not self._table.upper.contents:
            self._table.begin()
            inode.store = None
        else:
            fd = self._own(inode, min(size, inode.size), 0)
            os.ftruncate(fd, size)
            self._table.upper.contents.measure(inode.content)
        inode.size = size


def _without_set_id(inode: Inode) -> int:
    """The mode without set-user-ID, and set-group-ID where it means one (group may execute)."""
    if not inode.is_regular:
        return inode.mode
    mode = inode.mode & ~stat.S_ISUID
    return mode & ~stat.S_ISGID if mode & stat.S_IXGRP else mode
