"""The writable part of a stack: contents, a journal, and how much a guest may store.

On disk it is a directory with `contents/` and, if it is kept, `journal`. A temporary one has no
journal, and goes with its process, however that ends. One that is written no more can be the
ground for others: `Frozen`.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from maquina.errors import FormatError, HostError
from maquina.storage.layers.beside import FLAGS, Beside
from maquina.storage.layers.contents import Contents
from maquina.storage.layers.journal import MAGIC, Change, Journal, read, write

CONTENTS_NAME = "contents"
JOURNAL_NAME = "journal"

# What a guest may store unless told otherwise. A guest can write as long as it runs: without a
# bound it fills the host's disk.
DEFAULT_LIMIT = 64 << 30
# Host memory for names, symlinks, extended attributes and inodes that a guest makes.
TABLE_LIMIT = 1 << 30


class Upper:
    """Where a stack writes. Made by `temporary` or `open`, closed by the stack that has it."""

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self.path = path
        self.limit_bytes = limit_bytes
        self.table_bytes = 0
        self.journal: Journal | None = None
        self._beside: Beside | None = None
        self._lock = -1
        (path / CONTENTS_NAME).mkdir(parents=True, exist_ok=True)
        self.contents = Contents(path / CONTENTS_NAME)

    @classmethod
    def temporary(cls, parent: str | os.PathLike[str], limit_bytes: int = DEFAULT_LIMIT) -> Upper:
        """One that is removed when it is closed, in a directory that belongs to the user.

        If the process is killed instead, the next one made in `parent` removes it.
        """
        try:
            beside = Beside(Path(parent) / "upper")
            upper = cls(beside.path, limit_bytes)
        except OSError as error:
            raise _refused(Path(parent), error) from error
        upper._beside = beside
        return upper

    @classmethod
    def open(cls, path: str | os.PathLike[str], limit_bytes: int = DEFAULT_LIMIT) -> Upper:
        """One that is kept, made if it is not there. HostError if another process has it."""
        path = Path(path)
        try:
            upper = cls(path, limit_bytes)
            upper._lock = _locked(path, fcntl.LOCK_EX)
            # A killed rewrite leaves this beside the journal, which is still whole.
            (path / JOURNAL_NAME).with_suffix(".new").unlink(missing_ok=True)
            upper.journal = Journal(path / JOURNAL_NAME)
        except OSError as error:
            raise _refused(path, error) from error
        return upper

    def charge(self, size: int) -> None:
        """Account for host memory. OSError ENOSPC if a guest has made too many files."""
        if self.table_bytes + size > TABLE_LIMIT:
            raise OSError(errno.ENOSPC, "too many files")
        self.table_bytes += size

    def has_room(self, size: int) -> bool:
        """Whether a guest may store so many more bytes."""
        return self.contents.used_bytes + size <= self.limit_bytes

    def freeze(self, path: Path, changes: Iterable[Change]) -> Frozen:
        """Write its table, move it to `path` on the same host file system, and close it."""
        try:
            write(self.path / JOURNAL_NAME, changes)
            if self._beside is None:
                self.path.rename(path)
            elif not self._beside.appear(path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        except OSError as error:
            raise _refused(path, error) from error
        self.close()
        return Frozen(path)

    def close(self) -> None:
        """Close its files; a temporary one is removed."""
        self.contents.close()
        if self.journal is not None:
            self.journal.close()
        if self._beside is not None:
            self._beside.discard()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


class Frozen:
    """An upper that is written no more, open for reading by any number of processes."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open it. HostError if there is none or a machine still writes it, FormatError if bad."""
        self.path = Path(path)
        try:
            self._lock = _locked(self.path, fcntl.LOCK_SH)
            self._journal = (self.path / JOURNAL_NAME).read_bytes()
        except OSError as error:
            raise _refused(self.path, error) from error
        self.contents = Contents(self.path / CONTENTS_NAME, is_read_only=True)
        self.identity = hashlib.sha256(self._journal).digest()

    def changes(self) -> Iterator[Change]:
        """What it changed. FormatError if the table is damaged."""
        end = len(MAGIC)
        for end, change in read(self._journal, self.path):  # noqa: B007
            yield change
        if end != len(self._journal):
            raise FormatError(f"the table of {self.path} is damaged")

    def close(self) -> None:
        """Close its files."""
        self.contents.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _locked(path: Path, kind: int) -> int:
    lock = os.open(path, FLAGS)
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise
    return lock


def _refused(path: Path, error: OSError) -> HostError:
    if isinstance(error, BlockingIOError):
        return HostError(f"{path} is in use by another machine", "stop it first")
    return HostError(f"cannot write in {path} ({error.strerror})", "make room or choose another")
