"""A system on a disk of its own, for kernels and tools that want a block device as their root.

e2fsprogs of the host makes the file system: `mke2fs -d` copies a directory into a new image, and
`debugfs` then sets what an unprivileged directory could not hold: owners, modes, devices.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from maquina.errors import HostError, ImageError, UsageError
from maquina.images.cache import host_limits
from maquina.images.trees import Node, walk
from maquina.storage.layers.layer import Layer

MIN_SIZE = 16 << 20
_SPARE = 256 << 20  # bytes a disk has beyond its contents if no size is asked for
_PLACES = "/usr/sbin:/sbin:/usr/local/sbin"  # where e2fsprogs is, if not on an ordinary PATH
_PLAIN = re.compile(rb'[^"\n\r\0]*')  # what debugfs can be told between double quotes


def make_disk(layers: Sequence[Path], path: Path, size_bytes: int | None = None) -> None:
    """Write a raw image with an ext4 file system of the merged layers at `path`.

    HostError if e2fsprogs is missing or the disk is full, UsageError if the size is too small.
    Nothing is left at `path` if it fails.
    """
    opened = [Layer.open(each) for each in layers]
    draft = path.with_name(path.name + ".unfinished")
    try:
        with host_limits(path), tempfile.TemporaryDirectory(dir=path.parent) as folder:
            nodes = list(walk(opened))
            root = Path(folder) / "root"
            _write_tree(nodes, root)
            used = sum(-(-node.record.size // 4096) + 1 for node in nodes) * 4096
            _make_file_system(draft, root, size_bytes or used + used // 8 + _SPARE, used)
            _set_attributes(draft, nodes)
            draft.rename(path)
    finally:
        draft.unlink(missing_ok=True)
        for layer in opened:
            layer.close()


def _write_tree(nodes: Sequence[Node], root: Path) -> None:
    """The contents as files of ours: all readable, devices left out."""
    first: dict[int, Path] = {}
    for node in nodes:
        place = root / os.fsdecode(node.path)
        mode = node.record.mode
        if stat.S_ISDIR(mode):
            place.mkdir()
        elif stat.S_ISLNK(mode):
            place.symlink_to(os.fsdecode(node.read()))
        elif stat.S_ISREG(mode) and node.ino in first:
            place.hardlink_to(first[node.ino])
        elif stat.S_ISREG(mode):
            place.write_bytes(node.read())
            first[node.ino] = place
        if not stat.S_ISLNK(mode) and place.exists():
            os.utime(place, ns=(node.record.mtime_ns, node.record.mtime_ns))


def _make_file_system(image: Path, root: Path, size: int, used: int) -> None:
    if size < max(MIN_SIZE, used):
        needed = max(MIN_SIZE, used + used // 8) >> 20
        raise UsageError(f"a disk of {size >> 20} MiB is too small", f"ask for {needed} MiB")
    with image.open("wb") as file:
        file.truncate(size)
    # Checksums of metadata need a module that kernels ask for without naming it; a journal stays.
    command = [_tool("mke2fs"), "-q", "-F", "-t", "ext4", "-O", "^metadata_csum", "-b", "4096",
               "-m", "0", "-E", "root_owner=0:0", "-d", str(root), str(image)]  # fmt: skip
    _run(command, b"")


def _set_attributes(image: Path, nodes: Sequence[Node]) -> None:
    lines = [line for node in nodes for line in _commands(node)]
    output = _run([_tool("debugfs"), "-w", "-f", "-", str(image)], b"\n".join([*lines, b""]))
    usual = (b"debugfs", b"Allocated inode")  # commands are repeated with its name before them
    problems = [line for line in output.splitlines() if line and not line.startswith(usual)]
    if problems:
        raise ImageError(f"debugfs refuses: {problems[0].decode(errors='replace')}", "report it")


def _commands(node: Node) -> Iterator[bytes]:
    """What to tell debugfs about one name."""
    path, record = b"/" + node.path, node.record
    if not _PLAIN.fullmatch(path):
        raise ImageError(f"{path!r} is a name that debugfs cannot be told", "use layers instead")
    kind = stat.S_IFMT(record.mode)
    place, _, name = path.rpartition(b"/")
    if kind in (stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO):
        letter = {stat.S_IFCHR: "c", stat.S_IFBLK: "b", stat.S_IFIFO: "p"}[kind]
        numbers = f" {os.major(record.rdev)} {os.minor(record.rdev)}" if letter != "p" else ""
        yield b'cd "%s"' % (place or b"/")
        yield b'mknod "%s" %s%s' % (name, letter.encode(), numbers.encode())
    elif kind == stat.S_IFSOCK:
        return  # a socket in an image has nobody behind it
    for field, value in (("mode", record.mode), ("uid", record.uid), ("gid", record.gid)):
        text = f"0{value:o}" if field == "mode" else str(value)
        yield b'sif "%s" %s %s' % (path, field.encode(), text.encode())


def _tool(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_PLACES}")
    if found is None:
        raise HostError(f"making a disk needs {name}", "install e2fsprogs, or use layers instead")
    return found


def _run(command: list[str], told: bytes) -> bytes:
    done = subprocess.run(
        command, input=told, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode != 0:
        last = done.stdout.decode(errors="replace").strip().splitlines()[-1:]
        reason = last[0] if last else f"status {done.returncode}"
        if "allocate" in reason or "No space" in reason:
            raise UsageError(
                f"the files do not fit on the disk ({reason})", "ask for a larger one"
            )
        raise ImageError(f"{Path(command[0]).name} failed: {reason}", "see its message")
    return done.stdout
