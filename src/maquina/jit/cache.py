"""The object cache: files of machine code in `$XDG_CACHE_HOME/maquina/native`.

A file is named after the digest of all it depends on and holds its own checksum, so a truncated
or corrupt one is found and made again. It appears whole (written beside, then renamed), so any
number of processes may share the directory. Where nothing can be written nothing is kept.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

MAGIC = b"maquina-native-1"
CHECKSUM_BYTES = 32

# A program whose natives differ on every run, as tests have, would fill the disk.
LARGEST_CACHE_BYTES = 64 << 20


def directory() -> Path:
    """Where object files are kept."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(root) if Path(root).is_absolute() else Path.home() / ".cache"
    return base / "maquina" / "native"


def load(key: str) -> bytes | None:
    """The object code kept under a key; None if there is none, or it is damaged."""
    path = directory() / key
    try:
        kept = path.read_bytes()
    except OSError:
        return None
    head, code = kept[: len(MAGIC) + CHECKSUM_BYTES], kept[len(MAGIC) + CHECKSUM_BYTES :]
    if head != MAGIC + _checksum(code):
        return None
    with suppress(OSError):
        os.utime(path)  # the eviction goes by age of last use
    return code


def store(key: str, code: bytes) -> None:
    """Keep object code under a key, if the directory can be written."""
    place = directory()
    with suppress(OSError):
        place.mkdir(parents=True, exist_ok=True)
        new = place / f".{key}-{os.urandom(8).hex()}"
        try:
            new.write_bytes(MAGIC + _checksum(code) + code)
            new.replace(place / key)
        except OSError:
            new.unlink(missing_ok=True)
            raise
        evict(place, LARGEST_CACHE_BYTES)


def evict(place: Path, limit: int) -> None:
    """Remove the files used longest ago until the rest is at most `limit` bytes."""
    files = []
    for path in place.iterdir():
        with suppress(OSError):  # another process removed it
            status = path.stat()
            files.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= limit:
            return
        with suppress(OSError):
            path.unlink()
        total -= size


def _checksum(code: bytes) -> bytes:
    return hashlib.blake2b(code, digest_size=CHECKSUM_BYTES).digest()
