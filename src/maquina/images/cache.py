"""Where fetched and built things are kept, shared safely by all runs of a user.

    $XDG_CACHE_HOME/maquina/        (default ~/.cache/maquina)
        guests/KEY.json             what a request resolved to: the only file a warm start reads
        layers/KEY/                 file trees, as storage.layers has them
        unprepared/KEY              why a layer of a system prepared could not be made
        kernels/KEY/Image           a kernel
        modules/KEY/                modules of a kernel for one purpose
        tools/KEY/                  programs for the inside of a guest
        indexes/SHA256.zst          package lists of a mirror
        packages/SHA256.deb         downloaded packages, `.part` while incomplete
        disks/KEY                   disk images of whole systems
        locks/                      one file per entry, held by whoever makes or uses it

An entry appears whole, by a rename, or not at all. Who makes one holds its lock; others wait for
it and find it made. Who uses one holds its lock shared, so that `prune` leaves it alone. Locks are
the kernel's (flock): a killed process leaves none behind.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from maquina.errors import HostError
from maquina.images.progress import SILENT, Progress

KINDS = (
    "guests", "layers", "unprepared", "kernels", "modules", "tools", "indexes", "packages",
    "disks",
)  # fmt: skip
_UNFINISHED = ".unfinished-"


@dataclass(frozen=True)
class Entry:
    """Something in the cache: its size on disk and when it was last asked for (seconds, Unix)."""

    kind: str
    name: str
    path: Path
    size_bytes: int
    used_at: float


class Cache:
    """One directory of the layout above."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def of_user(cls) -> Cache:
        """The cache of whoever runs this."""
        base = Path(os.environ.get("XDG_CACHE_HOME", ""))
        if not base.is_absolute():  # which the XDG specification says to ignore
            base = Path.home() / ".cache"
        return cls(base / "maquina")

    def path(self, kind: str, name: str) -> Path:
        """Where an entry is or would be."""
        return self.root / kind / name

    @contextmanager
    def making(self, kind: str, name: str, progress: Progress = SILENT) -> Iterator[Path | None]:
        """Make an entry: a path to write a file or directory at, or None if it is there already.

        The entry appears when the block ends without an exception; otherwise nothing is left. A
        second process that wants the same entry waits until the first is done.
        """
        final = self.path(kind, name)
        if final.exists():
            yield None
            return
        with host_limits(final), self._locked(kind, name, progress):
            if final.exists():
                yield None
                return
            draft = final.with_name(_UNFINISHED + final.name)
            remove(draft)  # left by a process that was killed: whoever holds the lock owns it
            try:
                yield draft
                draft.rename(final)
            finally:
                remove(draft)

    @contextmanager
    def held(self, kind: str, name: str, progress: Progress = SILENT) -> Iterator[None]:
        """Hold an entry's lock alone, to do with it what `making` does not cover."""
        with host_limits(self.path(kind, name)), self._locked(kind, name, progress):
            yield

    @contextmanager
    def using(self, paths: Iterable[Path]) -> Iterator[None]:
        """Keep `prune` from removing the entries that these paths are in."""
        held = []
        try:
            for kind, name in {path.relative_to(self.root).parts[:2] for path in paths}:
                held.append(self._open_lock(kind, name))
                fcntl.flock(held[-1], fcntl.LOCK_SH)
            yield
        finally:
            for fd in held:
                os.close(fd)

    def touch(self, kind: str, name: str) -> None:
        """Note that an entry has been asked for."""
        with suppress(OSError):
            os.utime(self.path(kind, name))

    def entries(self) -> list[Entry]:
        """Everything finished in the cache, largest first."""
        found = []
        for kind in KINDS:
            for path in sorted(self.root.joinpath(kind).glob("*")):
                if not path.name.startswith("."):
                    size, used_at = _measure(path)
                    found.append(Entry(kind, path.name, path, size, used_at))
        return sorted(found, key=lambda entry: -entry.size_bytes)

    def prune(self, unused_for_s: float = 0) -> int:
        """Remove what nobody has asked for so long and nobody uses; the bytes that were freed."""
        before, freed = time.time() - unused_for_s, 0
        for entry in self.entries():
            if entry.used_at <= before and self._remove_idle(entry):
                freed += entry.size_bytes
        for path in self.root.glob(f"*/.*{_UNFINISHED.strip('.')}*"):
            self._remove_abandoned(path)
        return freed

    def _remove_abandoned(self, path: Path) -> None:
        """Remove what a killed process was making, unless somebody has begun it again."""
        name = path.name.partition(_UNFINISHED)[2]
        if path.name.startswith("." + _UNFINISHED):
            name = name.rpartition(".")[0]  # a layer's writer adds a word of its own
        if name:
            self._remove_idle(Entry(path.parent.name, name, path, 0, 0.0))

    def _remove_idle(self, entry: Entry) -> bool:
        fd = self._open_lock(entry.kind, entry.name)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove(entry.path)
        except BlockingIOError:
            return False
        finally:
            os.close(fd)
        return True

    def _open_lock(self, kind: str, name: str) -> int:
        for folder in (kind, "locks"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        path = self.root / "locks" / f"{kind}-{name}"
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    @contextmanager
    def _locked(self, kind: str, name: str, progress: Progress) -> Iterator[None]:
        fd = self._open_lock(kind, name)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                progress.note("waiting for another run that is preparing the same files")
                fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


@contextmanager
def host_limits(path: Path) -> Iterator[None]:
    """Say in words what the host refuses: no room, no permission, a read-only file system."""
    try:
        yield
    except OSError as error:
        remedies = {
            errno.ENOSPC: "make room, or set XDG_CACHE_HOME to a disk that has some",
            errno.EDQUOT: "your quota is used up; set XDG_CACHE_HOME to another disk",
            errno.EACCES: "set XDG_CACHE_HOME to a directory that you may write",
            errno.ENOTDIR: "set XDG_CACHE_HOME to a directory",
            errno.EROFS: "set XDG_CACHE_HOME to a directory that can be written",
        }
        if error.errno not in remedies:
            raise
        raise HostError(
            f"cannot write below {path.parent}: {error.strerror}", remedies[error.errno]
        ) from error


def remove(path: Path) -> None:
    """Remove a file or a tree, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _measure(path: Path) -> tuple[int, float]:
    """Bytes on disk of a file or tree, and the latest time any of it was marked as used."""
    stats = [path.lstat()]
    if path.is_dir():
        stats += [inner.lstat() for inner in path.rglob("*")]
    return sum(stat.st_blocks * 512 for stat in stats), stats[0].st_mtime
