"""The layouts and numbers of FUSE are those of the host's linux/fuse.h."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from maquina.devices import fuse_abi as abi

STRUCTURES = {
    "in_header": abi.IN_HEADER,
    "out_header": abi.OUT_HEADER,
    "attr_out": abi.ATTR_OUT,
    "entry_out": abi.ENTRY_OUT,
    "init_out": abi.INIT_OUT,
    "forget_in": abi.FORGET_IN,
    "forget_one": abi.FORGET_ONE,
    "batch_forget_in": abi.BATCH_FORGET_IN,
    "setattr_in": abi.SETATTR_IN,
    "mknod_in": abi.MKNOD_IN,
    "mkdir_in": abi.MKDIR_IN,
    "rename_in": abi.RENAME_IN,
    "rename2_in": abi.RENAME2_IN,
    "link_in": abi.LINK_IN,
    "create_in": abi.CREATE_IN,
    "open_out": abi.OPEN_OUT,
    "read_in": abi.READ_IN,
    "write_in": abi.WRITE_IN,
    "write_out": abi.WRITE_OUT,
    "statfs_out": abi.STATFS_OUT,
    "setxattr_in": abi.SETXATTR_IN,
    "getxattr_in": abi.GETXATTR_IN,
    "getxattr_out": abi.GETXATTR_OUT,
    "lseek_in": abi.LSEEK_IN,
    "lseek_out": abi.LSEEK_OUT,
    "fallocate_in": abi.FALLOCATE_IN,
    "copy_file_range_in": abi.COPY_FILE_RANGE_IN,
}

# Where the fields are that a packed structure has, in the order it has them.
FIELDS = {
    "in_header": "len opcode unique nodeid uid gid pid total_extlen",
    "attr": "ino size blocks atime mtime ctime atimensec mtimensec ctimensec mode nlink uid gid "
    "rdev blksize flags",
    "entry_out": "nodeid generation entry_valid attr_valid entry_valid_nsec attr_valid_nsec",
    "init_out": "major minor max_readahead flags max_background congestion_threshold max_write "
    "time_gran max_pages map_alignment flags2",
    "setattr_in": "valid fh size lock_owner atime mtime ctime atimensec mtimensec ctimensec mode "
    "uid gid",
    "read_in": "fh offset size read_flags lock_owner flags",
    "write_in": "fh offset size write_flags lock_owner flags",
    "kstatfs": "blocks bfree bavail files ffree bsize namelen frsize",
    "lseek_in": "fh offset whence",
    "fallocate_in": "fh offset length mode",
    "dirent": "ino off namelen type",
}
PACKED = {
    **STRUCTURES,
    "attr": struct.Struct("<" + abi.ATTR),
    "kstatfs": abi.STATFS_OUT,
    "dirent": abi.DIRENT,
}
FLAGS = [name for name in vars(abi) if name.startswith("FATTR_")] + [
    "WRITEBACK_CACHE", "NO_OPEN_SUPPORT", "NO_OPENDIR_SUPPORT", "PARALLEL_DIROPS", "MAX_PAGES",
    "CACHE_SYMLINKS", "EXPLICIT_INVAL_DATA", "HANDLE_KILLPRIV_V2", "SETXATTR_EXT", "INIT_EXT",
    "ASYNC_READ", "EXPORT_SUPPORT", "BIG_WRITES", "DO_READDIRPLUS", "READDIRPLUS_AUTO",
    "ASYNC_DIO", "WRITE_KILL_SUIDGID",
]  # fmt: skip


@pytest.mark.conformance
def test_they_are_the_kernels(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None or not Path("/usr/include/linux/fuse.h").exists():
        pytest.skip("no C compiler or no linux/fuse.h")
    wanted: dict[str, int] = {}
    for name, layout in STRUCTURES.items():
        wanted[f"sizeof(struct fuse_{name})"] = layout.size
    for name, fields in FIELDS.items():
        for number, field in enumerate(fields.split()):
            wanted[f"offsetof(struct fuse_{name}, {field})"] = offset(PACKED[name], number)
    for name in FLAGS:
        wanted[name if name.startswith("FATTR") else f"FUSE_{name}"] = getattr(abi, name)
    newer = {abi.Op.STATX, abi.Op.COPY_FILE_RANGE_64}  # than the headers of Debian 12
    wanted |= {f"FUSE_{op.name}": op for op in abi.Op if op not in newer}
    lines = [f'printf("%lld\\n", (long long)({name}));' for name in wanted]
    source = tmp_path / "abi.c"
    source.write_text(
        "#include <stddef.h>\n#include <stdio.h>\n#include <linux/fuse.h>\nint main(void) {\n"
        + "\n".join([*lines, "return 0;", "}", ""])
    )
    subprocess.run([compiler, "-o", tmp_path / "abi", source], check=True)
    run = subprocess.run([tmp_path / "abi"], capture_output=True, text=True, check=True)
    assert dict(zip(wanted, map(int, run.stdout.split()), strict=True)) == wanted


def offset(layout: struct.Struct, number: int) -> int:
    """Where field `number` begins: its byte is the first to change with it."""
    count = len(layout.unpack(bytes(layout.size)))
    zeros, ones = [0] * count, [0] * count
    ones[number] = 1
    before, after = layout.pack(*zeros), layout.pack(*ones)
    return next(at for at in range(layout.size) if before[at] != after[at])
