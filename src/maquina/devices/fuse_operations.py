"""What a guest may ask of a file tree: one function for each request, and the table of them.

A function is given the session and the request, and returns the body of the answer; a number of
bytes that it has put into the request's room itself; or None if there is no answer. OSError is an
answer too. The table tells the least body of a request, which is its structure, and the least room
for its answer: with less, the operation does not begin.

Requests that are not in the table are answered ENOSYS, on which Linux does without:

    OPEN, CREATE, OPENDIR    (if the guest can) files have no handles; it makes files by MKNOD, and
                             saves two requests for each file it opens
    FLUSH, ACCESS            nothing to do: permissions are checked by the guest's kernel, from the
                             attributes it has (virtio-fs mounts imply `default_permissions`)
    FSYNC, SYNCFS            for a tree that goes with its machine
    GETLK, SETLK, SETLKW     locks are kept by the guest: it is the only one
    STATX                    there is no birth time; GETATTR says the rest
    IOCTL, POLL, BMAP, SETUPMAPPING, REMOVEMAPPING
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable, Iterator
from struct import Struct
from typing import NamedTuple

from maquina.devices import fuse_abi as abi
from maquina.devices.fuse_abi import Op
from maquina.devices.fuse_session import MAX_NAME, Request, Session, checked_name
from maquina.devices.virtio.buffers import split
from maquina.machine.files import Attributes

Answer = bytes | bytearray | int | None

# The tree changes only at the guest's request, so what it was told stays true: seconds.
VALID = 1 << 30
BLOCK = 4096
NANO = 1_000_000_000
SPECIAL = (stat.S_IFREG, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK)
MAX_TARGET = 4095  # bytes in a symlink, as in Linux: kept in the host's memory
MAX_XATTR = 1 << 16  # bytes in an extended attribute, as in Linux: likewise
MAX_OFFSET = (1 << 63) - 1
MAX_WRITE = 1 << 20
MAX_PAGES = MAX_WRITE >> 12
MAX_BACKGROUND, CONGESTED = 64, 48

WANTED = (
    abi.ASYNC_READ
    | abi.EXPORT_SUPPORT
    | abi.BIG_WRITES
    | abi.DO_READDIRPLUS
    | abi.READDIRPLUS_AUTO
    | abi.ASYNC_DIO
    | abi.WRITEBACK_CACHE  # small writes and times stay in the guest until it has many
    | abi.NO_OPEN_SUPPORT
    | abi.PARALLEL_DIROPS
    | abi.MAX_PAGES
    | abi.CACHE_SYMLINKS
    | abi.NO_OPENDIR_SUPPORT
    | abi.EXPLICIT_INVAL_DATA  # the guest's cache is never stale
    | abi.HANDLE_KILLPRIV_V2
    | abi.SETXATTR_EXT
)


# The session.


def init(session: Session, request: Request) -> Answer:
    major, minor, readahead, offered = abi.INIT_IN.unpack_from(request.body)
    if major > abi.MAJOR:
        return abi.INIT_OUT.pack(abi.MAJOR, abi.MINOR, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    if major < abi.MAJOR or minor < abi.MINOR_LEAST:
        raise OSError(errno.EPROTO, "too old a version")
    session.start(offered & WANTED)
    return abi.INIT_OUT.pack(
        abi.MAJOR, min(minor, abi.MINOR), readahead, session.flags, MAX_BACKGROUND, CONGESTED,
        MAX_WRITE, 1, MAX_PAGES, 0, 0,
    )  # fmt: skip


def destroy(session: Session, _: Request) -> Answer:
    session.end()
    return b""


def forget(session: Session, request: Request) -> Answer:
    (count,) = abi.FORGET_IN.unpack_from(request.body)
    session.forget(request.node, count)
    return None


def batch_forget(session: Session, request: Request) -> Answer:
    (count,) = abi.BATCH_FORGET_IN.unpack_from(request.body)
    pairs = request.body[abi.BATCH_FORGET_IN.size :]
    pairs = pairs[: min(count * abi.FORGET_ONE.size, len(pairs) // 16 * 16)]
    for node, references in abi.FORGET_ONE.iter_unpack(pairs):
        session.forget(node, references)
    return None


def no_answer(_: Session, __: Request) -> Answer:
    """INTERRUPT: requests are answered at once, there is nothing to interrupt."""
    return None


def done(_: Session, __: Request) -> Answer:
    """RELEASE, RELEASEDIR: handles mean nothing."""
    return b""


# Names.


def lookup(session: Session, request: Request) -> Answer:
    if request.body in (b".\0", b"..\0"):  # from a file handle of the guest's NFS server
        return _entry(session, _near(session, request))
    try:
        return _entry(session, session.tree.lookup(request.node, request.name()))
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
    return abi.ENTRY_OUT.pack(0, 0, VALID, *(0,) * 19)  # the guest remembers that there is none


def mknod(session: Session, request: Request) -> Answer:
    mode, rdev, _ = abi.MKNOD_IN.unpack_from(request.body)
    name = request.name(abi.MKNOD_IN.size)
    if stat.S_IFMT(mode) not in SPECIAL:
        raise OSError(errno.EINVAL, "not a type of file")
    made = session.tree.create(request.node, name, mode & 0o177777, request.owner, rdev)
    return _entry(session, made)


def mkdir(session: Session, request: Request) -> Answer:
    mode, _ = abi.MKDIR_IN.unpack_from(request.body)
    name, mode = request.name(abi.MKDIR_IN.size), stat.S_IFDIR | stat.S_IMODE(mode)
    return _entry(session, session.tree.create(request.node, name, mode, request.owner))


def symlink(session: Session, request: Request) -> Answer:
    name, _, target = request.body.partition(b"\0")
    checked_name(name)
    target = target.removesuffix(b"\0")
    if not target or b"\0" in target:
        raise OSError(errno.EINVAL, "not a target")
    if len(target) > MAX_TARGET:
        raise OSError(errno.ENAMETOOLONG, "too long a target")
    return _entry(session, session.tree.symlink(request.node, name, target, request.owner))


def link(session: Session, request: Request) -> Answer:
    (node,) = abi.LINK_IN.unpack_from(request.body)
    name = request.name(abi.LINK_IN.size)
    return _entry(session, session.tree.link(node, request.node, name))


def unlink(session: Session, request: Request) -> Answer:
    session.removed(session.tree.remove(request.node, request.name(), is_directory=False))
    return b""


def rmdir(session: Session, request: Request) -> Answer:
    session.removed(session.tree.remove(request.node, request.name(), is_directory=True))
    return b""


def rename(session: Session, request: Request) -> Answer:
    (directory,) = abi.RENAME_IN.unpack_from(request.body)
    old, new = request.names(abi.RENAME_IN.size, 2)
    session.removed(session.tree.rename((request.node, old), (directory, new), 0))
    return b""


def rename2(session: Session, request: Request) -> Answer:
    directory, flags = abi.RENAME2_IN.unpack_from(request.body)
    old, new = request.names(abi.RENAME2_IN.size, 2)
    session.removed(session.tree.rename((request.node, old), (directory, new), flags))
    return b""


def readlink(session: Session, request: Request) -> Answer:
    return session.tree.read_link(request.node)


def readdir(session: Session, request: Request) -> Answer:
    return _listed(session, request, is_plus=False)


def readdirplus(session: Session, request: Request) -> Answer:
    return _listed(session, request, is_plus=True)


# Opening, for guests that insist.


def open_file(session: Session, _: Request) -> Answer:
    if not session.opens_files:
        raise OSError(errno.ENOSYS, "files need no opening")
    return abi.OPEN_OUT.pack(0, abi.FOPEN_KEEP_CACHE)


def open_directory(session: Session, _: Request) -> Answer:
    if not session.opens_directories:
        raise OSError(errno.ENOSYS, "directories need no opening")
    return abi.OPEN_OUT.pack(0, abi.FOPEN_KEEP_CACHE | abi.FOPEN_CACHE_DIR)


def create(session: Session, request: Request) -> Answer:
    if not session.opens_files:
        raise OSError(errno.ENOSYS, "files need no opening")
    _, mode, _, _ = abi.CREATE_IN.unpack_from(request.body)
    name, mode = request.name(abi.CREATE_IN.size), stat.S_IFREG | stat.S_IMODE(mode)
    made = session.tree.create(request.node, name, mode, request.owner)
    return _entry(session, made) + abi.OPEN_OUT.pack(0, abi.FOPEN_KEEP_CACHE)


def tmpfile(session: Session, request: Request) -> Answer:
    _, mode, _, _ = abi.CREATE_IN.unpack_from(request.body)
    made = session.tree.create_unnamed(request.node, mode, request.owner)
    return _entry(session, made) + abi.OPEN_OUT.pack(0, abi.FOPEN_KEEP_CACHE)


# Attributes.


def getattr_(session: Session, request: Request) -> Answer:
    return _attributes(session.tree.inode(request.node))


def setattr_(session: Session, request: Request) -> Answer:
    fields = abi.SETATTR_IN.unpack_from(request.body)
    valid, _, size, _, atime, mtime, ctime, atime_ns, mtime_ns, ctime_ns, mode, uid, gid = fields
    now = session.clock.wall_ns()
    known = {
        abi.FATTR_MODE: ("mode", mode),
        abi.FATTR_UID: ("uid", uid),
        abi.FATTR_GID: ("gid", gid),
        abi.FATTR_SIZE: ("size", size),
        abi.FATTR_ATIME: ("atime_ns", _time(atime, atime_ns)),
        abi.FATTR_MTIME: ("mtime_ns", _time(mtime, mtime_ns)),
        abi.FATTR_CTIME: ("ctime_ns", _time(ctime, ctime_ns)),
        abi.FATTR_ATIME_NOW: ("atime_ns", now),
        abi.FATTR_MTIME_NOW: ("mtime_ns", now),
    }
    values = dict(value for bit, value in known.items() if valid & bit)
    if valid & abi.FATTR_KILL_SUIDGID:
        session.tree.drop_privileges(request.node)
    return _attributes(session.tree.change(request.node, values))


def statfs(session: Session, _: Request) -> Answer:
    total, free, files, free_files = session.tree.space()
    return abi.STATFS_OUT.pack(
        total // BLOCK, free // BLOCK, free // BLOCK, files, free_files, BLOCK, MAX_NAME, BLOCK
    )


def getxattr(session: Session, request: Request) -> Answer:
    (size,) = abi.GETXATTR_IN.unpack_from(request.body)
    (name,) = request.strings(abi.GETXATTR_IN.size, 1)
    value = session.tree.xattrs(request.node).get(name)
    if value is None:
        is_acl = name.startswith(b"system.")
        raise OSError(errno.EOPNOTSUPP if is_acl else errno.ENODATA, "no such attribute")
    return _measured(value, size)


def listxattr(session: Session, request: Request) -> Answer:
    (size,) = abi.GETXATTR_IN.unpack_from(request.body)
    names = session.tree.xattrs(request.node)
    return _measured(b"".join(name + b"\0" for name in names), size)


def setxattr(session: Session, request: Request) -> Answer:
    size, flags = abi.SETXATTR_IN_SHORT.unpack_from(request.body)
    is_long = session.flags & abi.SETXATTR_EXT
    start = abi.SETXATTR_IN.size if is_long else abi.SETXATTR_IN_SHORT.size
    name, _, value = request.body[start:].partition(b"\0")
    if not 0 < len(name) <= MAX_NAME:
        raise OSError(errno.ERANGE, "not a name of an attribute")
    if size != len(value):
        raise OSError(errno.EINVAL, "not the value that was announced")
    if size > MAX_XATTR:
        raise OSError(errno.E2BIG, "too large a value")
    session.tree.set_xattr(request.node, name, value, flags)
    return b""


def removexattr(session: Session, request: Request) -> Answer:
    session.tree.remove_xattr(request.node, *request.strings(0, 1))
    return b""


# Contents.


def read(session: Session, request: Request) -> Answer:
    _, offset, size, _, _, _ = abi.READ_IN.unpack_from(request.body)
    room = request.room if size >= request.size else split(request.room, size)[0]
    return session.tree.read_into(request.node, _offset(offset), room)


def write(session: Session, request: Request) -> Answer:
    _, offset, size, flags, _, _ = abi.WRITE_IN.unpack_from(request.body)
    data, _ = split(request.data, size)
    if flags & abi.WRITE_KILL_SUIDGID:
        session.tree.drop_privileges(request.node)
    return abi.WRITE_OUT.pack(session.tree.write_from(request.node, _offset(offset), data))


def lseek(session: Session, request: Request) -> Answer:
    _, offset, whence = abi.LSEEK_IN.unpack_from(request.body)
    return abi.LSEEK_OUT.pack(session.tree.seek(request.node, _offset(offset), whence))


def fallocate(session: Session, request: Request) -> Answer:
    _, offset, length, mode = abi.FALLOCATE_IN.unpack_from(request.body)
    session.tree.drop_privileges(request.node)  # with HANDLE_KILLPRIV_V2 nobody else does
    session.tree.allocate(request.node, mode, _offset(offset), _offset(length))
    return b""


def copy_file_range(session: Session, request: Request) -> Answer:
    return abi.WRITE_OUT.pack(_copied(session, request))


def copy_file_range_64(session: Session, request: Request) -> Answer:
    return abi.COPY_FILE_RANGE_OUT.pack(_copied(session, request))


def fsync(session: Session, request: Request) -> Answer:
    if not session.tree.is_durable:
        raise OSError(errno.ENOSYS, "nothing is kept")
    session.tree.sync(request.node)
    return b""


def syncfs(session: Session, _: Request) -> Answer:
    if not session.tree.is_durable:
        raise OSError(errno.ENOSYS, "nothing is kept")
    session.tree.sync(None)
    return b""


class Operation(NamedTuple):
    """How a request is served, and the least bytes of its body and of its answer's."""

    serve: Callable[[Session, Request], Answer]
    body: int = 0
    room: int = 0


