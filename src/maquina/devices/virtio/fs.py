"""A shared file tree (virtio 1.3, section 5.11): FUSE requests over virtqueues.

The guest mounts it by its tag: `root=TAG rootfstype=virtiofs`. Queue 0 is for requests that must
not wait, the other for all else; as every request is answered at once they are served alike. There
is no DAX window: the guest caches what it reads.
"""

from __future__ import annotations

import struct

from maquina.devices.fuse import FuseServer
from maquina.devices.virtio.device import VirtioDevice
from maquina.errors import UsageError
from maquina.machine.clock import Clock
from maquina.machine.files import FileTree
from maquina.machine.state import State

CONFIG = struct.Struct("<36sI")  # tag, num_request_queues (5.11.4)
MAX_TAG = 36
HIGH_PRIORITY_SIZE = 128
# Linux asks for at most as much in one request as the queue has descriptors, a page each, less
# four: this is for requests of 1 MiB.
REQUEST_SIZE = 1024


class Fs(VirtioDevice):
    """A file tree under the name `tag`, of at most 36 bytes."""

    device_id = 26
    pci_class = 0x018000  # mass storage, other

    def __init__(self, tag: str, tree: FileTree, clock: Clock) -> None:
        super().__init__(features=0, queue_sizes=[HIGH_PRIORITY_SIZE, REQUEST_SIZE])
        self._tag = tag.encode()
        if not 0 < len(self._tag) <= MAX_TAG or b"\0" in self._tag:
            raise UsageError(f"{tag!r} is no tag of a file system", "use 1 to 36 bytes")
        self._server = FuseServer(tree, clock)

    @property
    def config(self) -> bytes:
        return CONFIG.pack(self._tag, len(self.queue_sizes) - 1)

    def kick(self, index: int) -> None:
        queue = self.queues[index]
        for chain in queue.drain():
            queue.push(chain, self._server.handle(chain.readable, chain.writable))

    def reset(self) -> None:
        self._server.reset()

    def save(self) -> dict[str, State]:
        return self._server.save()

    def restore(self, state: dict[str, State]) -> None:
        self._server.restore(state)
