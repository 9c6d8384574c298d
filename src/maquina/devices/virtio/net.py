"""A network card (virtio 1.3, section 5.1) on a NetBackend.

Each frame has a header of 12 bytes before it. Received frames may be spread over several chains
(MRG_RXBUF), so that a driver can offer small buffers and still take frames of 64 KiB.

Checksums. With CSUM the guest leaves the checksum of TCP and UDP to us. A backend that forwards
frames needs it filled in; one that ends connections itself, as a user-mode NAT does, looks at no
checksum and fills in none, which saves both sides a pass over all data: `has_checksums=False`.
A driver that does not negotiate GUEST_CSUM still gets them.
"""

from __future__ import annotations

import struct

from maquina.devices.virtio.buffers import gather, scatter, size_of
from maquina.devices.virtio.checksums import complete, fill_in
from maquina.devices.virtio.device import VirtioDevice
from maquina.devices.virtio.queue import Chain, Queue
from maquina.machine.backends import NetBackend
from maquina.machine.state import Fields, State

F_CSUM, F_GUEST_CSUM, F_MTU, F_MAC = 1 << 0, 1 << 1, 1 << 3, 1 << 5
F_MRG_RXBUF, F_STATUS = 1 << 15, 1 << 16
S_LINK_UP = 1
HDR_NEEDS_CSUM, HDR_DATA_VALID = 1, 2

# flags, gso_type, hdr_len, gso_size, csum_start, csum_offset, num_buffers (5.1.6)
HEADER = struct.Struct("<BBHHHHH")
CONFIG = struct.Struct("<6sHHH")  # mac, status, max_virtqueue_pairs, mtu (5.1.4)
RECEIVE, TRANSMIT = 0, 1
QUEUE_SIZE = 256
MIN_MTU, MAX_MTU = 68, 65535
# A chain can name 4 GiB; what is longer than any frame is dropped before it is copied.
MAX_FRAME_BYTES = MAX_MTU + 18  # Ethernet header with a VLAN tag


class Net(VirtioDevice):
    """Whoever attaches the backend hands it `receive`, under the machine's lock."""

    device_id = 1
    pci_class = 0x020000  # Ethernet controller

    def __init__(
        self, backend: NetBackend, mac: bytes, mtu: int = 1500, *, has_checksums: bool = True
    ) -> None:
        """`has_checksums`: whether frames at the backend have valid TCP and UDP checksums."""
        if len(mac) != 6 or mac[0] & 1 or not MIN_MTU <= mtu <= MAX_MTU:
            raise ValueError(f"no network card has the address {mac.hex(':')} and MTU {mtu}")
        features = F_CSUM | F_MTU | F_MAC | F_MRG_RXBUF | F_STATUS
        features |= 0 if has_checksums else F_GUEST_CSUM
        super().__init__(features, [QUEUE_SIZE, QUEUE_SIZE])
        self._backend, self._mac, self._mtu = backend, mac, mtu
        self._has_checksums = has_checksums
        self._is_link_up = True
        self._has_refused = False  # the backend holds a frame for which there was no buffer

    @property
    def config(self) -> bytes:
        return CONFIG.pack(self._mac, S_LINK_UP * self._is_link_up, 1, self._mtu)

    def set_link(self, is_up: bool) -> None:
        """Plug the cable in or out."""
        self._is_link_up = is_up
        self.config_changed()

    def reset(self) -> None:
        self._has_refused = False

    def activate(self) -> None:
        self.queues[RECEIVE].decline_kicks()

    def kick(self, index: int) -> None:
        if index == TRANSMIT:
            self._transmit(self.queues[TRANSMIT])
        elif self._has_refused:
            self._has_refused = False
            self.queues[RECEIVE].decline_kicks()
            self._backend.ready()

    # -- from the guest ------------------------------------------------------------------------

    def _transmit(self, queue: Queue) -> None:
        for chain in queue.drain():
            if size_of(chain.readable) <= HEADER.size + MAX_FRAME_BYTES:
                self._send(gather(chain.readable, HEADER.size + MAX_FRAME_BYTES))
            queue.push(chain, 0)

    def _send(self, packet: bytes) -> None:
        """Send one frame; one that asks for what was not negotiated is dropped (5.1.6.2)."""
        if len(packet) <= HEADER.size or not self._is_link_up:
            return
        flags, gso_type, _, _, start, offset, _ = HEADER.unpack_from(packet)
        frame = packet[HEADER.size :]
        if gso_type or (flags & HDR_NEEDS_CSUM and not self.accepted & F_CSUM):
            return
        if flags & HDR_NEEDS_CSUM and self._has_checksums:
            if start + offset + 2 > len(frame):
                return
            frame = complete(frame, start, offset)
        self._backend.send(frame)

    # -- to the guest --------------------------------------------------------------------------

    def receive(self, frame: bytes) -> bool:
        """A frame for the guest; False if it should be offered again after `ready`.

        A card without driver or cable drops what arrives.
        """
        if not self.is_live or not self._is_link_up or len(frame) > MAX_FRAME_BYTES:
            return True
        is_taken = True
        with self.guard():
            queue = self.queues[RECEIVE]
            is_taken = self._deliver(queue, frame)
            if not is_taken:
                seen = queue.pending
                queue.ask_for_kick()
                if queue.pending != seen:  # the driver added some before it could see that
                    is_taken = self._deliver(queue, frame)
                self._has_refused = not is_taken
        return is_taken

    def _deliver(self, queue: Queue, frame: bytes) -> bool:
        """Put a frame into buffers; False, and nothing taken, if there are too few."""
        if not queue.is_enabled:
            return True
        chains = self._take(queue, HEADER.size + len(frame))
        if chains is None:
            return False
        flags = HDR_DATA_VALID if self.accepted & F_GUEST_CSUM else 0
        if not flags and not self._has_checksums:
            frame = fill_in(frame)
        rest = memoryview(HEADER.pack(flags, 0, 0, 0, 0, 0, len(chains)) + frame)
        finished = []
        for chain in chains:
            count = scatter(chain.writable, rest)
            rest = rest[count:]
            finished.append((chain, count))
        queue.push_all(finished)  # together, so that the driver never sees part of a frame
        queue.signal()
        return True

    def _take(self, queue: Queue, size: int) -> list[Chain] | None:
        """Chains with room for `size` bytes; none if a single one is too small (a dropped frame).

        None means to wait for more.
        """
        chains: list[Chain] = []
        while size > 0:
            chain = queue.pop()
            if chain is None:
                queue.undo_pop(len(chains))
                return None
            chains.append(chain)
            size -= size_of(chain.writable)
            if size > 0 and not self.accepted & F_MRG_RXBUF:
                queue.undo_pop()
                return []
        return chains

    # -- saving --------------------------------------------------------------------------------

    def save(self) -> dict[str, State]:
        return {"mac": self._mac, "mtu": self._mtu, "is_link_up": self._is_link_up}

    def restore(self, state: dict[str, State]) -> None:
        """The card must be the same; its cable may lead elsewhere."""
        fields = Fields(state, "a network card")
        if fields.data("mac", 6) != self._mac or fields.integer("mtu", 0, MAX_MTU) != self._mtu:
            raise fields.error("mac or mtu", "is of another card")
        self._is_link_up = fields.flag("is_link_up")
        self._has_refused = True  # the backend may have a frame, and is asked in `resume`