def _takes(
    serve: Callable[[Session, Request], Answer],
    body: Struct | None = None,
    answer: Struct | None = None,
) -> Operation:
    return Operation(serve, body.size if body else 0, answer.size if answer else 0)


ENTRY, CREATED = abi.ENTRY_OUT.size, abi.ENTRY_OUT.size + abi.OPEN_OUT.size

OPERATIONS: dict[int, Operation] = {
    Op.INIT: _takes(init, abi.INIT_IN, abi.INIT_OUT),
    Op.DESTROY: _takes(destroy),
    Op.FORGET: _takes(forget, abi.FORGET_IN),
    Op.BATCH_FORGET: _takes(batch_forget, abi.BATCH_FORGET_IN),
    Op.INTERRUPT: _takes(no_answer),
    Op.LOOKUP: _takes(lookup, None, abi.ENTRY_OUT),
    Op.MKNOD: _takes(mknod, abi.MKNOD_IN, abi.ENTRY_OUT),
    Op.MKDIR: _takes(mkdir, abi.MKDIR_IN, abi.ENTRY_OUT),
    Op.SYMLINK: _takes(symlink, None, abi.ENTRY_OUT),
    Op.LINK: _takes(link, abi.LINK_IN, abi.ENTRY_OUT),
    Op.UNLINK: _takes(unlink),
    Op.RMDIR: _takes(rmdir),
    Op.RENAME: _takes(rename, abi.RENAME_IN),
    Op.RENAME2: _takes(rename2, abi.RENAME2_IN),
    Op.READLINK: _takes(readlink),
    Op.READDIR: _takes(readdir, abi.READ_IN),
    Op.READDIRPLUS: _takes(readdirplus, abi.READ_IN),
    Op.OPEN: _takes(open_file, None, abi.OPEN_OUT),
    Op.OPENDIR: _takes(open_directory, None, abi.OPEN_OUT),
    Op.CREATE: Operation(create, abi.CREATE_IN.size, CREATED),
    Op.TMPFILE: Operation(tmpfile, abi.CREATE_IN.size, CREATED),
    Op.RELEASE: _takes(done),
    Op.RELEASEDIR: _takes(done),
    Op.GETATTR: _takes(getattr_, None, abi.ATTR_OUT),
    Op.SETATTR: _takes(setattr_, abi.SETATTR_IN, abi.ATTR_OUT),
    Op.STATFS: _takes(statfs, None, abi.STATFS_OUT),
    Op.GETXATTR: _takes(getxattr, abi.GETXATTR_IN),
    Op.LISTXATTR: _takes(listxattr, abi.GETXATTR_IN),
    Op.SETXATTR: _takes(setxattr, abi.SETXATTR_IN_SHORT),
    Op.REMOVEXATTR: _takes(removexattr),
    Op.READ: _takes(read, abi.READ_IN),
    Op.WRITE: _takes(write, abi.WRITE_IN, abi.WRITE_OUT),
    Op.LSEEK: _takes(lseek, abi.LSEEK_IN, abi.LSEEK_OUT),
    Op.FALLOCATE: _takes(fallocate, abi.FALLOCATE_IN),
    Op.COPY_FILE_RANGE: _takes(copy_file_range, abi.COPY_FILE_RANGE_IN, abi.WRITE_OUT),
    Op.COPY_FILE_RANGE_64: _takes(
        copy_file_range_64, abi.COPY_FILE_RANGE_IN, abi.COPY_FILE_RANGE_OUT
    ),
    Op.FSYNC: _takes(fsync),
    Op.FSYNCDIR: _takes(fsync),
    Op.SYNCFS: _takes(syncfs),
}


