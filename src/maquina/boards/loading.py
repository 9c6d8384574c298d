"""Kernel and firmware files: what kind they are, and which bytes go where.

Known are Linux `Image` files (Documentation/arch/riscv/boot-image-header.rst) with or without an
EFI stub, the same compressed with gzip or zstd or as an EFI zboot file, and 64-bit RISC-V ELF
files. Anything else is taken for raw bytes where firmware is asked for or a firmware starts it,
and refused where a kernel is to start by itself.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO, TypeAlias

from maquina.errors import FormatError, HostError, ImageError

Contents: TypeAlias = bytes | mmap.mmap

MAX_PROGRAM_BYTES = 1 << 29  # a small compressed file must not be able to fill the host's memory
ZSTD_STEP_BYTES = 1 << 10  # four bytes of zstd can stand for 128 KiB: look at the sum often
MAX_SEGMENTS = 256  # an ELF header can claim 65,535 segments of the same bytes

RAW_OFFSET = 2 << 20  # of a program without header: where OpenSBI's fw_jump looks, and U-Boot is

IMAGE_MAGIC = b"RSC\x05"
IMAGE_HEADER_BYTES = 64
ELF_MAGIC = b"\x7fELF"
ELF_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
ELF_SEGMENT = struct.Struct("<IIQQQQQQ")
ELF_RISCV, ELF_LOAD = 243, 1
GZIP_MAGIC, ZSTD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
PE_RISCV64 = 0x5064
PE_SECTION_BYTES = 40

# Where other architectures leave their name: offset, bytes, what it is.
FOREIGN = (
    (0x202, b"HdrS", "an x86 kernel"),
    (0x38, b"ARM\x64", "a 64-bit ARM kernel"),
    (0x24, b"\x18\x28\x6f\x01", "a 32-bit ARM kernel"),
    (0x00, b"\x27\x05\x19\x56", "a U-Boot uImage"),
    (0x00, b"\xd0\x0d\xfe\xed", "a device tree or U-Boot FIT image"),
    (0x00, b"!<arch>\n", "a package or library archive"),
)
ELF_MACHINES = {3: "x86", 40: "ARM", 62: "x86-64", 183: "ARM64", 22: "s390x", 21: "POWER"}
REMEDY = "give a riscv64 Linux Image, vmlinux or other 64-bit RISC-V program"


@dataclass(frozen=True)
class Segment:
    """`data` at a guest-physical address, followed by zeros up to `size` bytes."""

    address: int
    data: memoryview
    size: int


@dataclass(frozen=True)
class Program:
    """What goes into memory, and where execution begins."""

    segments: tuple[Segment, ...]
    entry: int

    @property
    def end(self) -> int:
        return max(segment.address + segment.size for segment in self.segments)


def read_initrd(path: Path) -> Contents:
    """An initial RAM disk, which is the kernel's to judge. FormatError if there is nothing."""
    data = _read_file(path)
    if not data:
        raise FormatError(f"{path} is empty", "get it again")
    return data


def _read_file(path: Path) -> Contents:
    """A whole file. ImageError if it cannot be read, HostError if it is too large."""
    try:
        with path.open("rb") as file:
            data = _contents(file)
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror}", "check its name") from error
    if len(data) > MAX_PROGRAM_BYTES:
        raise HostError(f"{path} is larger than {MAX_PROGRAM_BYTES >> 20} MiB", "give another")
    return data


def _contents(file: BinaryIO) -> Contents:
    """What is in a file: mapped, if it can be, so that it is copied only once, to the guest."""
    status = os.fstat(file.fileno())
    if S_ISREG(status.st_mode) and 0 < status.st_size <= MAX_PROGRAM_BYTES:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return file.read(MAX_PROGRAM_BYTES + 1)


def read_kernel(path: Path, base: int, *, may_be_raw: bool = False) -> Program:
    """The kernel in a file; an Image goes to its text offset above `base`, the start of RAM."""
    data = _decompressed(_read_file(path), path)
    if data[:4] == ELF_MAGIC:
        return _elf(data, path)
    if data[0x38:0x3C] == IMAGE_MAGIC:
        return _image(data, path, base)
    _refuse_foreign(data, path)
    if may_be_raw and data:
        start = base + RAW_OFFSET
        return Program((Segment(start, memoryview(data), len(data)),), start)
    if len(data) < IMAGE_HEADER_BYTES:
        raise FormatError(f"{path} is truncated: {len(data)} bytes", "get it again")
    raise FormatError(f"{path} is no kernel that is known here", REMEDY)


def read_firmware(path: Path, base: int) -> Program:
    """The firmware in a file: an ELF file's segments, or else raw bytes at `base`."""
    data = _decompressed(_read_file(path), path)
    if not data:
        raise FormatError(f"{path} is empty", "get it again")
    if data[:4] == ELF_MAGIC:
        return _elf(data, path)
    _refuse_foreign(data, path)
    return Program((Segment(base, memoryview(data), len(data)),), base)


def _refuse_foreign(data: Contents, path: Path) -> None:
    for offset, magic, what in FOREIGN:
        if data[offset : offset + len(magic)] == magic:
            raise FormatError(f"{path} is {what}", REMEDY)


