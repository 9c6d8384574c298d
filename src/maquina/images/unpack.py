"""The files of packages into a layer, with their owners, modes, links and devices.

The layer's writer refuses paths that leave the tree and follows the tree's own links; here each
kind of member is turned into its call, and what later steps want to read is set aside.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, cast

from maquina.errors import FormatError
from maquina.images.deb import Deb
from maquina.storage.layers.writer import LayerWriter

MAX_KEPT = 4 << 20  # bytes of a file held in memory: packages decide how large theirs are
_XATTR = "SCHILY.xattr."


@dataclass(frozen=True)
class Unpacked:
    """A package in the layer: its control files, its paths as dpkg lists them, MD5 sums of its
    configuration files by path."""

    control: dict[str, bytes]
    paths: tuple[str, ...]
    conffiles: dict[str, str]


class Unpacker:
    """Writes packages, one after another. `kept` has the contents of files `keeps` asked for."""

    def __init__(self, writer: LayerWriter, keeps: Callable[[str], bool]) -> None:
        self.kept: dict[str, bytes] = {}
        self._writer = writer
        self._keeps = keeps

    def unpack(self, package: Deb) -> Unpacked:
        """Write a package's files. FormatError for members that no package has."""
        control = package.control()
        conffiles = dict.fromkeys(_conffiles(control), "")
        paths = []
        with package.data() as tar:
            for member in tar:
                path = "/" + member.name.removeprefix(".").strip("/")
                paths.append(path if path != "/" else "/.")
                data = self._write(tar, member, path in conffiles or self._keeps(path))
                if path in conffiles:
                    conffiles[path] = hashlib.md5(data, usedforsecurity=False).hexdigest()
                if data and self._keeps(path):
                    self.kept[path] = data
        return Unpacked(control, tuple(paths), conffiles)

    def _write(self, tar: tarfile.TarFile, member: tarfile.TarInfo, is_wanted: bool) -> bytes:
        """Write one member; its contents if they are wanted."""
        data = b""
        if member.isreg():
            stream = cast(BinaryIO, tar.extractfile(member))
            if is_wanted and member.size <= MAX_KEPT:
                data = stream.read()
            write_member(self._writer, member, data or stream)
        else:
            write_member(self._writer, member, b"")
        return data


def write_member(writer: LayerWriter, member: tarfile.TarInfo, data: bytes | BinaryIO) -> None:
    """One member of a tar into a layer. FormatError for kinds that a file system does not have."""
    path, mode = member.name, member.mode & 0o7777
    uid, gid, mtime = member.uid, member.gid, int(member.mtime)
    if member.isdir():
        writer.directory(path, mode, uid, gid, mtime)
    elif member.isreg():
        writer.file(path, data, mode, uid, gid, mtime)
    elif member.issym():
        writer.symlink(path, member.linkname, uid, gid, mtime)
    elif member.islnk():
        writer.hardlink(path, member.linkname)
    elif member.ischr() or member.isblk():
        rdev = os.makedev(member.devmajor, member.devminor)
        kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK
        writer.node(path, kind | mode, rdev, uid, gid, mtime)
    elif member.isfifo():
        writer.node(path, stat.S_IFIFO | mode, 0, uid, gid, mtime)
    else:
        raise FormatError(f"{path!a} is of a kind ({member.type!r}) no package has")
    for name, value in member.pax_headers.items():
        if name.startswith(_XATTR) and not member.issym():
            raw = value.encode("utf-8", "surrogateescape")
            writer.xattr(path, name.removeprefix(_XATTR), raw)


def _conffiles(control: dict[str, bytes]) -> list[str]:
    """Paths of configuration files (deb-conffiles(5)); lines with a flag name obsolete ones."""
    lines = control.get("conffiles", b"").decode(errors="replace").splitlines()
    return [line.strip() for line in lines if line.startswith("/")]
