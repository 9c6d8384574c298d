"""What an image file says about itself, without opening what it names, also while it is in use."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from maquina.storage.formats import detect
from maquina.storage.hostfile import HostFile
from maquina.storage.qcow2.create import COMPRESSIONS
from maquina.storage.qcow2.image import read_header
from maquina.storage.qcow2.snapshots import Snapshot, read_snapshots

ALLOCATED_UNIT = 512  # st_blocks counts these


@dataclass(frozen=True)
class ImageInfo:
    """One image. Sizes in bytes; names of other files as they stand in the image."""

    path: Path
    format: str
    size_bytes: int
    """The size of the disk that a guest sees."""
    host_bytes: int
    """What the file takes on the host, holes left out."""
    qcow2: Qcow2Info | None = None


@dataclass(frozen=True)
class Qcow2Info:
    """What only qcow2 images have."""

    version: int
    cluster_size: int
    refcount_bits: int
    compression: str
    has_subclusters: bool
    is_dirty: bool
    is_corrupt: bool
    backing_name: str | None
    backing_format: str | None
    data_file_name: str | None
    snapshots: list[Snapshot]


def image_info(path: Path, *, image_format: str | None = None) -> ImageInfo:
    """Read an image's header. ImageError if there is none, FormatError if it cannot be."""
    image_format = image_format or detect(path)
    file = HostFile(path, is_read_only=True, is_locked=False)
    try:
        host_bytes = os.fstat(file.fd).st_blocks * ALLOCATED_UNIT
        if image_format == "raw":
            return ImageInfo(path, image_format, file.size_bytes, host_bytes)
        size_bytes, details = _qcow2_info(file)
        return ImageInfo(path, image_format, size_bytes, host_bytes, details)
    finally:
        file.close()


def _qcow2_info(file: HostFile) -> tuple[int, Qcow2Info]:
    header = read_header(file)
    names = {number: name for name, number in COMPRESSIONS.items()}
    return header.size_bytes, Qcow2Info(
        version=header.version,
        cluster_size=header.cluster_size,
        refcount_bits=1 << header.refcount_order,
        compression=names[header.compression_type],
        has_subclusters=header.has_subclusters,
        is_dirty=header.is_dirty,
        is_corrupt=header.is_corrupt,
        backing_name=header.backing_name,
        backing_format=header.backing_format,
        data_file_name=header.data_file_name,
        snapshots=read_snapshots(file, header)[0],
    )