# Parts of answers.


def _attr(inode: Attributes) -> tuple[int, ...]:
    atime, atime_ns = divmod(inode.atime_ns, NANO)
    mtime, mtime_ns = divmod(inode.mtime_ns, NANO)
    ctime, ctime_ns = divmod(inode.ctime_ns, NANO)
    return (
        inode.ino, inode.size, inode.blocks, atime, mtime, ctime, atime_ns, mtime_ns, ctime_ns,
        inode.mode, inode.links, inode.uid, inode.gid, inode.rdev, BLOCK, 0,
    )  # fmt: skip


def _attributes(inode: Attributes) -> bytes:
    return abi.ATTR_OUT.pack(VALID, 0, *_attr(inode))


def _entry(session: Session, inode: Attributes) -> bytes:
    """A file that the guest refers to from now on."""
    session.refer(inode.ino)
    return abi.ENTRY_OUT.pack(inode.ino, 0, VALID, VALID, 0, 0, *_attr(inode))


def _near(session: Session, request: Request) -> Attributes:
    """A directory's "." or ".."."""
    if request.body == b".\0":
        return session.tree.inode(request.node)
    return session.tree.inode(session.tree.parent(request.node))


def _children(session: Session, node: int, after: int) -> Iterator[tuple[int, bytes, int, int]]:
    """A directory's entries and the two that every directory has."""
    parent = session.tree.parent(node)
    if after < 1:
        yield 1, b".", node, stat.S_IFDIR
    if after < 2:
        yield 2, b"..", parent, stat.S_IFDIR
    yield from session.tree.list(node, after)


