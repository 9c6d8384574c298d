"""Flattened device trees: how a board tells a kernel what hardware there is.

The format is version 17 of the Devicetree Specification v0.4, chapter 5: a header, an (empty)
list of reserved memory, a stream of tokens, and the property names, each stored once.

    root = Node("")
    root["compatible"] = "riscv-virtio"
    root.child("memory@80000000")["reg"] = cells64(0x8000_0000, 1 << 30)
    blob = root.flatten()
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from maquina.errors import FormatError

MAGIC = 0xD00DFEED
VERSION = 17
LAST_COMPATIBLE_VERSION = 16
BEGIN_NODE, END_NODE, PROPERTY, NOP, END = 1, 2, 3, 4, 9
HEADER = struct.Struct(">10I")
RESERVATION_END = bytes(16)
MAX_DEPTH = 64  # a foreign blob of nothing but BEGIN_NODE tokens must not grow the stack for ever

Value = bytes | str | int | list[str] | None


def cells(*values: int) -> bytes:
    """32-bit big-endian cells."""
    return struct.pack(f">{len(values)}I", *values)


def cells64(*values: int) -> bytes:
    """Numbers of two cells each: addresses and sizes where #address-cells is 2."""
    return struct.pack(f">{len(values)}Q", *values)


def encode(value: Value) -> bytes:
    """A property's bytes: a string or list of strings, one cell, raw bytes, None for a flag."""
    if value is None:
        return b""
    if isinstance(value, int):
        return cells(value)
    if isinstance(value, str):
        return value.encode() + b"\0"
    if isinstance(value, list):
        return b"".join(item.encode() + b"\0" for item in value)
    return value


@dataclass
class Node:
    """A node: its name with unit address, properties as bytes, and children, all in order."""

    name: str
    properties: dict[str, bytes] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)

    def __setitem__(self, name: str, value: Value) -> None:
        self.properties[name] = encode(value)

    def __getitem__(self, name: str) -> bytes:
        return self.properties[name]

    def child(self, name: str, properties: Mapping[str, Value] | None = None) -> Node:
        """Add a child node and return it."""
        node = Node(name)
        for key, value in (properties or {}).items():
            node[key] = value
        self.children.append(node)
        return node

    def find(self, path: str) -> Node:
        """The node at a path such as "cpus/cpu@0". KeyError if there is none."""
        node = self
        for name in filter(None, path.split("/")):
            found = next((child for child in node.children if child.name == name), None)
            if found is None:
                raise KeyError(path)
            node = found
        return node

    def walk(self) -> Iterator[Node]:
        """This node and all below it, depth first."""
        yield self
        for child in self.children:
            yield from child.walk()

    def flatten(self) -> bytes:
        """The tree below this root as a blob."""
        strings = _Strings()
        structure = bytearray()
        _flatten(self, strings, structure)
        structure += cells(END)
        offset_structure = HEADER.size + len(RESERVATION_END)
        offset_strings = offset_structure + len(structure)
        header = HEADER.pack(
            MAGIC,
            offset_strings + len(strings.blob),
            offset_structure,
            offset_strings,
            HEADER.size,
            VERSION,
            LAST_COMPATIBLE_VERSION,
            0,  # the boot hart's id
            len(strings.blob),
            len(structure),
        )
        return b"".join((header, RESERVATION_END, structure, strings.blob))


class _Strings:
    """The block of property names, each stored once."""

    def __init__(self) -> None:
        self.blob = bytearray()
        self._offsets: dict[str, int] = {}

    def offset(self, name: str) -> int:
        if name not in self._offsets:
            self._offsets[name] = len(self.blob)
            self.blob += name.encode() + b"\0"
        return self._offsets[name]


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _flatten(node: Node, strings: _Strings, out: bytearray) -> None:
    out += cells(BEGIN_NODE) + _padded(node.name.encode() + b"\0")
    for name, value in node.properties.items():
        out += cells(PROPERTY, len(value), strings.offset(name)) + _padded(value)
    for child in node.children:
        _flatten(child, strings, out)
    out += cells(END_NODE)


def parse(blob: bytes) -> Node:
    """The tree in a blob. FormatError if the bytes are not a whole device tree."""
    try:
        magic, size, structure, strings, _, version, *_ = HEADER.unpack_from(blob)
        if magic != MAGIC or version < LAST_COMPATIBLE_VERSION or size > len(blob):
            raise FormatError("not a whole flattened device tree", "check where it comes from")
        return _Reader(blob, structure, strings).tree()
    except (struct.error, ValueError, IndexError) as error:
        raise FormatError(f"the device tree is damaged ({error})", "make it anew") from error


class _Reader:
    def __init__(self, blob: bytes, structure: int, strings: int) -> None:
        self._blob = blob
        self._at = structure
        self._strings = strings

    def _cell(self) -> int:
        (value,) = struct.unpack_from(">I", self._blob, self._at)
        self._at += 4
        return int(value)

    def _bytes(self, length: int) -> bytes:
        data = self._blob[self._at : self._at + length]
        if len(data) < length:
            raise ValueError("it ends inside a property")
        self._at += length + -length % 4
        return data

    def _string(self, offset: int) -> str:
        return self._blob[offset : self._blob.index(b"\0", offset)].decode()

    def tree(self) -> Node:
        top = Node("")
        open_nodes = [top]
        while (token := self._cell()) != END:
            if token == BEGIN_NODE:
                name = self._string(self._at)
                self._bytes(len(name.encode()) + 1)
                open_nodes.append(open_nodes[-1].child(name))
                if len(open_nodes) > MAX_DEPTH:
                    raise ValueError("it nests too deeply")
            elif token == END_NODE:
                open_nodes.pop()
            elif token == PROPERTY:
                length, name_at = self._cell(), self._cell()
                name = self._string(self._strings + name_at)
                open_nodes[-1].properties[name] = self._bytes(length)
            elif token != NOP:
                raise ValueError(f"it has an unknown token {token}")
        if len(open_nodes) != 1 or len(top.children) != 1:
            raise ValueError("its nodes do not balance")
        return top.children[0]
