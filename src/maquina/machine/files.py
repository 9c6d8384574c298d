"""A tree of files as a device serves it: what storage offers and a file-sharing device asks for.

Files go by number (`ino`), 1 being the root; names are single components that the caller has
checked: not empty, no "/", no NUL, not "." or "..". What goes wrong is an OSError whose `errno` is
the answer to the guest. Trees are for one thread at a time. They check no permissions: the guest's
kernel does that, from the attributes it is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

ROOT = 1


class Attributes(Protocol):
    """A file as it is now; `mode` has the type, times are nanoseconds since 1970."""

    @property
    def ino(self) -> int: ...
    @property
    def mode(self) -> int: ...
    @property
    def links(self) -> int: ...
    @property
    def uid(self) -> int: ...
    @property
    def gid(self) -> int: ...
    @property
    def rdev(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def blocks(self) -> int:
        """How many blocks of 512 bytes its contents take."""
        ...

    @property
    def atime_ns(self) -> int: ...
    @property
    def mtime_ns(self) -> int: ...
    @property
    def ctime_ns(self) -> int: ...


class FileTree(Protocol):
    """Names, attributes and contents of files. `owner` is the uid and gid of who makes a file."""

    @property
    def is_durable(self) -> bool:
        """Whether `sync` does anything: False for a tree that goes with its machine."""
        ...

    def inode(self, ino: int) -> Attributes: ...

    def lookup(self, parent: int, name: bytes) -> Attributes:
        """What a directory has under a name. ENOENT if nothing."""
        ...

    def parent(self, ino: int) -> int:
        """The directory that a directory is in; the root's is the root."""
        ...

    def list(self, ino: int, after: int) -> Iterator[tuple[int, bytes, int, int]]:
        """A directory's entries behind cookie `after`: cookie, name, ino and mode.

        Cookies grow from 3 on and stay with their entries, whatever else comes or goes.
        """
        ...

    def change(self, ino: int, values: Mapping[str, int]) -> Attributes:
        """Set attributes by their names in Attributes: mode, uid, gid, size and times."""
        ...

    def drop_privileges(self, ino: int) -> None:
        """Clear what writing to a file clears: set-user-ID, set-group-ID, capabilities."""
        ...

    def create(
        self, parent: int, name: bytes, mode: int, owner: tuple[int, int], rdev: int = 0
    ) -> Attributes:
        """Make a file, directory, device, FIFO or socket, as the type in `mode` says."""
        ...

    def create_unnamed(self, parent: int, mode: int, owner: tuple[int, int]) -> Attributes:
        """Make a regular file without a name, which `link` may give it."""
        ...

    def symlink(
        self, parent: int, name: bytes, target: bytes, owner: tuple[int, int]
    ) -> Attributes: ...

    def read_link(self, ino: int) -> bytes: ...

    def link(self, ino: int, parent: int, name: bytes) -> Attributes:
        """Give a file another name."""
        ...

    def remove(self, parent: int, name: bytes, is_directory: bool) -> int:
        """Take a name away; answers whose it was. The file lives until it is forgotten."""
        ...

    def rename(self, old: tuple[int, bytes], new: tuple[int, bytes], flags: int) -> int:
        """Move an entry; `flags` as renameat2. Answers which file lost its name to it, or 0."""
        ...

    def read_into(self, ino: int, offset: int, buffers: Sequence[memoryview]) -> int:
        """Fill buffers, one after another; answers how many bytes there were."""
        ...

    def write_from(self, ino: int, offset: int, buffers: Sequence[memoryview]) -> int:
        """Store buffers, one after another; answers how many bytes were taken."""
        ...

    def allocate(self, ino: int, mode: int, offset: int, length: int) -> None:
        """As fallocate(2)."""
        ...

    def seek(self, ino: int, offset: int, whence: int) -> int:
        """The next data or hole, as lseek(2) with SEEK_DATA or SEEK_HOLE."""
        ...

    def copy(self, source: tuple[int, int], target: tuple[int, int], length: int) -> int:
        """Copy a range; `source` and `target` are ino and offset. Answers how much, maybe less."""
        ...

    def xattrs(self, ino: int) -> Mapping[bytes, bytes]: ...

    def set_xattr(self, ino: int, name: bytes, value: bytes, flags: int) -> None:
        """As setxattr(2)."""
        ...

    def remove_xattr(self, ino: int, name: bytes) -> None: ...

    def sync(self, ino: int | None) -> None:
        """Return when a file, or everything, is on stable storage."""
        ...

    def space(self) -> tuple[int, int, int, int]:
        """Bytes in all, bytes free, files in all, files free."""
        ...

    def forget(self, ino: int) -> None:
        """The guest knows this file no more: it goes if it has no name."""
        ...

    def reclaim(self) -> None:
        """No guest knows any file: all without a name go."""
        ...
