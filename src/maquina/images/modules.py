"""Kernel modules as a guest should get them: few, without dead weight, in the order to load them.

A module as packaged carries a signature, type information and debugging notes, and the kernel goes
through all of them: loading the network card's driver as packaged costs 35 times the instructions
of the same driver without. Debian's kernels accept modules without a signature.
"""

from __future__ import annotations

import lzma
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from maquina.errors import FormatError, ImageError
from maquina.images.deb import Deb
from maquina.images.strip import strip

MAX_MODULE = 64 << 20  # bytes of one module, unpacked: a compressed bomb would fill memory

_MODULE = re.compile(r"([\w-]+)\.ko(\.xz|\.zst)?")


@dataclass(frozen=True)
class Module:
    """One module, ready to load: its name with underscores, its ELF file, what it needs first."""

    name: str
    data: bytes
    needs: tuple[str, ...]


def read_modules(packages: Iterable[Deb], wanted: Iterable[str]) -> dict[str, Module]:
    """The modules of these names that the packages have, by name, stripped."""
    names, found = set(wanted), {}
    for package in packages:
        with package.data() as tar:
            for member in tar:
                match = _MODULE.fullmatch(PurePosixPath(member.name).name)
                if match is None or match[1].replace("-", "_") not in names:
                    continue
                stream = tar.extractfile(member)
                if stream is not None:
                    elf = strip(_unpacked(stream.read(MAX_MODULE), match[2]))
                    name = match[1].replace("-", "_")
                    found[name] = Module(name, elf, needs_of(elf))
    return found


def load_order(available: dict[str, Module], wanted: Iterable[str]) -> list[Module]:
    """What to load for the wanted ones, each after what it needs. ImageError if one is missing."""
    order: dict[str, Module] = {}

    def visit(name: str, asker: str) -> None:
        if name in order:
            return
        if name not in available:
            raise ImageError(
                f"the kernel's packages have no module {name}, which {asker} needs",
                "use another kernel with --kernel",
            )
        for need in available[name].needs:
            visit(need, name)
        order[name] = available[name]

    for name in wanted:
        visit(name, "the machine")
    return list(order.values())


def needs_of(elf: bytes) -> tuple[str, ...]:
    """The modules that must be loaded first, as the module itself says (modinfo(8), depends)."""
    match = re.search(rb"\0depends=([^\0]*)\0", elf)
    listed = match[1].decode().replace("-", "_") if match else ""
    return tuple(name for name in listed.split(",") if name)


def _unpacked(data: bytes, suffix: str | None) -> bytes:
    try:
        if suffix == ".xz":
            return lzma.LZMADecompressor().decompress(data, MAX_MODULE)
        if suffix == ".zst":
            import zstandard

            return zstandard.ZstdDecompressor().decompress(data, max_output_size=MAX_MODULE)
    except (lzma.LZMAError, EOFError, ValueError) as error:
        raise FormatError(f"a kernel module cannot be unpacked ({error})") from error
    return data
