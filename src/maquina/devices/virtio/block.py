"""A disk (virtio 1.3, section 5.2) on a BlockBackend, which uses guest memory in place.

A request is a header of 16 bytes, data one way or the other, and a status byte which is the last
that the device writes. All of it may be cut into buffers anywhere.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TypeAlias

from maquina.devices.virtio.buffers import gather, scatter, size_of, split
from maquina.devices.virtio.device import VirtioDevice
from maquina.devices.virtio.queue import Chain
from maquina.errors import GuestFault
from maquina.machine.backends import BlockBackend
from maquina.machine.state import Fields, State

F_SEG_MAX, F_RO, F_BLK_SIZE, F_FLUSH = 1 << 2, 1 << 5, 1 << 6, 1 << 9
F_TOPOLOGY, F_CONFIG_WCE, F_MQ, F_DISCARD, F_WRITE_ZEROES = (
    1 << 10,
    1 << 11,
    1 << 12,
    1 << 13,
    1 << 14,
)
T_IN, T_OUT, T_FLUSH, T_GET_ID, T_DISCARD, T_WRITE_ZEROES = 0, 1, 4, 8, 11, 13
S_OK, S_IOERR, S_UNSUPP = 0, 1, 2

SECTOR = 512
ID_SIZE = 20
QUEUE_SIZE = 256
MAX_SEGMENTS = QUEUE_SIZE - 2  # of data in a request without indirect descriptors
PHYSICAL_BLOCK_EXPONENT = 3  # 4 KiB: a hint for partitioning and file systems

# Without bounds one request could name terabytes to be zeroed with the machine's lock held.
MAX_RANGE_SECTORS = 1 << 22  # 2 GiB
MAX_RANGES = 16
RANGE = struct.Struct("<QII")  # sector, count, flags
RANGE_UNMAP = 1

HEADER = struct.Struct("<IxxxxQ")  # type, sector
# capacity; size_max, seg_max; geometry; blk_size; topology; writeback; num_queues; discard;
# write_zeroes (5.2.4)
CONFIG = struct.Struct("<QIIHBBIBBHIBxHIIIIIBxxx")
WRITEBACK_OFFSET = 32

Buffers: TypeAlias = "list[memoryview]"


class Block(VirtioDevice):
    """`serial` is what the guest reads as the disk's id, cut to 20 bytes."""

    device_id = 2
    pci_class = 0x018000  # mass storage, other

    def __init__(self, backend: BlockBackend, serial: str = "", queues: int = 1) -> None:
        features = F_SEG_MAX | F_BLK_SIZE | F_FLUSH | F_TOPOLOGY
        features |= F_MQ if queues > 1 else 0
        features |= F_RO if backend.is_read_only else F_CONFIG_WCE | F_DISCARD | F_WRITE_ZEROES
        super().__init__(features, [QUEUE_SIZE] * queues)
        self._backend = backend
        self._serial = serial.encode()[:ID_SIZE].ljust(ID_SIZE, b"\0")
        self._is_writeback = True
        self._handlers: dict[int, Callable[[int, Buffers, Buffers], int]] = {
            T_IN: self._read,
            T_OUT: self._write,
            T_FLUSH: self._flush,
            T_GET_ID: self._get_id,
            T_DISCARD: self._discard,
            T_WRITE_ZEROES: self._write_zeroes,
        }

    @property
    def _sectors(self) -> int:
        return self._backend.size_bytes // SECTOR

    @property
    def config(self) -> bytes:
        topology = (PHYSICAL_BLOCK_EXPONENT, 0, 1 << PHYSICAL_BLOCK_EXPONENT, 0)
        ranges = (MAX_RANGE_SECTORS, MAX_RANGES)
        return CONFIG.pack(
            self._sectors,
            *(0, MAX_SEGMENTS),
            *(0, 0, 0),
            SECTOR,
            *topology,
            self._is_writeback,
            len(self.queue_sizes),
            *ranges,
            1 << PHYSICAL_BLOCK_EXPONENT,
            *ranges,
            1,
        )

    def write_config(self, offset: int, data: bytes) -> None:
        if offset == WRITEBACK_OFFSET and len(data) == 1 and self.accepted & F_CONFIG_WCE:
            self._is_writeback = data != b"\0"

    def resized(self) -> None:
        """The backend has another size now."""
        self.config_changed()

    def reset(self) -> None:
        self._is_writeback = True

    # -- requests ------------------------------------------------------------------------------

    def kick(self, index: int) -> None:
        queue = self.queues[index]
        for chain in queue.drain():
            queue.push(chain, self._serve(chain))

    def _serve(self, chain: Chain) -> int:
        """Answer a request, whatever it is; without header or status it is none (5.2.6).

        All the room counts as written, also after a failure: the status is its last byte.
        """
        room = size_of(chain.writable)
        header = gather(chain.readable, HEADER.size)
        if len(header) < HEADER.size or not room:
            raise GuestFault("a block request without header or status")
        kind, sector = HEADER.unpack(header)
        _, source = split(chain.readable, HEADER.size)
        target, status_at = split(chain.writable, room - 1)
        handle = self._handlers.get(kind)
        try:
            status = S_UNSUPP if handle is None else handle(sector, source, target)
        except OSError:
            status = S_IOERR
        scatter(status_at, bytes([status]))
        return room

    def _read(self, sector: int, _: Buffers, target: Buffers) -> int:
        if not self._holds(sector, size_of(target)):
            return S_IOERR
        self._backend.read_into(sector * SECTOR, target)
        return S_OK

    def _write(self, sector: int, source: Buffers, _: Buffers) -> int:
        if self._backend.is_read_only or not self._holds(sector, size_of(source)):
            return S_IOERR
        self._backend.write_from(sector * SECTOR, source)
        if not self._has_volatile_cache():
            self._backend.flush()
        return S_OK

    def _flush(self, _sector: int, _source: Buffers, _target: Buffers) -> int:
        self._backend.flush()
        return S_OK

    def _get_id(self, _sector: int, _source: Buffers, target: Buffers) -> int:
        return S_OK if scatter(target, self._serial) else S_IOERR

    def _discard(self, _sector: int, source: Buffers, _: Buffers) -> int:
        return self._for_ranges(source, F_DISCARD, 0, self._backend.discard)

    def _write_zeroes(self, _sector: int, source: Buffers, _: Buffers) -> int:
        return self._for_ranges(source, F_WRITE_ZEROES, RANGE_UNMAP, self._backend.write_zeros)

    def _for_ranges(
        self, source: Buffers, feature: int, flags: int, act: Callable[[int, int], None]
    ) -> int:
        """Check all ranges of a request, then act on each."""
        if not self.accepted & feature:
            return S_UNSUPP
        data = gather(source, MAX_RANGES * RANGE.size + 1)
        if not data or len(data) % RANGE.size:
            return S_IOERR
        ranges = list(RANGE.iter_unpack(data))
        if any(given & ~flags for _, _, given in ranges):
            return S_UNSUPP
        for sector, count, _ in ranges:
            if count > MAX_RANGE_SECTORS or not self._holds(sector, count * SECTOR):
                return S_IOERR
        for sector, count, _ in ranges:
            act(sector * SECTOR, count * SECTOR)
        return S_OK

    def _holds(self, sector: int, size: int) -> bool:
        """Whether the disk has these bytes and they are whole sectors."""
        return size % SECTOR == 0 and sector + size // SECTOR <= self._sectors

    def _has_volatile_cache(self) -> bool:
        """Whether the driver knows that writes are lost unless flushed (5.2.6.2)."""
        if self.accepted & F_CONFIG_WCE:
            return self._is_writeback
        return bool(self.accepted & F_FLUSH)

    # -- saving --------------------------------------------------------------------------------

    def save(self) -> dict[str, State]:
        """Requests are served at once, so none is ever in flight; the disk saves itself."""
        return {"is_writeback": self._is_writeback, "sectors": self._sectors}

    def restore(self, state: dict[str, State]) -> None:
        fields = Fields(state, "a virtio disk")
        is_writeback = fields.flag("is_writeback")
        if fields.integer("sectors", 0, 1 << 64) != self._sectors:
            raise fields.error("sectors", "is not the size of the disk that is attached")
        self._is_writeback = is_writeback
