"""How devices reach the host: protocols that storage, networks and consoles satisfy.

A device is given one of these objects and never opens a file or a socket itself. `receive`
functions handed to a backend may be called from any thread: a board wraps them in the machine's
lock before it attaches them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol


class BlockBackend(Protocol):
    """A disk. Offsets and lengths are bytes, inside `size_bytes`. OSError on failure."""

    @property
    def size_bytes(self) -> int: ...

    @property
    def is_read_only(self) -> bool: ...

    def read_into(self, offset: int, buffers: Sequence[memoryview]) -> None:
        """Fill the buffers, one after another, from `offset` on."""
        ...

    def write_from(self, offset: int, buffers: Sequence[memoryview]) -> None:
        """Store the buffers, one after another, from `offset` on."""
        ...

    def discard(self, offset: int, length: int) -> None:
        """Forget a range: it reads as zeros or as before, as the image format has it."""
        ...

    def write_zeros(self, offset: int, length: int) -> None:
        """Make a range read as zeros."""
        ...

    def flush(self) -> None:
        """Return when everything written is on stable storage."""
        ...

    def close(self) -> None: ...


class NetBackend(Protocol):
    """The other end of a network cable. Frames are whole Ethernet frames without checksum."""

    def attach(self, receive: Callable[[bytes], bool]) -> None:
        """Deliver frames for the guest to `receive`; it answers False when it has no buffer."""
        ...

    def send(self, frame: bytes) -> None:
        """A frame from the guest. Never blocks."""
        ...

    def ready(self) -> None:
        """The guest has made buffers available after `receive` refused a frame."""
        ...

    def close(self) -> None: ...


class CharBackend(Protocol):
    """A byte stream to and from a person or a program: a terminal, a pipe, a socket."""

    def attach(self, receive: Callable[[bytes], int]) -> None:
        """Deliver input to `receive`, which answers how many bytes it took."""
        ...

    def write(self, data: bytes) -> None:
        """Output from the guest. Never blocks for long."""
        ...

    def ready(self) -> None:
        """The guest can take input again after `receive` took less than it was given."""
        ...


class GuestPort(Protocol):
    """The machine's end of a console port, as its PortBackend sees it.

    Any thread may call it; the machine's lock is taken inside. A caller must not hold a lock that
    its own `write`, `ready` or `guest_opened` takes.
    """

    def receive(self, data: bytes) -> int:
        """Input for the guest; answers how many bytes were taken. `ready` tells when to go on."""
        ...

    def resume(self) -> None:
        """There is room again after `write` took less than it was given."""
        ...

    def set_open(self, is_open: bool) -> None:
        """Whether somebody is at the host's end: a guest reads end-of-file and cannot write."""
        ...


class PortBackend(Protocol):
    """The host's end of a console port: a byte stream that either side opens and closes."""

    def attach(self, port: GuestPort) -> None:
        """Called once, before anything else."""
        ...

    def write(self, data: bytes) -> int:
        """Output from the guest; answers how many bytes were taken, and never blocks.

        The rest waits in the guest's memory until `resume`.
        """
        ...

    def ready(self) -> None:
        """The guest can take input again after `receive` took less than it was given."""
        ...

    def guest_opened(self, is_open: bool) -> None:
        """A program in the guest opened the port, or the last one closed it."""
        ...
