"""Writing cpio archives in the `newc` format, which the kernel unpacks as its first root.

See Documentation/driver-api/early-userspace/buffer-format.rst in the kernel's source.
"""

from __future__ import annotations

import os
import stat
from typing import BinaryIO

from maquina.errors import ImageError

MAX_FILE = 0xFFFF_FFFF  # sizes have eight hexadecimal digits
_TRAILER = "TRAILER!!!"


class CpioWriter:
    """An archive being written to a stream. Paths are relative; parents must come first."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._number = 0

    def directory(self, path: str | bytes, mode: int = 0o755, uid: int = 0, gid: int = 0) -> None:
        self.entry(path, stat.S_IFDIR | mode, uid=uid, gid=gid)

    def file(
        self, path: str | bytes, data: bytes, mode: int = 0o644, uid: int = 0, gid: int = 0
    ) -> None:
        self.entry(path, stat.S_IFREG | mode, data, uid=uid, gid=gid)

    def symlink(self, path: str | bytes, target: str) -> None:
        self.entry(path, stat.S_IFLNK | 0o777, target.encode())

    def device(self, path: str | bytes, mode: int, rdev: int) -> None:
        """A device; `mode` has its kind, `rdev` is as in `os.makedev`."""
        self.entry(path, mode, rdev=rdev)

    def entry(
        self,
        path: str | bytes,
        mode: int,
        data: bytes = b"",
        *,
        rdev: int = 0,
        uid: int = 0,
        gid: int = 0,
    ) -> None:
        """Anything. Each entry is a file of its own: hard links become copies."""
        if len(data) > MAX_FILE:
            raise ImageError(f"{path!r} is too large for a cpio archive", "use a disk instead")
        self._number += 1
        name = os.fsencode(path) + b"\0"
        fields = (
            self._number, mode, uid, gid, 1, 0, len(data), 0, 0,
            os.major(rdev), os.minor(rdev), len(name), 0,
        )  # fmt: skip
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
        self._stream.write(head + bytes(-len(head) % 4))
        self._stream.write(data)
        self._stream.write(bytes(-len(data) % 4))

    def finish(self) -> None:
        """The entry that ends an archive."""
        self.entry(_TRAILER, 0)
