"""The FUSE protocol's numbers and layouts (Linux's include/uapi/linux/fuse.h, versions 7.31 on).

Structures are little-endian, named as there without `fuse_`; padding is spelled "x".
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct

MAJOR, MINOR = 7, 45  # what this side speaks
MINOR_LEAST = 31  # Linux 5.4, the first with virtio-fs


class Op(IntEnum):
    """Requests, by the number in their header."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    READLINK = 5
    SYMLINK = 6
    MKNOD = 8
    MKDIR = 9
    UNLINK = 10
    RMDIR = 11
    RENAME = 12
    LINK = 13
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    SETXATTR = 21
    GETXATTR = 22
    LISTXATTR = 23
    REMOVEXATTR = 24
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    FSYNCDIR = 30
    GETLK = 31
    SETLK = 32
    SETLKW = 33
    ACCESS = 34
    CREATE = 35
    INTERRUPT = 36
    BMAP = 37
    DESTROY = 38
    IOCTL = 39
    POLL = 40
    NOTIFY_REPLY = 41
    BATCH_FORGET = 42
    FALLOCATE = 43
    READDIRPLUS = 44
    RENAME2 = 45
    LSEEK = 46
    COPY_FILE_RANGE = 47
    SETUPMAPPING = 48
    REMOVEMAPPING = 49
    SYNCFS = 50
    TMPFILE = 51
    STATX = 52
    COPY_FILE_RANGE_64 = 53


# What INIT negotiates.
ASYNC_READ = 1 << 0
EXPORT_SUPPORT = 1 << 4
BIG_WRITES = 1 << 5
DO_READDIRPLUS = 1 << 13
READDIRPLUS_AUTO = 1 << 14
ASYNC_DIO = 1 << 15
WRITEBACK_CACHE = 1 << 16
NO_OPEN_SUPPORT = 1 << 17
PARALLEL_DIROPS = 1 << 18
MAX_PAGES = 1 << 22
CACHE_SYMLINKS = 1 << 23
NO_OPENDIR_SUPPORT = 1 << 24
EXPLICIT_INVAL_DATA = 1 << 25
HANDLE_KILLPRIV_V2 = 1 << 28
SETXATTR_EXT = 1 << 29
INIT_EXT = 1 << 30

# setattr_in.valid
FATTR_MODE, FATTR_UID, FATTR_GID, FATTR_SIZE = 1 << 0, 1 << 1, 1 << 2, 1 << 3
FATTR_ATIME, FATTR_MTIME, FATTR_ATIME_NOW, FATTR_MTIME_NOW = 1 << 4, 1 << 5, 1 << 7, 1 << 8
FATTR_CTIME, FATTR_KILL_SUIDGID = 1 << 10, 1 << 11

FOPEN_KEEP_CACHE, FOPEN_CACHE_DIR = 1 << 1, 1 << 3
WRITE_KILL_SUIDGID = 1 << 2

# len, opcode, unique, nodeid, uid, gid, pid, total_extlen
IN_HEADER = Struct("<IIQQIIIHxx")
OUT_HEADER = Struct("<IiQ")  # len, error, unique
# ino, size, blocks, atime, mtime, ctime, atimensec, mtimensec, ctimensec, mode, nlink, uid, gid,
# rdev, blksize, flags. Times before 1970 are negative numbers to the kernel too.
ATTR = "QQQqqqIIIIIIIIII"
ATTR_OUT = Struct("<QIxxxx" + ATTR)  # attr_valid, attr_valid_nsec
# nodeid, generation, entry_valid, attr_valid, entry_valid_nsec, attr_valid_nsec
ENTRY_OUT = Struct("<QQQQII" + ATTR)
DIRENT = Struct("<QQII")  # ino, off, namelen, type; then the name, padded to 8 bytes

INIT_IN = Struct("<IIII")  # major, minor, max_readahead, flags
# major, minor, max_readahead, flags, max_background, congestion_threshold, max_write, time_gran,
# max_pages, map_alignment, flags2
INIT_OUT = Struct("<IIIIHHIIHHI28x")
FORGET_IN = Struct("<Q")  # nlookup
FORGET_ONE = Struct("<QQ")  # nodeid, nlookup
BATCH_FORGET_IN = Struct("<Ixxxx")  # count
# valid, fh, size, lock_owner, atime, mtime, ctime, atimensec, mtimensec, ctimensec, mode, uid, gid
SETATTR_IN = Struct("<IxxxxQQQqqqIIIIxxxxIIxxxx")
MKNOD_IN = Struct("<IIIxxxx")  # mode, rdev, umask
MKDIR_IN = Struct("<II")  # mode, umask
RENAME_IN = Struct("<Q")  # newdir
RENAME2_IN = Struct("<QIxxxx")  # newdir, flags
LINK_IN = Struct("<Q")  # oldnodeid
CREATE_IN = Struct("<IIII")  # flags, mode, umask, open_flags
OPEN_OUT = Struct("<QIxxxx")  # fh, open_flags
READ_IN = Struct("<QQIIQIxxxx")  # fh, offset, size, read_flags, lock_owner, flags
WRITE_IN = Struct("<QQIIQIxxxx")  # fh, offset, size, write_flags, lock_owner, flags
WRITE_OUT = Struct("<Ixxxx")  # size
# blocks, bfree, bavail, files, ffree, bsize, namelen, frsize
STATFS_OUT = Struct("<QQQQQIIIxxxx24x")
SETXATTR_IN = Struct("<IIIxxxx")  # size, flags, setxattr_flags (with SETXATTR_EXT)
SETXATTR_IN_SHORT = Struct("<II")
GETXATTR_IN = Struct("<Ixxxx")  # size
GETXATTR_OUT = Struct("<Ixxxx")  # size
LSEEK_IN = Struct("<QQIxxxx")  # fh, offset, whence
LSEEK_OUT = Struct("<Q")  # offset
FALLOCATE_IN = Struct("<QQQIxxxx")  # fh, offset, length, mode
COPY_FILE_RANGE_OUT = Struct("<Q")  # bytes_copied (of COPY_FILE_RANGE_64, 7.45)
COPY_FILE_RANGE_IN = Struct("<QQQQQQQ")  # fh_in, off_in, nodeid_out, fh_out, off_out, len, flags
