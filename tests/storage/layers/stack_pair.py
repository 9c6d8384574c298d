"""A stack and a directory of the host, to which the same is done."""

from __future__ import annotations

import errno
import os
import random
import stat
from collections.abc import Callable
from pathlib import Path

from maquina.storage.layers.stack import Stack

NAMES = ["a", "b", "c"]


def outcome(action: Callable[[], object]) -> int:
    """The errno of an action, 0 if it succeeds."""
    try:
        action()
    except OSError as error:
        return error.errno or -1
    return 0


def read(stack: Stack, path: str) -> bytes:
    inode = stack.find(path)
    buffer = bytearray(inode.size)
    assert stack.read_into(inode.ino, 0, [memoryview(buffer)]) == inode.size
    return bytes(buffer)


Description = tuple[str, int, bytes]  # mode, links, contents or target


def seen(stack: Stack, prefix: str = "", ino: int = 1) -> dict[str, Description]:
    """Every path of a stack, with what it is."""
    found: dict[str, Description] = {}
    for _, name, child, _ in stack.list(ino, 0):
        path, inode = prefix + os.fsdecode(name), stack.inode(child)
        contents = b""
        if inode.is_directory:
            assert stack.parent(child) == ino
            found |= seen(stack, path + "/", child)
        elif stat.S_ISLNK(inode.mode):
            contents = stack.read_link(child)
        else:
            contents = read(stack, path)
        found[path] = describe(inode.mode, inode.links, contents)
    return found


def on_host(root: Path) -> dict[str, Description]:
    """Every path below a directory of the host, likewise."""
    found: dict[str, Description] = {}
    for path in root.rglob("*"):
        status, contents = path.lstat(), b""
        if path.is_symlink():
            contents = os.fsencode(path.readlink())
        elif path.is_file():
            contents = path.read_bytes()
        found[str(path.relative_to(root))] = describe(status.st_mode, status.st_nlink, contents)
    return found


def describe(mode: int, links: int, contents: bytes) -> Description:
    return (stat.filemode(mode), 1 if stat.S_ISDIR(mode) else links, contents)


class Pair:
    """A stack and a directory of the host, to which the same is done."""

    def __init__(self, stack: Stack, host: Path) -> None:
        self.stack, self.host = stack, host

    def place(self, path: str) -> tuple[int, bytes]:
        directory, _, name = path.rpartition("/")
        return self.stack.find(directory).ino, name.encode()

    def write(self, path: str, offset: int, data: bytes) -> tuple[int, int]:
        def here() -> None:
            self.stack.write_from(self.regular(path), offset, [memoryview(data)])

        def there() -> None:
            with open(self.host / path, "r+b", opener=no_follow) as file:
                file.seek(offset)
                file.write(data)

        return outcome(here), outcome(there)

    def regular(self, path: str) -> int:
        inode = self.stack.find(path)
        if stat.S_ISLNK(inode.mode):
            raise OSError(errno.ELOOP, "symlink")
        return inode.ino

    def truncate(self, path: str, size: int) -> tuple[int, int]:
        def there() -> None:
            fd = no_follow(str(self.host / path), os.O_RDWR)
            os.ftruncate(fd, size)
            os.close(fd)

        return (
            outcome(lambda: self.stack.change(self.regular(path), {"size": size})),
            outcome(there),
        )

    def create(self, path: str, directory: bool) -> tuple[int, int]:
        mode = (stat.S_IFDIR | 0o755) if directory else (stat.S_IFREG | 0o640)
        return (
            outcome(lambda: self.stack.create(*self.place(path), mode, (0, 0))),
            outcome(lambda: made(self.host / path, directory)),
        )

    def symlink(self, path: str, target: str) -> tuple[int, int]:
        return (
            outcome(lambda: self.stack.symlink(*self.place(path), target.encode(), (0, 0))),
            outcome(lambda: (self.host / path).symlink_to(target)),
        )

    def link(self, old: str, new: str) -> tuple[int, int]:
        return (
            outcome(lambda: self.stack.link(self.stack.find(old).ino, *self.place(new))),
            outcome(lambda: os.link(self.host / old, self.host / new, follow_symlinks=False)),
        )

    def remove(self, path: str, directory: bool) -> tuple[int, int]:
        there = os.rmdir if directory else os.unlink
        return (
            outcome(lambda: self.forget(self.stack.remove(*self.place(path), directory))),
            outcome(lambda: there(self.host / path)),
        )

    def rename(self, old: str, new: str) -> tuple[int, int]:
        return (
            outcome(lambda: self.forget(self.stack.rename(self.place(old), self.place(new), 0))),
            outcome(lambda: (self.host / old).rename(self.host / new)),
        )

    def chmod(self, path: str, mode: int) -> tuple[int, int]:
        def there() -> None:
            if (self.host / path).is_symlink():
                raise OSError(errno.ELOOP, "symlink")
            (self.host / path).chmod(mode)

        return (
            outcome(lambda: self.stack.change(self.regular(path), {"mode": mode})),
            outcome(there),
        )

    def forget(self, ino: int) -> None:
        if ino:
            self.stack.forget(ino)

    def step(self, choose: random.Random) -> tuple[int, int]:
        def path() -> str:
            return "/".join(choose.choices(NAMES, k=choose.choice([1, 1, 2, 2, 2, 3])))

        actions: list[Callable[[], tuple[int, int]]] = [
            lambda: self.write(path(), choose.randrange(20000), choose.randbytes(500)),
            lambda: self.truncate(path(), choose.choice([0, 5, 9000, 30000])),
            lambda: self.create(path(), choose.random() < 0.5),
            lambda: self.create(path(), choose.random() < 0.5),
            lambda: self.symlink(path(), "nowhere"),
            lambda: self.link(path(), path()),
            lambda: self.remove(path(), choose.random() < 0.3),
            lambda: self.rename(path(), path()),
            lambda: self.rename(path(), path()),
            lambda: self.chmod(path(), choose.choice([0o600, 0o755, 0o700])),
        ]
        return choose.choice(actions)()


def no_follow(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW)


def made(path: Path, directory: bool) -> None:
    if directory:
        path.mkdir(mode=0o755)
        path.chmod(0o755)
    else:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640))
        path.chmod(0o640)


def unpack(stack: Stack, host: Path) -> None:
    """What a stack has, as files of the host. Paths of hard links must come in one directory."""
    links: dict[int, Path] = {}
    todo = [(1, host)]
    while todo:
        ino, place = todo.pop()
        for _, name, child, mode in stack.list(ino, 0):
            path, inode = place / os.fsdecode(name), stack.inode(child)
            if inode.is_directory:
                path.mkdir()
                todo.append((child, path))
            elif stat.S_ISLNK(mode):
                path.symlink_to(os.fsdecode(inode.target))
                continue
            elif child in links:
                path.hardlink_to(links[child])
            else:
                buffer = bytearray(inode.size)
                stack.read_into(child, 0, [memoryview(buffer)])
                path.write_bytes(buffer)
                links[child] = path
            path.chmod(stat.S_IMODE(inode.mode))


# Of several reasons to refuse, which is told first may differ.
NO_PATH = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
NO_TARGET = {errno.EISDIR, errno.ENOTEMPTY, errno.ENOTDIR, errno.EINVAL}


def alike(here: int, there: int) -> bool:
    """Whether two errnos tell the same, or two of the reasons that may hold at a time."""
    return here == there or {here, there} <= NO_PATH or {here, there} <= NO_TARGET
