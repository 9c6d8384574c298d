"""The inodes of a stack: read from its layers when somebody asks, kept when they change.

What the layers have can be forgotten and read again. What a frozen or the present upper has is in
memory, and in their journals: the present one's is written before an operation is answered.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from maquina.errors import FormatError, StateError
from maquina.storage.layers.format import pack_xattrs, unpack_xattrs
from maquina.storage.layers.inode import FIRST_COOKIE, Entries, Inode, Level
from maquina.storage.layers.journal import (
    ATTRIBUTES,
    BELOW,
    CHILD,
    ENTRY,
    FROM_BELOW,
    GONE,
    INODE,
    TARGET,
    XATTRS,
    Change,
)
from maquina.storage.layers.layer import Layer
from maquina.storage.layers.union import ROOT, Union
from maquina.storage.layers.upper import Frozen, Upper

# Host memory charged for what a guest makes; flat, so that renaming needs no accounting.
INODE_BYTES = 512
ENTRY_BYTES = 512

MAX_DOOMED = 256  # removed files whose contents wait for the journal to be synced


class Table:
    """All inodes by number. `upper` is the one written to."""

    def __init__(self, layers: Sequence[Layer], upper: Upper, frozen: Sequence[Frozen]) -> None:
        self.upper = upper
        self._union = Union(layers)
        self._frozen: list[Frozen] = []
        self._inodes: dict[int, Inode] = {}
        self._gone: set[int] = set()  # numbers of layers and frozen uppers that are no more
        self._doomed: list[int] = []  # contents to remove when the journal has been synced
        self._touched: dict[int, Inode] = {}  # whose times the journal does not have yet
        self._next = max(self._union.end, ROOT + 1)
        self._below = hashlib.sha256(b"".join(layer.identity for layer in layers)).digest()
        if not layers:
            root = Inode(ROOT, stat.S_IFDIR | 0o755, (0, 0), 0)
            root.parent = ROOT
            self._inodes[ROOT] = root
        for each in frozen:
            self._replay(each.changes(), each)
            self._settle(each)
        self._first = self._next
        self._start()

    # Looking.

    def get(self, ino: int) -> Inode:
        """An inode. OSError ESTALE if there is none of that number."""
        inode = self._inodes.get(ino)
        return self._load(ino) if inode is None else inode

    def directory(self, ino: int) -> Inode:
        """An inode that is a directory, with its entries. OSError ENOTDIR if it is none."""
        inode = self._inodes.get(ino) or self._load(ino)
        if inode.entries is None:
            if not inode.is_directory:
                raise OSError(errno.ENOTDIR, "not a directory")
            found = self._union.entries(ino)
            cookies = range(FIRST_COOKIE, FIRST_COOKIE + len(found))
            inode.entries = dict(
                zip(found, zip(found.values(), cookies, strict=True), strict=True)
            )
            inode.next_cookie = FIRST_COOKIE + len(found)
        return inode

    def entries(self, inode: Inode) -> Entries:
        """What a directory holds."""
        if inode.entries is None:
            self.directory(inode.ino)
        assert inode.entries is not None
        return inode.entries

    def mode(self, ino: int) -> int:
        """An inode's type, and perhaps its mode, without reading the rest."""
        inode = self._inodes.get(ino)
        if inode is not None:
            return inode.mode
        return self._union.mode(ino) if ino < self._union.end else 0

    def parent(self, inode: Inode) -> int:
        """The directory that a directory is in. OSError ESTALE if it was removed and forgotten."""
        if not inode.parent and inode.ino >= self._union.end:
            raise OSError(errno.ESTALE, "in no directory")
        if not inode.parent:
            inode.parent = self._union.parent(inode.ino)
        return inode.parent

    def xattrs(self, inode: Inode) -> dict[bytes, bytes]:
        """An inode's extended attributes."""
        if inode.xattrs is None:
            record = self._union.record(inode.ino)
            inode.xattrs = self._union.layer(inode.ino).xattrs(record)
        return inode.xattrs

    @property
    def count(self) -> int:
        """About how many inodes there are."""
        return self._next - ROOT - len(self._gone)

    # Changing.

    def begin(self, size: int = 0) -> None:
        """Before an operation changes anything, or stores `size` bytes. OSError if no room."""
        if size and self._doomed and not self.upper.has_room(size):
            self._bury()
        if size and not self.upper.has_room(size):
            raise OSError(errno.ENOSPC, "the machine's share of the disk is full")
        journal = self.upper.journal
        if journal is not None:
            if journal.is_overgrown:
                journal.rewrite(self._changes())
                self._touched.clear()
            journal.reserve()

    def add(self, mode: int, owner: tuple[int, int], now_ns: int) -> Inode:
        """A new inode without a name. OSError ENOSPC if there are too many."""
        self.upper.charge(INODE_BYTES)
        inode = Inode(self._next, mode, owner, now_ns)
        self._next += 1
        self._inodes[inode.ino] = inode
        return inode

    def enter(self, directory: Inode, name: bytes, inode: Inode) -> None:
        """Give an inode a name in a directory, in place of what has it."""
        entries = self._changing(directory)
        if name not in entries:
            self.upper.charge(ENTRY_BYTES)
        entries.pop(name, None)
        entries[name] = (inode.ino, directory.next_cookie)
        directory.next_cookie += 1
        if inode.is_directory:
            inode.parent = directory.ino

    def leave(self, directory: Inode, name: bytes) -> None:
        """Take a name out of a directory."""
        del self._changing(directory)[name]
        self.upper.charge(-ENTRY_BYTES)

    def touch(self, inode: Inode) -> None:
        """An inode's times changed: the journal may learn it later."""
        inode.level = Level.CHANGED
        if self.upper.journal is not None:
            self._touched[inode.ino] = inode

    def commit(self, *inodes: Inode, entries: Iterable[tuple[Inode, bytes]] = ()) -> None:
        """Journal one operation: inodes as they are now, and directories' entries by name."""
        for inode in inodes:
            inode.level = Level.CHANGED
        journal = self.upper.journal
        if journal is None:
            return
        changes = [change for inode in inodes for change in self._described(inode)]
        changes += [_entry(directory, name) for directory, name in entries]
        journal.append(changes)
        for inode in inodes:
            self._touched.pop(inode.ino, None)

    def commit_xattrs(self, inode: Inode) -> None:
        """Journal an inode with its extended attributes."""
        inode.level = Level.CHANGED
        if self.upper.journal is not None:
            self.upper.journal.append([*self._described(inode), _xattrs(inode)])

    def forget(self, ino: int) -> None:
        """Nobody refers to an inode by number: it goes if it has no name."""
        inode = self._inodes.get(ino)
        if inode is None:
            return
        if not inode.links:
            self._discard(inode)
        elif inode.level is Level.LAYER and ino != ROOT:
            del self._inodes[ino]

    def reclaim(self) -> None:
        """Forget all inodes."""
        for ino in tuple(self._inodes):
            self.forget(ino)

    def sync(self, inode: Inode | None) -> None:
        """Return when an inode, or everything, is on stable storage."""
        journal = self.upper.journal
        if journal is None:
            return
        chosen = list(self._inodes.values()) if inode is None else [inode]
        for each in chosen:
            if each.store is self.upper.contents and (inode or each.ino in self._touched):
                os.fsync(self.upper.contents.file(each.content))
        self._flush([each for each in chosen if each.ino in self._touched])
        self._bury()

    def freeze(self, path: Path, upper: Upper) -> Frozen:
        """Make what was changed so far read-only, at `path`, and change `upper` from now on."""
        self._bury()
        old = self.upper.contents
        frozen = self.upper.freeze(path, self._changes())
        for inode in self._inodes.values():
            if inode.store is old:
                inode.store = frozen.contents
        self._touched.clear()
        self._settle(frozen)
        self._first, self.upper = self._next, upper
        self._start()
        return frozen

    def close(self) -> None:
        """Write what the journal does not have yet, and close the uppers."""
        try:
            self.sync(None)
        finally:
            self.upper.close()
            for frozen in self._frozen:
                frozen.close()

    # Inside.

    def _load(self, ino: int) -> Inode:
        if not ROOT <= ino < self._union.end or ino in self._gone:
            raise OSError(errno.ESTALE, "no such inode")
        record, layer = self._union.record(ino), self._union.layer(ino)
        inode = Inode.of_record(ino, record, layer)
        if stat.S_ISLNK(record.mode):
            inode.target = layer.target(record)
        self._inodes[ino] = inode
        return inode

    def _changing(self, directory: Inode) -> Entries:
        """A directory's entries, about to be changed; they are remembered as they were."""
        entries = self.entries(directory)
        if directory.before is None:
            directory.before = dict(entries)
        return entries

    def _discard(self, inode: Inode) -> None:
        del self._inodes[inode.ino]
        self._touched.pop(inode.ino, None)
        if inode.store is self.upper.contents:
            self._doomed.append(inode.content)
            if self.upper.journal is None or len(self._doomed) >= MAX_DOOMED:
                self._bury()
        if inode.ino < self._first:
            self._gone.add(inode.ino)
        else:
            self.upper.charge(-INODE_BYTES - _variable(inode))

    def _bury(self) -> None:
        """Remove contents of inodes that are no more: only when the journal is sure to say so."""
        if self.upper.journal is not None:
            self.upper.journal.sync()
        while self._doomed:
            self.upper.contents.remove(self._doomed.pop())

    def _flush(self, inodes: Sequence[Inode]) -> None:
        journal = self.upper.journal
        for inode in inodes:
            if journal is not None:
                journal.reserve()
                journal.append(self._described(inode))
            self._touched.pop(inode.ino, None)

    def _described(self, inode: Inode) -> list[Change]:
        """The records of an inode's attributes."""
        content = 0
        if inode.store is not None:
            content = inode.content if inode.store is self.upper.contents else FROM_BELOW
        body = ATTRIBUTES.pack(
            inode.mode, inode.uid, inode.gid, inode.links, inode.rdev, 0,
            inode.atime_ns, inode.mtime_ns, inode.ctime_ns, content,
        )  # fmt: skip
        changes = [Change(INODE, inode.ino, body)]
        if inode.target:
            changes.append(Change(TARGET, inode.ino, inode.target))
        return changes

    def _changes(self) -> Iterator[Change]:
        """All that the present upper has changed: inodes first, for entries name them."""
        yield Change(BELOW, 0, self._below)
        changed = [each for each in self._inodes.values() if each.level is Level.CHANGED]
        for inode in changed:
            yield from self._described(inode)
            if inode.xattrs is not None:
                yield _xattrs(inode)
        for inode in changed:
            before, entries = inode.before, inode.entries
            if before is None or entries is None:
                continue
            names = [name for name in before if name not in entries]
            names += [name for name, entry in entries.items() if before.get(name) != entry]
            yield from (_entry(inode, name) for name in names)
        yield from (Change(GONE, ino, b"") for ino in self._gone)

    def _start(self) -> None:
        """Take up what the upper's journal has, or begin it."""
        journal = self.upper.journal
        if journal is None:
            return
        last = self._replay(journal.replay(), self.upper)
        if not journal.has_records:
            journal.append([Change(BELOW, 0, self._below)])
        known = {
            each.content for each in self._inodes.values() if each.store is self.upper.contents
        }
        self.upper.contents.scan(known, last)
        changed = [each for each in self._inodes.values() if each.level is Level.CHANGED]
        entries = sum(len(each.entries or ()) - len(each.before or ()) for each in changed)
        room = sum(INODE_BYTES + _variable(each) for each in changed if each.ino >= self._first)
        self.upper.charge(room + ENTRY_BYTES * entries)

    def _settle(self, frozen: Frozen) -> None:
        """What was changed belongs to a frozen upper now."""
        for inode in self._inodes.values():
            if inode.level is Level.CHANGED:
                inode.level, inode.before = Level.FROZEN, None
        self._frozen.append(frozen)
        self._below = hashlib.sha256(self._below + frozen.identity).digest()

    def _replay(self, changes: Iterator[Change], upper: Upper | Frozen) -> int:
        """Do again what a journal tells. Returns the largest number of contents in it."""
        last, changed = 0, dict[int, Inode]()
        for number, change in enumerate(changes):
            if not number:
                self._check_ground(change, upper)
                continue
            try:
                if change.kind == INODE:
                    changed[change.ino] = inode = self._restored(change, upper)
                    last = max(last, inode.content)
                else:
                    self._redo(change)
            except (OSError, struct.error) as error:
                raise FormatError(f"the journal of {upper.path} is damaged") from error
        for inode in changed.values():
            if inode.store is upper.contents:
                inode.size = upper.contents.size(inode.content)
        return last

    def _check_ground(self, change: Change, upper: Upper | Frozen) -> None:
        """Whether a journal's first record is of what is below here."""
        if change.kind != BELOW or change.body != self._below:
            raise StateError(
                f"{upper.path} belongs to other layers", "use the layers it was made with"
            )

    def _restored(self, change: Change, upper: Upper | Frozen) -> Inode:
        ino = change.ino
        mode, uid, gid, links, rdev, _, atime, mtime, ctime, content = ATTRIBUTES.unpack(
            change.body
        )
        inode = self._inodes.get(ino)
        if inode is None and ino < self._union.end:
            inode = self._load(ino)
        elif inode is None:
            inode = self._inodes[ino] = Inode(ino, mode, (uid, gid), 0)
            self._next = max(self._next, ino + 1)
        if stat.S_IFMT(inode.mode) != stat.S_IFMT(mode):
            raise OSError(errno.EINVAL, "a file does not become another type of file")
        inode.level, inode.mode, inode.uid, inode.gid = Level.CHANGED, mode, uid, gid
        inode.links, inode.rdev = links, rdev
        inode.atime_ns, inode.mtime_ns, inode.ctime_ns = atime, mtime, ctime
        if inode.is_regular and content != FROM_BELOW:
            inode.store = upper.contents if content else None
            inode.content, inode.offset, inode.size = content, 0, 0
        return inode

    def _redo(self, change: Change) -> None:
        if change.kind == GONE:
            self._inodes.pop(change.ino, None)
            self._gone.add(change.ino)
            return
        inode = self.get(change.ino)
        inode.level = Level.CHANGED
        if change.kind == TARGET:
            inode.target, inode.size = change.body, len(change.body)
        elif change.kind == XATTRS:
            inode.xattrs = unpack_xattrs(change.body)
        elif change.kind == ENTRY:
            self._redo_entry(inode, change.body)

    def _redo_entry(self, directory: Inode, body: bytes) -> None:
        ino, cookie = CHILD.unpack_from(body)
        name = body[CHILD.size :]
        entries = self._changing(self.directory(directory.ino))
        entries.pop(name, None)
        if ino:
            entries[name] = (ino, cookie)
            directory.next_cookie = max(directory.next_cookie, cookie + 1)
            if stat.S_ISDIR(self.mode(ino)):
                self.get(ino).parent = directory.ino


def _entry(directory: Inode, name: bytes) -> Change:
    ino, cookie = (directory.entries or {}).get(name, (0, 0))
    return Change(ENTRY, directory.ino, CHILD.pack(ino, cookie) + name)


def _xattrs(inode: Inode) -> Change:
    return Change(XATTRS, inode.ino, pack_xattrs(inode.xattrs or {}))


def _variable(inode: Inode) -> int:
    """Host memory for what has no fixed size in an inode."""
    xattrs = inode.xattrs or {}
    return len(inode.target) + sum(len(name) + len(value) for name, value in xattrs.items())
