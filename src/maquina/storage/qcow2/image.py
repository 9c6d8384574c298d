"""A disk in a qcow2 image: reads, writes, zeros, discards."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from maquina.errors import FormatError, ImageError
from maquina.storage.disk import Disk, check_range, check_writable
from maquina.storage.hostfile import HostFile
from maquina.storage.qcow2.compression import CompressedClusters
from maquina.storage.qcow2.extent import Extent, Kind, Mapping
from maquina.storage.qcow2.header import (
    CLEAR_RAW_DATA,
    FIELD_AUTOCLEAR,
    MAX_CLUSTER_BITS,
    Header,
    parse,
)
from maquina.storage.qcow2.mapping import ClusterMapping
from maquina.storage.qcow2.metadata import Metadata
from maquina.storage.qcow2.subclusters import SubclusterMapping
from maquina.storage.scatter import Scatter, fill_zeros, total_bytes, zero_buffers


def read_header(file: HostFile) -> Header:
    """The header of an open image file. FormatError if it cannot be."""
    return parse(file.read(0, 1 << MAX_CLUSTER_BITS))


class Qcow2Image:
    """An open qcow2 image. Calls come one at a time (under the machine's lock).

    It owns `file`, `backing` (read below unallocated clusters) and `data` (the external data file)
    and closes them. It opens no file by itself: what a header names is the caller's to judge
    (`formats.open_image` does).
    """

    def __init__(
        self, file: HostFile, *, backing: Disk | None = None, data: HostFile | None = None
    ) -> None:
        self.file = file
        self.header = header = read_header(file)
        if bool(header.backing_name) != bool(backing) or header.has_data_file != bool(data):
            raise ImageError(f"{file.path} names other files", "open it with open_image")
        if (header.is_corrupt or header.is_dirty) and not file.is_read_only:
            word = "corrupt" if header.is_corrupt else "not closed properly"
            raise ImageError(
                f"{file.path} is marked {word}", "open it read-only, or repair it first"
            )
        self.backing = backing
        self.data = data or file
        self.metadata = Metadata(file, header, self.data)
        subclusters = header.has_subclusters
        self.mapping: Mapping = (SubclusterMapping if subclusters else ClusterMapping)(
            self.metadata
        )
        self._compressed = CompressedClusters(file, header.compression_type, header.cluster_bits)
        if not file.is_read_only:
            self._clear_features()

    def _clear_features(self) -> None:
        """Autoclear features that writing would make untrue: dirty bitmaps, unknown ones."""
        kept = self.header.autoclear & CLEAR_RAW_DATA
        if kept != self.header.autoclear:
            self.file.write(FIELD_AUTOCLEAR, struct.pack(">Q", kept))
            self.file.barrier()

    @property
    def format(self) -> str:
        return "qcow2"

    @property
    def path(self) -> Path:
        return self.file.path

    @property
    def size_bytes(self) -> int:
        return self.header.size_bytes

    @property
    def is_read_only(self) -> bool:
        return self.file.is_read_only

    def read_into(self, offset: int, buffers: Sequence[memoryview]) -> None:
        """Fill the buffers, one after another, from `offset` on.

        OSError if the host cannot read, or (EIO) if the image is damaged there.
        """
        length = total_bytes(buffers)
        check_range(self, offset, length)
        if length:
            with _damage_as_io_error(self.path):
                self._read(offset, length, buffers)

    def write_from(self, offset: int, buffers: Sequence[memoryview]) -> None:
        """Store the buffers, one after another, from `offset` on.

        OSError if the host cannot write (a full disk), or (EIO) if the image is damaged there;
        some of the buffers may have been stored then, and the image is whole.
        """
        length = total_bytes(buffers)
        check_writable(self, offset, length)
        with _damage_as_io_error(self.path):
            self._write(offset, length, buffers)

    def discard(self, offset: int, length: int) -> None:
        """Give whole clusters back: they read as zeros. The rest of the range is left as it is."""
        check_writable(self, offset, length)
        if self.header.has_data_file or (self.backing and self.header.version < 3):
            return
        size = self.metadata.cluster_size
        stop = offset + length
        if stop < self.size_bytes:
            stop &= -size
        start = offset + size - 1 & -size
        with _damage_as_io_error(self.path):
            for at, extent in self._extents(start, stop):
                if extent.kind not in (Kind.BACKING, Kind.ZERO):
                    self.mapping.zero(at, at + extent.length, hide_backing=bool(self.backing))

    def write_zeros(self, offset: int, length: int) -> None:
        """Make a range read as zeros, by a mark in the tables where that can be."""
        check_writable(self, offset, length)
        with _damage_as_io_error(self.path):
            for at, extent in self._extents(offset, offset + length):
                if extent.kind is not Kind.ZERO and (
                    extent.kind is not Kind.BACKING or self.backing
                ):
                    self._zero_stretch(at, extent)

    def flush(self) -> None:
        """Return when everything written is on stable storage."""
        if not self.is_read_only:
            with _damage_as_io_error(self.path):
                self.metadata.commit()

    def close(self) -> None:
        """Flush and close. OSError if the flush fails; all files are closed nevertheless."""
        try:
            if self.file.fd >= 0:
                self.flush()
        finally:
            self.file.close()
            if self.data is not self.file:
                self.data.close()
            if self.backing is not None:
                self.backing.close()

    def _extents(self, start: int, stop: int) -> Iterator[tuple[int, Extent]]:
        """The stretches of a range with their offsets, each looked up when it is reached."""
        while start < stop:
            self._make_room()
            extent = self.mapping.find(start, stop - start)
            yield start, extent
            start += extent.length

    def _make_room(self) -> None:
        if self.metadata.is_crowded:
            self.metadata.commit()

    def _read(self, offset: int, length: int, buffers: Sequence[memoryview]) -> None:
        extent = self.mapping.find(offset, length)
        if extent.length == length:
            return self._read_stretch(offset, extent, buffers)
        scatter = Scatter(buffers)
        while True:
            self._read_stretch(offset, extent, scatter.take(extent.length))
            offset += extent.length
            length -= extent.length
            if not length:
                return None
            extent = self.mapping.find(offset, length)

    def _read_stretch(self, offset: int, extent: Extent, buffers: Sequence[memoryview]) -> None:
        if extent.kind is Kind.DATA or extent.kind is Kind.SHARED:
            self.data.read_into(extent.host, buffers)
        elif extent.kind is Kind.BACKING and self.backing is not None:
            _read_backing(self.backing, offset, extent.length, buffers)
        elif extent.kind is Kind.COMPRESSED:
            within = offset & self.metadata.cluster_size - 1
            plain = memoryview(self._compressed.get(extent.host))
            for buffer in buffers:
                buffer[:] = plain[within : within + len(buffer)]
                within += len(buffer)
        else:
            fill_zeros(buffers)

    def _write(self, offset: int, length: int, buffers: Sequence[memoryview]) -> None:
        scatter = Scatter(buffers)
        while length:
            self._make_room()
            extent = self.mapping.find(offset, length)
            if extent.kind is Kind.DATA:
                done = extent.length
                self._store(extent.host, scatter.take(done), done)
            else:
                done = self._write_elsewhere(offset, extent, scatter)
            offset += done
            length -= done

    def _store(self, host: int, buffers: list[memoryview], length: int) -> None:
        if self.data is self.file:
            self.metadata.guard(host, length)
        self.data.write_from(host, buffers)

    def _write_elsewhere(self, offset: int, extent: Extent, scatter: Scatter) -> int:
        """Write the start of a stretch that cannot be written in place; how many bytes it was."""
        plan = self.mapping.plan(offset, extent.length)
        if self.data is not self.file:
            plan = plan._replace(host=plan.start)  # guest and host offsets are the same there
        if plan.host is not None:
            done = extent.length
            self._fill(plan.host, plan.start, plan.stop, offset, scatter.take(done))
            self.mapping.link(plan.start, plan.stop, plan.host)
            return done
        size, base = self.metadata.cluster_size, plan.start & -self.metadata.cluster_size
        host, got = self.metadata.allocate(-(-(plan.stop - base) // size))
        try:
            stop = min(plan.stop, base + got * size)
            done = min(extent.length, stop - offset)
            start_host = host + plan.start - base
            self._fill(start_host, plan.start, stop, offset, scatter.take(done))
            self.mapping.link(plan.start, stop, start_host)
        except (OSError, FormatError):
            self.metadata.abandon(host, got)
            raise
        return done

    def _fill(
        self, host: int, start: int, stop: int, offset: int, buffers: list[memoryview]
    ) -> None:
        """Write `start` to `stop` at `host`: buffers at `offset`, what is there around them."""
        if self.data is not self.file:
            stop = min(stop, self.size_bytes)  # an external data file keeps the disk's size
        after = offset + total_bytes(buffers)
        before = self._present(start, offset, host)
        behind = self._present(after, stop, host + after - start)
        length = total_bytes(before) + after - offset + total_bytes(behind)
        self._store(host + (0 if before else offset - start), [*before, *buffers, *behind], length)

    def _present(self, start: int, stop: int, host: int) -> list[memoryview]:
        """What a range holds now; nothing if zeros are wanted where the file has never been."""
        if start == stop:
            return []
        extent = self.mapping.find(start, stop - start)
        is_zero = extent.kind is Kind.ZERO or (extent.kind is Kind.BACKING and not self.backing)
        if is_zero and extent.length == stop - start:
            return [] if host >= self.data.end else zero_buffers(stop - start)
        piece = memoryview(bytearray(stop - start))
        end = min(stop, self.size_bytes)
        if start < end:
            self._read(start, end - start, [piece[: end - start]])
        return [piece]

    def _zero_stretch(self, at: int, extent: Extent) -> None:
        """Zero a stretch: whole units by a mark, the rest by writing zeros."""
        is_compressed = extent.kind is Kind.COMPRESSED
        unit = self.metadata.cluster_size if is_compressed else self.mapping.unit
        can_mark = (self.header.version >= 3 or not self.backing) and not self.header.has_data_file
        stop = at + extent.length
        first = at + unit - 1 & -unit
        last = stop if stop == self.size_bytes else stop & -unit
        if not can_mark or first >= last:
            return self._write(at, stop - at, zero_buffers(stop - at))
        self._write(at, first - at, zero_buffers(first - at))
        self.mapping.zero(first, last, hide_backing=bool(self.backing))
        return self._write(last, stop - last, zero_buffers(stop - last))


def _read_backing(backing: Disk, offset: int, length: int, buffers: Sequence[memoryview]) -> None:
    """Read a backing file, which may be shorter than the image: zeros follow it."""
    present = min(max(backing.size_bytes - offset, 0), length)
    if present == length:
        return backing.read_into(offset, buffers)
    scatter = Scatter(buffers)
    if present:
        backing.read_into(offset, scatter.take(present))
    return fill_zeros(scatter.take(length - present))


@contextmanager
def _damage_as_io_error(path: Path) -> Iterator[None]:
    try:
        yield
    except FormatError as error:
        raise OSError(errno.EIO, f"{path}: {error.message}") from error
