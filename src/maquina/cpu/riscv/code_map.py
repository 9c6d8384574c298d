"""Which pages of RAM hold decoded code, shared by the harts of a machine."""

from __future__ import annotations

import ctypes
import mmap

from maquina.machine.memory import MAP_NORESERVE, PAGE_BITS, GuestMemory

ANONYMOUS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE


class Block:
    """Zeroed memory at a fixed address, of which the host keeps only what is touched."""

    def __init__(self, size: int, alignment: int = mmap.PAGESIZE) -> None:
        self._map = mmap.mmap(-1, size + alignment, flags=ANONYMOUS)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self.size = size
        self.address = -(-start // alignment) * alignment


class CodeMap:
    """Per page of RAM: how many harts decoded code from it, and how often that was overwritten."""

    def __init__(self, memory: GuestMemory) -> None:
        self.pages = ctypes.addressof(ctypes.c_char.from_buffer(memory.code_pages))
        self.changes = Block(8)
        self.versions = Block((memory.size >> PAGE_BITS) * 8)
