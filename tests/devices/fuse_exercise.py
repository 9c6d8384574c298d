"""Do the same, at random, in two directories; exit with a message where they differ.

    python fuse_exercise.py HERE THERE SEED STEPS

System calls only, so that a mounted file tree can be compared with one of the host's file systems.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import random
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

NAMES = ["a", "b", "c", "d", "e"]
NO_PATH = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
FLAGS = [
    os.O_CREAT,
    os.O_CREAT,
    os.O_CREAT,
    os.O_CREAT | os.O_EXCL,
    os.O_TRUNC,
    os.O_CREAT | os.O_TRUNC,
    os.O_APPEND,
]

Result = object
Action = Callable[[Path], Result]


class Exercise:
    """Steps of one random sequence; each is a function of the directory it happens in."""

    def __init__(self, seed: int, root: Path) -> None:
        self.choose, self.root = random.Random(seed), root
        self.known: list[str] = []

    def path(self) -> str:
        if self.known and self.choose.random() < 0.6:
            return self.choose.choice(self.known)
        return "/".join(self.choose.choices(NAMES, k=self.choose.choice([1, 2, 2, 3])))

    def step(self) -> tuple[str, Action]:
        steps = [
            self.write, self.write, self.write, self.write, self.read, self.read, self.map,
            self.make, self.remove, self.rename, self.link, self.symlink, self.chmod,
            self.truncate, self.list, self.status, self.times, self.copy, self.copy, self.unlinked,
        ]  # fmt: skip
        if self.choose.random() < 0.2:
            self.known = sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*"))
        chosen = self.choose.choice(steps)
        return chosen.__name__, chosen()

    def write(self) -> Action:
        path, flags = self.path(), os.O_RDWR | self.choose.choice(FLAGS)
        data, at = (
            self.choose.randbytes(self.choose.choice([1, 700, 20_000])),
            self.choose.randrange(30_000),
        )

        def action(root: Path) -> Result:
            with opened(root / path, flags) as file:
                os.lseek(file, at, os.SEEK_SET)
                return os.write(file, data), os.lseek(file, 0, os.SEEK_CUR)

        return action

    def read(self) -> Action:
        path, at, size = self.path(), self.choose.randrange(40_000), self.choose.randrange(20_000)

        def action(root: Path) -> Result:
            with opened(root / path, os.O_RDONLY) as file:
                if stat.S_ISDIR(os.fstat(file).st_mode):
                    return "directory"
                return os.pread(file, size, at)

        return action

    def map(self) -> Action:
        path, at = self.path(), self.choose.randrange(10_000)

        def action(root: Path) -> Result:
            with opened(root / path, os.O_RDWR) as file:
                size = os.fstat(file).st_size
                if size <= at:
                    return size
                with mmap.mmap(file, size) as view:
                    view[at : at + 1] = b"M"
                    return bytes(view)

        return action

    def make(self) -> Action:
        path, mode = self.path(), self.choose.choice([0o755, 0o700])
        return lambda root: (root / path).mkdir(mode)

    def remove(self) -> Action:
        path, is_directory = self.path(), self.choose.random() < 0.3
        return lambda root: (os.rmdir if is_directory else os.unlink)(root / path)

    def rename(self) -> Action:
        old, new = self.path(), self.path()
        return lambda root: str((root / old).rename(root / new).relative_to(root))

    def link(self) -> Action:
        old, new = self.path(), self.path()
        return lambda root: os.link(root / old, root / new, follow_symlinks=False)

    def symlink(self) -> Action:
        path, target = self.path(), self.path()
        return lambda root: (root / path).symlink_to(target)

    def chmod(self) -> Action:
        path, mode = self.path(), self.choose.choice([0o644, 0o600, 0o755, 0o2755, 0o4755])
        return lambda root: (root / path).chmod(mode | 0o100)

    def truncate(self) -> Action:
        path, size = self.path(), self.choose.choice([0, 1, 5000, 70_000])
        return lambda root: os.truncate(root / path, size)

    def list(self) -> Action:
        path = self.path()
        return lambda root: sorted(entry.name for entry in (root / path).iterdir())

    def status(self) -> Action:
        path = self.path()
        return lambda root: described((root / path).lstat())

    def times(self) -> Action:
        path, when = self.path(), self.choose.randrange(-(10**9), 10**18)

        def action(root: Path) -> Result:
            os.utime(root / path, ns=(when, when + 1))
            return (root / path).stat().st_mtime_ns

        return action

    def copy(self) -> Action:
        old, new, size = self.path(), self.path(), self.choose.randrange(40_000)

        def action(root: Path) -> Result:
            with (
                opened(root / old, os.O_RDONLY) as source,
                opened(root / new, os.O_RDWR) as target,
            ):
                if os.fstat(source).st_ino == os.fstat(target).st_ino:
                    return "the same"
                return os.copy_file_range(source, target, size, 5, 7)

        return action

    def unlinked(self) -> Action:
        path, data = "u", self.choose.randbytes(5000)

        def action(root: Path) -> Result:
            with opened(root / path, os.O_RDWR | os.O_CREAT) as file:
                (root / path).unlink()
                os.pwrite(file, data, 100)
                return os.pread(file, 10_000, 0), os.fstat(file).st_nlink

        return action


@contextlib.contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    """A descriptor, closed afterwards."""
    file = os.open(path, flags | os.O_CLOEXEC, 0o644)
    try:
        yield file
    finally:
        os.close(file)


def described(status: os.stat_result) -> tuple[object, ...]:
    is_directory = stat.S_ISDIR(status.st_mode)
    return (
        stat.filemode(status.st_mode),
        "directory" if is_directory else (status.st_size, status.st_nlink),
        status.st_uid,
    )


def outcome(action: Action, root: Path) -> Result:
    try:
        return action(root)
    except OSError as error:
        return NO_PATH if error.errno in NO_PATH else os.strerror(error.errno or 0)


def tree(root: Path) -> dict[str, Result]:
    found: dict[str, Result] = {}
    for path in root.rglob("*"):
        contents = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[str(path.relative_to(root))] = (described(path.lstat()), contents)
    return found


def main() -> int:
    here, there, seed, steps = Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:])
    exercise = Exercise(seed, here)
    for number in range(steps):
        name, action = exercise.step()
        one, other = outcome(action, here), outcome(action, there)
        if one != other:
            print(f"seed {seed}, step {number}, {name}: {one!r:.200} here, {other!r:.200} there")
            return 1
    if tree(here) != tree(there):
        print(f"seed {seed}: the trees differ in the end")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