def _decompressed(data: Contents, path: Path) -> Contents:
    if data[:2] == b"MZ" and data[4:8] == b"zimg" and len(data) >= IMAGE_HEADER_BYTES:
        offset, size = struct.unpack_from("<II", data, 8)  # drivers/firmware/efi/libstub/zboot
        if offset + size > len(data):
            raise FormatError(f"{path} is truncated", "get it again")
        data = data[offset : offset + size]
    if data[:2] == GZIP_MAGIC:
        return _gunzip(data, path)
    if data[:4] == ZSTD_MAGIC:
        return _unzstd(data, path)
    return data


def _gunzip(data: Contents, path: Path) -> bytes:
    engine = zlib.decompressobj(wbits=31)
    try:
        out = engine.decompress(data, MAX_PROGRAM_BYTES)
    except zlib.error as error:
        raise FormatError(f"{path} is damaged ({error})", "get it again") from error
    if engine.unconsumed_tail:
        raise FormatError(f"{path} unpacks to over {MAX_PROGRAM_BYTES >> 20} MiB", REMEDY)
    if not engine.eof:
        raise FormatError(f"{path} is truncated", "get it again")
    return out


def _unzstd(data: Contents, path: Path) -> bytes:
    import zstandard

    engine = zstandard.ZstdDecompressor().decompressobj()
    out = bytearray()
    try:
        for start in range(0, len(data), ZSTD_STEP_BYTES):
            out += engine.decompress(data[start : start + ZSTD_STEP_BYTES])
            if len(out) > MAX_PROGRAM_BYTES:
                raise FormatError(f"{path} unpacks to over {MAX_PROGRAM_BYTES >> 20} MiB", REMEDY)
            if engine.eof:
                return bytes(out)
    except zstandard.ZstdError as error:
        raise FormatError(f"{path} is damaged ({error})", "get it again") from error
    raise FormatError(f"{path} is truncated", "get it again")


def _image(data: Contents, path: Path, base: int) -> Program:
    text_offset, image_bytes, flags = struct.unpack_from("<QQQ", data, 8)
    if flags & 1:
        raise FormatError(f"{path} is a big-endian kernel", REMEDY)
    if len(data) < _bytes_by_efi_stub(data, path) or image_bytes == 0:
        raise FormatError(f"{path} is truncated: {len(data)} bytes", "get it again")
    size = max(image_bytes, len(data))
    if size > MAX_PROGRAM_BYTES or text_offset > MAX_PROGRAM_BYTES:
        raise FormatError(f"{path} claims to need {size >> 20} MiB", "get it again")
    address = base + text_offset
    return Program((Segment(address, memoryview(data), size),), address)


def _bytes_by_efi_stub(data: Contents, path: Path) -> int:
    """How long the file must be, by the section table of its EFI stub; 0 if it has none."""
    if data[:2] != b"MZ":
        return 0
    try:
        (pe,) = struct.unpack_from("<I", data, 0x3C)
        signature, machine, sections, optional = struct.unpack_from("<4sHH12xH", data, pe)
        if signature != b"PE\0\0":
            return 0
        if machine != PE_RISCV64:
            raise FormatError(f"{path} has an EFI stub for another processor", REMEDY)
        first = pe + 24 + optional
        rows = range(first, first + sections * PE_SECTION_BYTES, PE_SECTION_BYTES)
        return max((sum(struct.unpack_from("<II", data, row + 16)) for row in rows), default=0)
    except struct.error as error:
        raise FormatError(f"{path} is truncated", "get it again") from error


def _elf(data: Contents, path: Path) -> Program:
    if len(data) < ELF_HEADER.size:
        raise FormatError(f"{path} is truncated", "get it again")
    identity, _, machine, _, entry, table, _, _, _, row_bytes, rows, *_ = ELF_HEADER.unpack_from(
        data
    )
    if identity[4:6] != b"\x02\x01" or machine != ELF_RISCV:
        name = ELF_MACHINES.get(machine, f"machine {machine}")
        is_big_endian = identity[5:6] == b"\x02"  # and so is the number of the machine
        is_other_riscv = machine == ELF_RISCV or is_big_endian
        what = "a 32-bit or big-endian processor" if is_other_riscv else name
        raise FormatError(f"{path} is a program for {what}", REMEDY)
    if rows > MAX_SEGMENTS or (rows and row_bytes < ELF_SEGMENT.size):
        raise FormatError(f"{path} has a damaged program header", "get it again")
    segments = []
    start = entry
    for row in range(rows):
        at = table + row * row_bytes
        if at + ELF_SEGMENT.size > len(data):
            raise FormatError(f"{path} is truncated", "get it again")
        kind, _, offset, virtual, physical, in_file, size, _ = ELF_SEGMENT.unpack_from(data, at)
        if kind != ELF_LOAD or size == 0:
            continue
        if offset + in_file > len(data) or in_file > size or size > MAX_PROGRAM_BYTES:
            limit = MAX_PROGRAM_BYTES >> 20
            raise FormatError(f"{path} is truncated or wants over {limit} MiB", "get it again")
        segments.append(Segment(physical, memoryview(data)[offset : offset + in_file], size))
        if virtual <= entry < virtual + size:
            start = entry - virtual + physical
    if not segments:
        raise FormatError(f"{path} has nothing to load", REMEDY)
    return Program(tuple(segments), start)
