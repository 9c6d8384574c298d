"""Taking from a kernel module what its loading does not need (elf(5), module_signature.h).

Left out are the signature, type information, debugging notes, and the local symbols that nothing
refers to: on RISC-V every label of the assembler is one, and the kernel copies them all. Sections
keep their numbers, those left out become null sections; symbols are renumbered.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from maquina.errors import FormatError

_SIGNATURE_END = b"~Module signature appended~\n"
_SIGNATURE = struct.Struct(">8xI")  # struct module_signature: only its length matters
_FILE = struct.Struct("<40xQ10xHHH")  # the section table: where, size of an entry, entries, names
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQq")
_DEAD = re.compile(rb"(?:\.rela)?\.(?:BTF|debug|comment|note\.GNU-stack)")
_SYMTAB, _RELA, _NOBITS = 2, 4, 8
_GLOBAL = 1  # bindings from here on are seen from outside: STB_GLOBAL, STB_WEAK
_MAX_ALIGN = 4096  # a section that asks for more would fill the file with zeros


class _Header(NamedTuple):
    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entry: int


def strip(elf: bytes) -> bytes:
    """A module without its dead weight. FormatError if it is not a relocatable 64-bit ELF file."""
    elf = _without_signature(elf)
    headers, names = _sections(elf)
    contents = [_contents(elf, header) for header in headers]
    for number, header in enumerate(headers):
        end = names.find(b"\0", header.name)
        if _DEAD.match(names, header.name, end) or (header.kind == _RELA and not header.size):
            headers[number], contents[number] = _Header(*[0] * len(_Header._fields)), b""
    for number, header in enumerate(headers):
        if header.kind == _SYMTAB:
            _drop_symbols(headers, contents, number)
    return _assembled(elf[: struct.calcsize("<64s")], headers, contents)


def _without_signature(elf: bytes) -> bytes:
    """The kernel's build appends the signature, its description and a magic string."""
    if not elf.endswith(_SIGNATURE_END):
        return elf
    end = len(elf) - len(_SIGNATURE_END) - _SIGNATURE.size
    (length,) = _SIGNATURE.unpack_from(elf, max(end, 0))
    return elf[: max(end - length, 0)]


def _sections(elf: bytes) -> tuple[list[_Header], bytes]:
    """The section table, and the section that holds the sections' names."""
    if elf[:6] != b"\x7fELF\x02\x01" or len(elf) < 64:
        raise FormatError("a kernel module is not a 64-bit little-endian ELF file")
    table, size, count, names_at = _FILE.unpack_from(elf)
    if size != _SECTION.size or table + size * count > len(elf) or names_at >= count:
        raise FormatError("a kernel module's section table is damaged")
    headers = [_Header._make(_SECTION.unpack_from(elf, table + size * n)) for n in range(count)]
    return headers, _contents(elf, headers[names_at])


def _contents(elf: bytes, header: _Header) -> bytes:
    if header.kind in (0, _NOBITS):
        return b""
    if header.offset + header.size > len(elf) or header.align > _MAX_ALIGN:
        raise FormatError("a section of a kernel module lies outside of it")
    return elf[header.offset : header.offset + header.size]


def _drop_symbols(headers: list[_Header], contents: list[bytes], symtab: int) -> None:
    """Leave in a symbol table what is global or referred to, and renumber the references."""
    strings = headers[symtab].link
    users = [n for n, h in enumerate(headers) if h.kind == _RELA and h.link == symtab]
    relocations = {n: list(_records(_RELOCATION, contents[n])) for n in users}
    wanted = {info >> 32 for records in relocations.values() for _, info, _ in records}
    numbers, symbols, names, local_count = {0: 0}, [bytes(_SYMBOL.size)], bytearray(b"\0"), 1
    for number, symbol in enumerate(_records(_SYMBOL, contents[symtab])):
        name, info, other, section, value, size = symbol
        is_global = info >> 4 >= _GLOBAL
        if number == 0 or not (is_global or number in wanted):
            continue
        numbers[number] = len(symbols)
        local_count += not is_global
        text = b""
        if is_global:  # nobody looks for the others by name
            text = contents[strings][name : contents[strings].find(b"\0", name)]
        at = len(names) if text else 0
        names += text + b"\0" if text else b""
        symbols.append(_SYMBOL.pack(at, info, other, section, value, size))
    if not wanted <= numbers.keys():
        raise FormatError("a kernel module refers to symbols that it does not have")
    for user, records in relocations.items():
        contents[user] = b"".join(
            _RELOCATION.pack(offset, numbers[info >> 32] << 32 | info & 0xFFFF_FFFF, addend)
            for offset, info, addend in records
        )
    contents[symtab], contents[strings] = b"".join(symbols), bytes(names)
    headers[symtab] = headers[symtab]._replace(info=local_count)


def _records(layout: struct.Struct, data: bytes) -> list[tuple[int, ...]]:
    if len(data) % layout.size:
        raise FormatError("a table in a kernel module is damaged")
    return list(layout.iter_unpack(data))


def _assembled(start: bytes, headers: list[_Header], contents: list[bytes]) -> bytes:
    """The sections one after another, then their table."""
    out, table = bytearray(start), []
    for header, data in zip(headers, contents, strict=True):
        if header.kind not in (0, _NOBITS):
            out += bytes(-len(out) % max(header.align, 1))
            placed = header._replace(offset=len(out), size=len(data))
            out += data
        else:
            placed = header
        table.append(_SECTION.pack(*placed))
    out += bytes(-len(out) % 8)
    struct.pack_into("<Q", out, 40, len(out))
    return bytes(out) + b"".join(table)
