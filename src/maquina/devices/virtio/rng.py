"""An entropy source (virtio 1.3, section 5.4), and the smallest complete virtio device."""

from __future__ import annotations

import os
from collections.abc import Callable

from maquina.devices.virtio.buffers import scatter, size_of
from maquina.devices.virtio.device import VirtioDevice
from maquina.machine.state import State

# A guest can offer gigabytes of buffer in one request; filling them would keep the machine's lock
# for seconds. A device may use any part of a buffer (5.4.6.1), and Linux asks for 64 bytes or so.
MAX_ENTROPY_BYTES = 1 << 16


class Rng(VirtioDevice):
    """Random bytes from `source`, which is the host's generator unless a test wants its own."""

    device_id = 4

    def __init__(self, source: Callable[[int], bytes] = os.urandom) -> None:
        super().__init__(features=0, queue_sizes=[64])
        self._source = source

    def kick(self, index: int) -> None:
        queue = self.queues[index]
        for chain in queue.drain():
            count = min(size_of(chain.writable), MAX_ENTROPY_BYTES)
            queue.push(chain, scatter(chain.writable, self._source(count)))

    def save(self) -> dict[str, State]:
        return {}

    def restore(self, state: dict[str, State]) -> None:
        """There is nothing to restore; a fork gets other bytes than its twin."""
