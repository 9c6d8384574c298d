"""Going through the files of merged layers, to write them down in another form."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from stat import S_ISDIR, S_ISLNK, S_ISREG

from maquina.storage.layers.format import Record
from maquina.storage.layers.layer import Layer
from maquina.storage.layers.union import ROOT, Union


@dataclass(frozen=True)
class Node:
    """One name in the tree. Names of one file (hard links) have the same `ino`.

    `path` is relative and empty for the root; a directory comes before what is in it.
    """

    path: bytes
    ino: int
    record: Record
    layer: Layer

    def read(self) -> bytes:
        """The contents of a regular file, the target of a symlink, nothing for others."""
        if S_ISLNK(self.record.mode):
            return self.layer.target(self.record)
        if not S_ISREG(self.record.mode):
            return b""
        parts, at, end = [], self.record.offset, self.record.offset + self.record.size
        while at < end:
            part = os.pread(self.layer.file(0), end - at, at)
            if not part:
                raise EOFError(f"the layer in {self.layer.path} ends early")
            parts.append(part)
            at += len(part)
        return b"".join(parts)

    def xattrs(self) -> dict[bytes, bytes]:
        return self.layer.xattrs(self.record)


def walk(layers: Sequence[Layer]) -> Iterator[Node]:
    """Every name in the layers together, the bottom layer first in `layers`."""
    union = Union(layers)
    todo = [(b"", ROOT)]
    while todo:
        path, ino = todo.pop()
        record = union.record(ino)
        yield Node(path, ino, record, union.layer(ino))
        if S_ISDIR(record.mode):
            prefix = path + b"/" if path else b""
            for name, child in sorted(union.entries(ino).items(), reverse=True):
                todo.append((prefix + name, child))
