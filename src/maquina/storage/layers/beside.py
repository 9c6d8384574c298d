"""Directories that appear whole or not at all.

One is made beside its place under a name that begins with a dot, and renamed when it is complete
and on stable storage. What a killed process leaves behind goes when the next one begins.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Beside:
    """A new directory to become `path`. `path` is where it is now; `target` where it will be."""

    def __init__(self, target: Path) -> None:
        """Make it, and remove those of dead processes for the same place. OSError if it cannot.

        A maker holds a lock on its directory. The parent is locked between making and locking, so
        that nobody takes a new directory for a dead one's.
        """
        self.target = target
        prefix = f".{target.name}."
        target.parent.mkdir(parents=True, exist_ok=True)
        guard = os.open(target.parent, FLAGS)
        try:
            fcntl.flock(guard, fcntl.LOCK_EX)
            for other in target.parent.iterdir():
                if other.name.startswith(prefix):
                    _sweep(other)
            self.path = target.parent / f"{prefix}{os.urandom(8).hex()}"
            self.path.mkdir(0o700)
            self._lock = os.open(self.path, FLAGS)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        finally:
            os.close(guard)

    def appear(self, target: Path | None = None) -> bool:
        """Rename it to its place, or another. False, and it is removed, if something is there.

        The files in it must have been synced. OSError if the host cannot.
        """
        target = target or self.target
        try:
            sync_directory(self.path)
            self.path.rename(target)
            sync_directory(target.parent)
        except OSError:
            if not target.is_dir():
                raise
            return False
        else:
            return True
        finally:
            self.discard()

    def discard(self) -> None:
        """Remove it, unless it has appeared. Does nothing the second time."""
        if self._lock >= 0:
            _remove(self.path)
            os.close(self._lock)
            self._lock = -1


def sync_directory(path: Path) -> None:
    """Return when the names in a directory are on stable storage."""
    fd = os.open(path, FLAGS)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _remove(path: Path) -> None:
    import shutil  # which imports every compression there is

    shutil.rmtree(path, ignore_errors=True)


def _sweep(path: Path) -> None:
    """Remove a directory whose maker is dead."""
    try:
        lock = os.open(path, FLAGS)
    except OSError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(path)
    except BlockingIOError:
        pass
    finally:
        os.close(lock)
