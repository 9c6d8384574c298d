"""Names of native functions for `perf`, which looks for them in /tmp/perf-PID.map."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

SYMBOL_TABLE = 2  # section type (System V ABI, chapter 4)
FUNCTION = 2  # symbol type


def functions(code: bytes) -> Iterator[tuple[str, int, int]]:
    """Name, offset and size of each function in an ELF object file of 64 bits."""
    (table,) = struct.unpack_from("<Q", code, 40)
    entry_size, count = struct.unpack_from("<HH", code, 58)
    sections = [
        struct.unpack_from("<IIQQQQIIQQ", code, table + i * entry_size) for i in range(count)
    ]
    for _, kind, _, _, start, size, link, *_ in sections:
        if kind != SYMBOL_TABLE:
            continue
        names = sections[link][4]
        for at in range(start, start + size, 24):
            name, info, _, _, value, length = struct.unpack_from("<IBBHQQ", code, at)
            if info & 15 == FUNCTION:
                end = code.index(b"\0", names + name)
                yield code[names + name : end].decode(), value, length


def write_perf_map(code: bytes, symbol: str, address: int) -> Path:
    """Tell perf where an object's functions are, one of which is at a known address."""
    found = list(functions(code))
    base = address - next(value for name, value, _ in found if name == symbol)
    path = Path(f"/tmp/perf-{os.getpid()}.map")
    lines = [f"{base + value:x} {size:x} {name}\n" for name, value, size in found]
    # Others may write /tmp: follow no link that they put there.
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w") as file:
        file.writelines(lines)
    return path
