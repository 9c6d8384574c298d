"""What a layer is on disk: a directory with two files.

`data` has the contents of all regular files, one after another. `table` has everything else,
little-endian, made to be mapped and read in place:

    header     HEADER: magic, number of records, bytes of heap, bytes of data, CRC-32 of the rest,
               SHA-256 of `data`
    records    RECORD, one per inode; number 0 is the root
    heap       what has no fixed size:
                   directory     its names joined by "/", then a u32 record number for each name
                   symlink       its target
                   xattrs        a u32 count, then for each XATTR (lengths), name, value

A directory is decoded in one go by three C functions (split, unpack, zip), and only when somebody
looks into it: opening a layer reads its header and checks a CRC.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

MAGIC = b"MAQLAYR1"
HEADER = Struct("<8sIIQI32s")
RECORD = Struct("<6IqQQII")
XATTR = Struct("<HI")
WHITEOUT = 0xFFFF_FFFF  # in place of a record number: lower layers' entry of that name is gone

IMPLICIT = 1  # a directory nobody described: a lower layer's attributes hold
OPAQUE = 2  # a directory that hides what lower layers have in it

TABLE_NAME = "table"
DATA_NAME = "data"
MAX_NAME = 255  # bytes in one component of a path, as in Linux (NAME_MAX)
MAX_TARGET = 4095  # bytes in a symlink, as in Linux (PATH_MAX)


class Record(NamedTuple):
    """One inode of a layer.

    `size` is bytes, or the number of entries of a directory. `offset` is into `data` for a regular
    file, into the heap for a directory or a symlink. `parent` is the directory's directory; other
    inodes may have several. `xattrs` is an offset into the heap plus one, 0 for none.
    """

    mode: int
    uid: int
    gid: int
    links: int
    rdev: int
    parent: int
    mtime_ns: int
    size: int
    offset: int
    xattrs: int
    flags: int


def pack_xattrs(xattrs: dict[bytes, bytes]) -> bytes:
    """Extended attributes as they are stored: the names in order."""
    parts = [len(xattrs).to_bytes(4, "little")]
    for name, value in sorted(xattrs.items()):
        parts += [XATTR.pack(len(name), len(value)), name, value]
    return b"".join(parts)


def unpack_xattrs(data: bytes | memoryview, at: int = 0) -> dict[bytes, bytes]:
    """The inverse of `pack_xattrs`, for the bytes that begin at `at`."""
    count = int.from_bytes(data[at : at + 4], "little")
    at += 4
    xattrs = {}
    for _ in range(count):
        name_size, value_size = XATTR.unpack_from(data, at)
        at += XATTR.size
        name = bytes(data[at : at + name_size])
        at += name_size
        xattrs[name] = bytes(data[at : at + value_size])
        at += value_size
    return xattrs
