"""Layers merged by path into one read-only tree of numbered inodes.

The inodes of the layers are numbered one layer after another from the bottom, the bottom's root
being 1: adding a layer on top never changes a number. A directory that several layers have goes by
the number of the topmost of them, except the root, which is always 1; its entries are theirs
together, upper layers' before lower ones', without what is whited out.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from stat import S_ISDIR, S_ISLNK

from maquina.storage.layers.format import IMPLICIT, OPAQUE, WHITEOUT, Record
from maquina.storage.layers.layer import Layer

ROOT = 1

Place = tuple[int, int]  # layer and record number


class Union:
    """The merged view of layers, the bottom first. They stay open, and stay the caller's."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = tuple(layers)
        self._bases: list[int] = []
        self.end = ROOT  # the first number that is no inode of the union
        for layer in layers:
            self._bases.append(self.end)
            self.end += len(layer)
        self._top = len(self.layers) - 1
        # Where a directory is that more than one layer may have, topmost place first.
        self._merged: dict[int, list[Place]] = {}
        if self._top > 0:
            self._merged[ROOT] = self._cut([(index, 0) for index in range(self._top, -1, -1)])

    def place(self, ino: int) -> Place:
        """The layer an inode is from, and its record's number there."""
        index = bisect_right(self._bases, ino) - 1 if self._top else 0
        return index, ino - self._bases[index]

    def layer(self, ino: int) -> Layer:
        """The layer an inode is from."""
        return self.layers[self.place(ino)[0]]

    def record(self, ino: int) -> Record:
        """An inode's attributes. Offsets in it are into its own layer."""
        index, number = self.place(ino)
        record = self.layers[index].record(number)
        if self._top and S_ISDIR(record.mode):
            return self._described(ino, record)
        return record

    def mode(self, ino: int) -> int:
        """An inode's type and mode (of a directory: its type only is sure to be right)."""
        index, number = self.place(ino)
        return self.layers[index].mode(number)

    def entries(self, ino: int) -> dict[bytes, int]:
        """A directory's names and the inodes they stand for."""
        if not self._top:
            layer = self.layers[0]
            found = layer.entries(layer.record(ino - ROOT))
            return {name: number + ROOT for name, number in found.items() if number != WHITEOUT}
        places: dict[bytes, list[Place]] = {}
        hidden: set[bytes] = set()
        for index, number in self._places(ino):
            layer = self.layers[index]
            for name, child in layer.entries(layer.record(number)).items():
                if child == WHITEOUT:
                    hidden.add(name)
                elif name not in hidden:
                    places.setdefault(name, []).append((index, child))
        return {name: self._register(found) for name, found in places.items()}

    def parent(self, ino: int) -> int:
        """The directory that a directory is in; the root's is the root."""
        index, number = self.place(ino)
        parent = self.layers[index].record(number).parent
        if not self._top or not parent:
            return ROOT if not parent else ROOT + parent
        found = self.find(self._path(index, parent))
        return ROOT if found is None else found

    def find(self, parts: Sequence[bytes]) -> int | None:
        """The inode at a path. Symlinks are not followed."""
        ino = ROOT
        if not self.layers:
            return None
        for name in parts:
            if not S_ISDIR(self.mode(ino)):
                return None
            child = self.entries(ino).get(name)
            if child is None:
                return None
            ino = child
        return ino

    def link(self, parts: Sequence[bytes]) -> bytes:
        """Where the symlink at a path points; empty if none is there."""
        ino = self.find(parts)
        if ino is None or not S_ISLNK(self.mode(ino)):
            return b""
        return self.layer(ino).target(self.record(ino))

    def _places(self, ino: int) -> list[Place]:
        """Every layer's part of a directory, topmost first."""
        if ino not in self._merged:
            index, number = self.place(ino)
            self.find(self._path(index, number))  # registers what is on the way
        return self._merged.get(ino) or [self.place(ino)]

    def _register(self, places: list[Place]) -> int:
        """The number of an inode found at several places; remembers them if a directory is."""
        index, number = places[0]
        ino = self._bases[index] + number
        if ino not in self._merged and S_ISDIR(self.layers[index].mode(number)):
            self._merged[ino] = self._cut(places)
        return ino

    def _cut(self, places: list[Place]) -> list[Place]:
        """The places that count: down to an opaque directory or one that is none."""
        kept: list[Place] = []
        for index, number in places:
            record = self.layers[index].record(number)
            if not S_ISDIR(record.mode):
                break
            kept.append((index, number))
            if record.flags & OPAQUE:
                break
        return kept

    def _described(self, ino: int, record: Record) -> Record:
        """A directory's attributes from the topmost layer that gives any."""
        for index, number in self._places(ino):
            found = self.layers[index].record(number)
            if not found.flags & IMPLICIT:
                return found
        return record

    def _path(self, index: int, number: int) -> list[bytes]:
        """The path of a layer's directory, found from its parents."""
        layer, parts = self.layers[index], []
        while number:
            parent = layer.record(number).parent
            names = layer.entries(layer.record(parent))
            parts.append(next(name for name, child in names.items() if child == number))
            number = parent
        return parts[::-1]
