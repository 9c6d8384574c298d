"""One mount of a file tree by a guest: what was agreed, and which files the guest refers to."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from maquina.devices.fuse_abi import NO_OPEN_SUPPORT, NO_OPENDIR_SUPPORT
from maquina.devices.virtio.buffers import size_of
from maquina.errors import StateError
from maquina.machine.clock import Clock
from maquina.machine.files import FileTree
from maquina.machine.state import Fields, State

MAX_NAME = 255  # bytes in a name, as in Linux: a tree keeps names in the host's memory
FLAGS_MAX = (1 << 32) - 1
REFERENCE_SIZE = 16  # bytes of a saved reference: file, count
# Saved references are of a guest's making: a state cannot have more than a tree can have files.
MAX_REFERENCES = 1 << 26

Buffers = Sequence[memoryview]


class Request:
    """A request taken apart. `body` is what follows the header; of WRITE without its data.

    `data` is what WRITE stores; `room` is where the answer goes behind its header, and `size` how
    many bytes it may have.
    """

    __slots__ = ("body", "data", "node", "owner", "room", "size")

    def __init__(self, node: int, owner: tuple[int, int], room: Buffers) -> None:
        self.node, self.owner, self.room = node, owner, room
        self.size = size_of(room)
        self.body = b""
        self.data: Buffers = ()

    def strings(self, offset: int, count: int) -> list[bytes]:
        """What is left of the body from `offset` on, as strings that end in NUL."""
        parts = self.body[offset:].split(b"\0")
        if len(parts) != count + 1 or parts[count]:
            raise OSError(errno.EINVAL, "not so many strings")
        return parts[:count]

    def names(self, offset: int, count: int) -> list[bytes]:
        """The same, of which each must be a name."""
        return [checked_name(name) for name in self.strings(offset, count)]

    def name(self, offset: int = 0) -> bytes:
        """The one name from `offset` of the body on."""
        return self.names(offset, 1)[0]


def checked_name(name: bytes) -> bytes:
    """A name, which is one component of a path. EINVAL or ENAMETOOLONG if it is not."""
    if not name or b"/" in name or name in (b".", b".."):
        raise OSError(errno.EINVAL, "not a name")
    if len(name) > MAX_NAME:
        raise OSError(errno.ENAMETOOLONG, "too long a name")
    return name


class Session:
    """The state of a mount. A guest refers to files by number until it forgets them."""

    def __init__(self, tree: FileTree, clock: Clock) -> None:
        self.tree, self.clock = tree, clock
        self.flags = 0  # what INIT agreed upon
        self.is_started = False
        self._references: dict[int, int] = {}

    @property
    def opens_files(self) -> bool:
        """Whether the guest must be given handles: it does not know that files need no opening."""
        return not self.flags & NO_OPEN_SUPPORT

    @property
    def opens_directories(self) -> bool:
        return not self.flags & NO_OPENDIR_SUPPORT

    def start(self, flags: int) -> None:
        """The guest mounts: nothing that it knew before counts any more."""
        self._references.clear()
        self.tree.reclaim()
        self.flags, self.is_started = flags, True

    def end(self) -> None:
        """The guest unmounts, or is gone. Does nothing if it has not mounted."""
        if self.is_started:
            self._references.clear()
            self.tree.reclaim()
            self.flags, self.is_started = 0, False

    def refer(self, ino: int) -> None:
        """The guest is told a file's number."""
        self._references[ino] = self._references.get(ino, 0) + 1

    def forget(self, ino: int, count: int) -> None:
        """The guest drops `count` references, or all if it never had so many."""
        left = self._references.get(ino, 0) - count
        if left > 0:
            self._references[ino] = left
        else:
            self._references.pop(ino, None)
            self.tree.forget(ino)

    def removed(self, ino: int) -> None:
        """A file lost a name: it may be one that the guest does not refer to."""
        if ino and ino not in self._references:
            self.tree.forget(ino)

    def save(self) -> dict[str, State]:
        """What was agreed, and the references."""
        packed = b"".join(
            ino.to_bytes(8, "little") + count.to_bytes(8, "little")
            for ino, count in self._references.items()
        )
        return {"flags": self.flags, "is_started": self.is_started, "references": packed}

    def restore(self, state: dict[str, State]) -> None:
        """Take over a saved session. StateError if the tree has not what the guest refers to."""
        fields = Fields(state, "a FUSE session")
        flags, is_started = fields.integer("flags", 0, FLAGS_MAX), fields.flag("is_started")
        packed = fields.data("references", REFERENCE_SIZE * MAX_REFERENCES)
        numbers = [
            int.from_bytes(packed[at : at + 8], "little") for at in range(0, len(packed), 8)
        ]
        if len(packed) % REFERENCE_SIZE:
            raise fields.error("references", "are not whole")
        references = dict(zip(numbers[::2], numbers[1::2], strict=True))
        for ino in references:
            try:
                self.tree.inode(ino)
            except OSError as error:
                raise StateError(
                    f"the file tree has no file {ino}, which the guest refers to",
                    "restore it on the tree it was saved with",
                ) from error
        self.flags, self.is_started, self._references = flags, is_started, references
