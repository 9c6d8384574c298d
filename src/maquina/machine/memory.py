"""Guest RAM: one mapping of a memfd, so that a fork can share it copy-on-write.

Processors reach it by host address; devices through `view`, which checks bounds. A page from which
a processor has decoded instructions is marked in `code_pages`; whoever writes memory behind the
processors' backs (DMA) calls `written`, so that stale decoded instructions are dropped.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
import weakref
from collections.abc import Callable

from maquina.errors import GuestFault, HostError

PAGE_BITS = 12
PAGE_SIZE = 1 << PAGE_BITS
LARGE_BYTES = 1 << 20
"""From here on the kernel is asked to copy, which spares a page fault for each fresh page."""

MAP_NORESERVE = 0x4000  # Python 3.11's mmap module lacks the name


class GuestMemory:
    """`size` bytes of RAM at guest-physical address `base`, both multiples of a page."""

    def __init__(self, base: int, size: int) -> None:
        if base % PAGE_SIZE or size % PAGE_SIZE or size <= 0:
            raise ValueError(f"memory of {size} bytes at {base:#x} is not whole pages")
        self.base = base
        self.size = size
        self.fd = os.memfd_create("maquina-ram", os.MFD_CLOEXEC)
        try:
            os.ftruncate(self.fd, size)
            self._map = mmap.mmap(self.fd, size, flags=mmap.MAP_SHARED | MAP_NORESERVE)
        except (OSError, ValueError, OverflowError) as error:
            os.close(self.fd)
            raise HostError(
                f"no room for {size >> 20} MiB of guest memory ({error})", "ask for less memory"
            ) from error
        self._closing = weakref.finalize(self, os.close, self.fd)
        self.bytes = memoryview(self._map)
        self.host_address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self.code_pages = bytearray(size >> PAGE_BITS)
        self.on_code_written: list[Callable[[int, int], None]] = []
        self._fence = threading.Lock()

    def __contains__(self, address: int) -> bool:
        return 0 <= address - self.base < self.size

    def view(self, address: int, size: int) -> memoryview:
        """The bytes at a guest-physical address, writable in place. GuestFault if not all RAM."""
        offset = address - self.base
        if offset < 0 or size < 0 or offset + size > self.size:
            raise GuestFault(f"{size} bytes at {address:#x} are not memory")
        return self.bytes[offset : offset + size]

    def read(self, address: int, size: int) -> bytes:
        """A copy of `size` bytes. GuestFault if not all RAM."""
        return bytes(self.view(address, size))

    def write(self, address: int, data: bytes | bytearray | memoryview | mmap.mmap) -> None:
        """Store bytes and tell the processors. GuestFault, and nothing stored, if not all RAM."""
        view = self.view(address, len(data))
        if len(data) < LARGE_BYTES or os.pwrite(self.fd, data, address - self.base) != len(data):
            view[:] = data
        self.written(address, len(data))

    def written(self, address: int, size: int) -> None:
        """Tell the processors that bytes obtained by `view` were changed."""
        first = (address - self.base) >> PAGE_BITS
        last = (address - self.base + max(size, 1) - 1) >> PAGE_BITS
        if any(self.code_pages[first : last + 1]):
            for listener in self.on_code_written:
                listener(address, size)

    def fence(self) -> None:
        """Order what was stored before against what is loaded after, as a processor sees it."""
        with self._fence:  # an atomic read-modify-write, which is a full barrier
            pass

    def close(self) -> None:
        """Give the memory back. Views and host addresses are dead after this."""
        self.bytes.release()
        self._closing()
