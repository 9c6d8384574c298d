"""Reading Debian packages (deb(5)): an `ar` archive of two compressed tars.

    debian-binary        "2.0"
    control.tar[.gz|.xz|.zst]    what dpkg keeps about the package
    data.tar[.gz|.xz|.zst]       its files

Tars are read as streams, so a package of any size needs little memory.
"""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from maquina.errors import FormatError

_MAGIC = b"!<arch>\n"
_HEADER_SIZE = 60
MAX_CONTROL = 64 << 20  # bytes of control data: a compressed bomb would fill memory
MAX_DATA = 8 << 30  # bytes of a package's files: a compressed bomb would fill the disk


class Deb:
    """One package file."""

    def __init__(self, path: Path, name: str = "") -> None:
        self.path = path
        self.name = name or path.name

    def control(self) -> dict[str, bytes]:
        """The files of the control archive, by name: `control`, `md5sums`, `postinst`..."""
        found = {}
        with self._tar("control", MAX_CONTROL) as tar:
            for member in tar:
                if member.isfile():
                    contents = tar.extractfile(member)
                    found[member.name.removeprefix("./")] = contents.read() if contents else b""
        if "control" not in found:
            raise FormatError(f"{self.name} has no control file", _REMEDY)
        return found

    @contextmanager
    def data(self) -> Iterator[tarfile.TarFile]:
        """The files, as a tar to be read from front to back."""
        with self._tar("data", MAX_DATA) as tar:
            yield tar

    @contextmanager
    def _tar(self, member: str, limit: int) -> Iterator[tarfile.TarFile]:
        try:
            with self.path.open("rb") as file:
                name, size = self._find(file, member)
                packed = cast(BinaryIO, io.BufferedReader(_Window(file, size)))
                stream = _Limited(_decompressed(packed, name), limit, self.name)
                with tarfile.open(fileobj=io.BufferedReader(stream, 1 << 18), mode="r|") as tar:
                    yield tar
        except (tarfile.TarError, lzma.LZMAError, EOFError, gzip.BadGzipFile) as error:
            raise FormatError(f"{self.name} is damaged ({error})", _REMEDY) from error

    def _find(self, file: BinaryIO, wanted: str) -> tuple[str, int]:
        """Go to the contents of a member; its name and size."""
        if file.read(len(_MAGIC)) != _MAGIC:
            raise FormatError(f"{self.name} is no Debian package", _REMEDY)
        while len(header := file.read(_HEADER_SIZE)) == _HEADER_SIZE:
            name = header[:16].decode(errors="replace").strip().rstrip("/")
            size = header[48:58].strip()
            if header[58:] != b"`\n" or not size.isdigit():
                break
            if name.split(".")[0] == wanted and ".tar" in name:
                return name, int(size)
            file.seek(int(size) + int(size) % 2, io.SEEK_CUR)
        raise FormatError(f"{self.name} has no {wanted} archive", _REMEDY)


_REMEDY = "remove it and have it fetched again"


def _decompressed(packed: BinaryIO, name: str) -> BinaryIO:
    if name.endswith(".xz"):
        return cast(BinaryIO, lzma.LZMAFile(packed))
    if name.endswith(".zst"):
        import zstandard

        return cast(BinaryIO, zstandard.ZstdDecompressor().stream_reader(packed))
    if name.endswith(".gz"):
        return cast(BinaryIO, gzip.GzipFile(fileobj=packed))
    return packed


class _Window(io.RawIOBase):
    """The next `size` bytes of a file, as a file."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._left = file, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._file.read(min(len(buffer), self._left))
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)


class _Limited(io.RawIOBase):
    """A stream that is an error when it does not end in time, or is cut short."""

    def __init__(self, stream: BinaryIO, limit: int, name: str) -> None:
        self._stream, self._left, self._name = stream, limit, name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._stream.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise FormatError(f"{self._name} has more in it than a package may have", _REMEDY)
        buffer[: len(data)] = data
        return len(data)
