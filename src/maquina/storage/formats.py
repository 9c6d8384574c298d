"""Opening a disk image of any format, and what may be opened beneath it.

An image is only bytes that someone gave us, or that a guest wrote. Two dangers follow.

*Backing files.* A qcow2 header can name any file; opening it would show a host's secrets to the
guest. So backing files and external data files are refused unless `allow_backing` says otherwise:
True for any local file, or the directories that they must be in (symbolic links resolved). Names
are taken relative to the image's directory; no protocols (`json:`, `nbd:`), no devices but block
devices.

*Probing.* A guest that has a raw disk can write a qcow2 header into it. So formats are stated
where it matters: a file taken for raw because nothing else fits refuses to be turned into
something else (`raw.RawImage`), and a backing file whose format its overlay does not state may
not name further files.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from maquina.errors import FormatError, ImageError, UsageError
from maquina.storage.disk import Disk
from maquina.storage.hostfile import HostFile
from maquina.storage.magic import MAGIC_BYTES, known_format
from maquina.storage.qcow2.create import Backing, Options, create
from maquina.storage.qcow2.header import Header
from maquina.storage.qcow2.image import Qcow2Image, read_header
from maquina.storage.raw import RawImage

FORMATS = ("raw", "qcow2")
# A chain of overlays costs a file, a lock and tables each, and a read descends all of it.
MAX_CHAIN = 32

AllowBacking = bool | Sequence[Path]


@dataclass(frozen=True)
class _Chain:
    """What the overlays above an image have settled."""

    allow: AllowBacking
    seen: frozenset[tuple[int, int]] = frozenset()
    """The files above, so that a loop is found."""


def detect(path: Path) -> str:
    """The format of a file by its first bytes: "raw" if they say nothing.

    ImageError if it is a format that cannot be read here.
    """
    file = HostFile(path, is_read_only=True, is_locked=False)
    try:
        return _detect(file)
    finally:
        file.close()


def _detect(file: HostFile) -> str:
    found = known_format(file.read(0, MAGIC_BYTES)) or "raw"
    if found not in FORMATS:
        raise ImageError(
            f"{file.path} is a {found} image",
            "convert it with qemu-img convert -O qcow2, or say that its format is raw",
        )
    return found


def open_image(
    path: Path,
    *,
    read_only: bool = False,
    image_format: str | None = None,
    allow_backing: AllowBacking = False,
) -> Disk:
    """Open a disk image and, if `allow_backing` lets it, what it lies on (read-only, always).

    Without `image_format` ("raw" or "qcow2") the format is told from the first bytes. An image
    that was not closed properly is repaired first, unless opened read-only. Errors: ImageError
    if it cannot be used or someone else uses it, FormatError if it is damaged, HostError if the
    host does not let us.
    """
    _check_format(image_format)
    return _open(path, image_format, read_only, _Chain(allow_backing))


def _check_format(image_format: str | None) -> None:
    if image_format not in (None, *FORMATS):
        raise UsageError(f"there is no disk format {image_format}", "use raw or qcow2")


def _open(path: Path, image_format: str | None, read_only: bool, chain: _Chain) -> Disk:
    with ExitStack() as undo:
        file = HostFile(path, is_read_only=read_only)
        undo.callback(file.close)
        if file.identity in chain.seen:
            raise ImageError(f"{path} lies on itself", "the image is damaged or hostile")
        disk: Disk
        if (image_format or _detect(file)) == "raw":
            disk = RawImage(file, is_guessed=image_format is None)
        else:
            seen = chain.seen | {file.identity}
            try:
                disk = _open_qcow2(file, _Chain(chain.allow, seen), undo)
            except FormatError as error:
                error.message = f"{path}: {error.message}"
                raise
        undo.pop_all()
        return disk


def _open_qcow2(file: HostFile, chain: _Chain, undo: ExitStack) -> Qcow2Image:
    header = read_header(file)
    backing: Disk | None = None
    data: HostFile | None = None
    if header.has_data_file:
        name = _data_file_name(file.path, header)
        data = HostFile(_resolve(file.path, name, chain), is_read_only=file.is_read_only)
        undo.callback(data.close)
    if header.backing_name is not None:
        backing = _open_backing(file.path, header, chain)
        undo.callback(backing.close)
    if header.is_dirty and not file.is_read_only:
        from maquina.storage.qcow2.check import rebuild

        rebuild(file)
    return Qcow2Image(file, backing=backing, data=data)


def _open_backing(image: Path, header: Header, chain: _Chain) -> Disk:
    path = _resolve(image, header.backing_name or "", chain)
    if len(chain.seen) >= MAX_CHAIN:
        raise ImageError(f"{path} lies below {MAX_CHAIN} overlays", "merge some of them")
    stated = header.backing_format
    if stated not in (None, *FORMATS):
        raise ImageError(f"{image} lies on a {stated} image", "convert its backing file to qcow2")
    # Whoever wrote into a file of unstated format does not choose what else is opened.
    allow = chain.allow if stated else False
    try:
        return _open(path, stated, True, _Chain(allow, chain.seen))
    except ImageError as error:
        error.add_note(f"while opening the backing file of {image}")
        raise


def _data_file_name(image: Path, header: Header) -> str:
    if not header.data_file_name:
        raise ImageError(f"{image} does not name its data file", "convert it with qemu-img")
    return header.data_file_name


def _resolve(image: Path, name: str, chain: _Chain) -> Path:
    """The file that an image names, if it may be opened."""
    if chain.allow is False:
        raise ImageError(
            f"{image} lies on another file, {name!r}, which it is not allowed to open",
            "allow backing files if you trust the image, and state their format in it",
        )
    scheme = name.partition(":")[0]
    if ":" in name and "/" not in scheme:
        raise ImageError(f"{image} lies on {name!r}, not a file", "use an image on a local file")
    if "\0" in name or not name:
        raise ImageError(f"{image} lies on a file without a name", "restore it from a good copy")
    path = image.parent / name
    if chain.allow is True:
        return path
    real = Path(os.path.realpath(path))
    if any(real.is_relative_to(os.path.realpath(directory)) for directory in chain.allow):
        return real
    raise ImageError(
        f"{image} lies on {name!r}, outside the directories allowed for backing files",
        "move the backing file there, or allow its directory",
    )


def create_overlay(
    base: Path,
    path: Path,
    *,
    base_format: str | None = None,
    size_bytes: int | None = None,
    options: Options | None = None,
) -> None:
    """Make a qcow2 image at `path` that shows `base` until it is written to.

    The overlay names `base` relative to itself if both are in one directory, else absolutely, and
    states its format, so that nothing is guessed later. It is as large as `base` unless told.
    A `base` that names further files is taken only if its format is given: see "Probing" above.
    """
    size, base_format = _size_and_format(base, base_format)
    together = path.absolute().parent == base.absolute().parent
    name = base.name if together else str(base.absolute())
    backing = Backing(name, base_format)
    create(path, size if size_bytes is None else size_bytes, backing=backing, options=options)


def _size_and_format(base: Path, stated: str | None) -> tuple[int, str]:
    _check_format(stated)
    file = HostFile(base, is_read_only=True, is_locked=False)
    try:
        if (stated or _detect(file)) == "raw":
            return file.size_bytes, "raw"
        header = read_header(file)
        if stated is None and (header.backing_name or header.has_data_file):
            raise ImageError(
                f"{base} looks like a qcow2 image that lies on another file",
                "say that its format is qcow2 if you made it, or raw if a guest wrote it",
            )
        return header.size_bytes, "qcow2"
    finally:
        file.close()
