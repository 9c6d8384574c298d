"""What a virtio device is, apart from how the driver reaches it (virtio 1.3, sections 2 and 5).

A device names its kind, its features, its queues and its configuration, and serves its queues;
the transport does everything else: registers, status, negotiation, interrupts. The smallest
complete device is `rng`. Another, which answers every request with its bytes reversed:

    class Reverser(VirtioDevice):
        device_id = 60

        def __init__(self) -> None:
            super().__init__(features=0, queue_sizes=[64])

        def kick(self, index: int) -> None:
            queue = self.queues[index]
            for chain in queue.drain():
                answer = gather(chain.readable, MAX_REQUEST)[::-1]
                queue.push(chain, scatter(chain.writable, answer))

        def save(self) -> dict[str, State]:
            return {}

        def restore(self, state: dict[str, State]) -> None:
            pass

How it is called. `kick` runs inside the driver's write to the notification register, on the
processor's thread, holding `AddressSpace.lock`. What happens on the host (a frame, a key press)
enters by further methods of the device, which the board calls with the same lock held; they look
at `is_live` first and touch queues inside `with self.guard():`. GuestFault, from there or from
`kick`, puts the device out of service until the driver resets it (2.1.2, NEEDS_RESET).

A device that finishes requests later, from another thread, keeps the chains, takes the lock, and
touches the buffers of a chain only if `queue.is_current(chain)`: after a reset they are memory
that the guest uses for something else. `save` must not lose them, so such a device finishes all
it has begun before it answers `save`, or takes unfinished chains back with `queue.undo_pop`.
"""

# ruff: noqa: B027  (hooks that most devices have nothing to do in)
from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

from maquina.devices.virtio.queue import Queue
from maquina.errors import GuestFault
from maquina.machine.state import State


class VirtioDevice(ABC):
    """A device without a transport. Subclasses serve `kick` and have the rest as they need it."""

    device_id: ClassVar[int]  # section 5
    pci_class: ClassVar[int] = 0xFF0000  # class, subclass, interface: "does not fit any"

    def __init__(self, features: int, queue_sizes: Sequence[int]) -> None:
        """`features`: the bits 0 to 23 and 50 to 63 it offers. Queue sizes are powers of two."""
        self.features = features
        self.queue_sizes = tuple(queue_sizes)
        self.accepted = 0  # the features agreed upon, all bits; 0 until then
        self.queues: Sequence[Queue] = ()
        self.is_live = False  # the driver is ready and the device in service
        self._on_fault: Callable[[str], None] = _ignore
        self._on_config: Callable[[], None] = _nothing

    # -- what a device has of its own ----------------------------------------------------------

    @abstractmethod
    def kick(self, index: int) -> None:
        """Serve a queue: the driver says, or the transport guesses, that it has chains."""

    @abstractmethod
    def save(self) -> dict[str, State]:
        """The device's own state; queues and negotiation are the transport's."""

    @abstractmethod
    def restore(self, state: dict[str, State]) -> None:
        """Take over what `save` answered, queues and features being restored already."""

    @property
    def config(self) -> bytes:
        """The device-specific configuration (2.5)."""
        return b""

    def write_config(self, offset: int, data: bytes) -> None:
        """The driver writes inside the configuration; most fields are read-only."""

    def accepts(self, features: int) -> bool:  # noqa: ARG002
        """Whether the driver's choice, a subset of those offered, can be served (2.2.2)."""
        return True

    def activate(self) -> None:
        """The driver is ready (DRIVER_OK); queues that have chains are kicked afterwards."""

    def reset(self) -> None:
        """Forget everything that a driver caused (2.4). Queues are reset by the transport."""

    # -- what a device calls -------------------------------------------------------------------

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Turn a GuestFault inside into NEEDS_RESET."""
        try:
            yield
        except GuestFault as fault:
            self._on_fault(str(fault))

    def config_changed(self) -> None:
        """Tell the driver that `config` reads otherwise now."""
        self._on_config()

    def connect(
        self,
        queues: Sequence[Queue],
        on_fault: Callable[[str], None],
        on_config: Callable[[], None],
    ) -> None:
        """Called once by the transport, which owns the queues."""
        self.queues, self._on_fault, self._on_config = queues, on_fault, on_config


def _ignore(_: str) -> None:
    """A device without transport has no one to tell."""


def _nothing() -> None:
    """A device without transport has no one to tell."""