def _listed(session: Session, request: Request, is_plus: bool) -> Answer:
    """As many entries as find room, with their attributes if `is_plus`."""
    _, offset, size, _, _, _ = abi.READ_IN.unpack_from(request.body)
    size, answer = min(size, request.size), bytearray()
    for cookie, name, ino, mode in _children(session, request.node, offset):
        padding = -len(name) % 8
        length = abi.DIRENT.size + len(name) + padding + (ENTRY if is_plus else 0)
        if len(answer) + length > size:
            break
        if is_plus:
            answer += _entry(session, session.tree.inode(ino)) if cookie > 2 else bytes(ENTRY)
        answer += abi.DIRENT.pack(ino, cookie, len(name), mode >> 12) + name + bytes(padding)
    return answer


def _measured(value: bytes, size: int) -> bytes:
    """A value, or its size if that was asked for. ERANGE if there is no room for it."""
    if not size:
        return abi.GETXATTR_OUT.pack(len(value))
    if len(value) > size:
        raise OSError(errno.ERANGE, "too little room")
    return value


def _copied(session: Session, request: Request) -> int:
    _, start, other, _, at, length, _ = abi.COPY_FILE_RANGE_IN.unpack_from(request.body)
    source, target = (request.node, _offset(start)), (other, _offset(at))
    session.tree.drop_privileges(other)
    return session.tree.copy(source, target, length)


def _offset(value: int) -> int:
    if value > MAX_OFFSET:
        raise OSError(errno.EINVAL, "not an offset")
    return value


def _time(seconds: int, nanoseconds: int) -> int:
    return max(-MAX_OFFSET, min(seconds * NANO + nanoseconds, MAX_OFFSET))
