"""Telling disk image formats by their first bytes."""

from __future__ import annotations

MAGIC_BYTES = 512  # how much of a file's start is looked at

MAGICS = (
    (0, b"QFI\xfb", "qcow2"),
    (0, b"KDMV", "VMDK"),
    (0, b"COWD", "VMDK"),
    (0, b"# Disk DescriptorFile", "VMDK"),
    (0, b"vhdxfile", "VHDX"),
    (0, b"conectix", "VHD"),
    (0, b"QED\0", "QED"),
    (0, b"LUKS\xba\xbe", "LUKS"),
    (0, b"WithoutFreeSpace", "Parallels"),
    (0, b"WithouFreSpacExt", "Parallels"),
    (64, b"\x7f\x10\xda\xbe", "VDI"),
)


def known_format(start: bytes) -> str | None:
    """The format whose magic number is in the first MAGIC_BYTES of a file, if any."""
    for offset, magic, name in MAGICS:
        if start[offset : offset + len(magic)] == magic:
            return name
    return None
