"""The registers by which a driver sets up a virtio device (virtio 1.3, section 4.1.4.3).

They hold status, feature negotiation and queue configuration. Nothing in them depends on PCI but
the MSI-X vectors, which read as "no vector": interrupts go over a wire here. The registers of
`transport_mmio` are these under other offsets.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from maquina.devices.virtio.device import VirtioDevice
from maquina.devices.virtio.queue import (
    ADDRESS_MAX,
    FEATURE_EVENT_IDX,
    FEATURE_INDIRECT_DESC,
    Queue,
)
from maquina.devices.virtio.status import Bit, Stage, stages_requested
from maquina.errors import StateError
from maquina.machine.memory import GuestMemory
from maquina.machine.state import Fields, State

FEATURE_VERSION_1 = 1 << 32
FEATURE_RING_RESET = 1 << 40
FEATURES = FEATURE_INDIRECT_DESC | FEATURE_EVENT_IDX | FEATURE_VERSION_1 | FEATURE_RING_RESET

LAYOUT = struct.Struct("<IIIIHHBBHHHHHQQQHH")
NO_VECTOR = 0xFFFF
WORD = 0xFFFF_FFFF
AREAS = ("descriptor_area", "driver_area", "device_area")
FIRST_AREA, END_OF_AREAS = 0x20, 0x38


class CommonConfig:
    """A device's registers, and through them its life.

    `on_queue` and `on_config` are called to interrupt the driver. `required` are features without
    which a driver is refused.
    """

    def __init__(
        self,
        device: VirtioDevice,
        memory: GuestMemory,
        on_queue: Callable[[], None],
        on_config: Callable[[], None],
        required: int = FEATURE_VERSION_1,
    ) -> None:
        self.device, self._required = device, required
        self._memory, self._on_queue, self._on_config = memory, on_queue, on_config
        self.offered = device.features | FEATURES
        self.stage = Stage.RESET
        self.alarm = Bit(0)  # NEEDS_RESET, FAILED
        self.why_broken = ""  # for people; not part of the state
        self.generation = 0
        self._device_page = self._driver_page = self._queue_index = 0
        self._driver_features = 0
        self.queues = self._make_queues()
        device.connect(self.queues, self._break, self._config_changed)
        self._writers: dict[int, tuple[int, Callable[[int], None]]] = {
            0x00: (4, self._select_device_page),
            0x08: (4, self._select_driver_page),
            0x0C: (4, self._set_driver_features),
            0x14: (1, self._set_status),
            0x16: (2, self._select_queue),
            0x18: (2, self._set_queue_size),
            0x1C: (2, self._enable_queue),
            0x3A: (2, self._reset_queue),
        }

    def _make_queues(self) -> list[Queue]:
        return [Queue(self._memory, size, self._on_queue) for size in self.device.queue_sizes]

    # -- as registers --------------------------------------------------------------------------

    def read(self, offset: int, size: int) -> int:
        """Reading has no effects, so any bytes may be read at once."""
        queue = self._queue
        fields = LAYOUT.pack(
            self._device_page,
            _page(self.offered, self._device_page),
            self._driver_page,
            _page(self._driver_features, self._driver_page),
            NO_VECTOR,
            len(self.queues),
            self.stage | self.alarm,
            self.generation,
            self._queue_index,
            queue.size if queue else 0,
            NO_VECTOR,
            queue.is_enabled if queue else 0,
            self._queue_index if queue else 0,  # queue_notify_off
            queue.descriptor_area if queue else 0,
            queue.driver_area if queue else 0,
            queue.device_area if queue else 0,
            self._queue_index if queue else 0,  # queue_notify_config_data
            0,  # queue_reset: done at once
        )
        return int.from_bytes(fields[offset : offset + size], "little")

    def write(self, offset: int, size: int, value: int) -> None:
        """Fields take their own width only, addresses also halves of it (4.1.3.1)."""
        if FIRST_AREA <= offset < END_OF_AREAS:
            if size in (4, 8) and offset % size == 0:
                self._set_area(offset, size, value)
        elif offset in self._writers:
            width, write = self._writers[offset]
            if size == width:
                write(value)

    @property
    def _queue(self) -> Queue | None:
        """The selected queue, None if there is no such."""
        return self.queues[self._queue_index] if self._queue_index < len(self.queues) else None

    def _select_device_page(self, value: int) -> None:
        self._device_page = value

    def _select_driver_page(self, value: int) -> None:
        self._driver_page = value

    def _select_queue(self, value: int) -> None:
        self._queue_index = value

    def _set_driver_features(self, value: int) -> None:
        if self._driver_page < 2 and self.stage not in (Stage.NEGOTIATED, Stage.LIVE):
            shift = 32 * self._driver_page
            self._driver_features &= ~(WORD << shift)
            self._driver_features |= value << shift

    # -- queues --------------------------------------------------------------------------------

    @property
    def queue_maximum(self) -> int:
        """The largest size of the selected queue; 0 if there is no such queue."""
        return self._queue.maximum if self._queue else 0

    def stop_queue(self) -> None:
        """Take the selected queue out of use (QueueReady, 4.2.2; over PCI there is no way)."""
        if self._queue:
            self._queue.reset()

    def _set_queue_size(self, value: int) -> None:
        """A queue in use keeps its size, whatever is written: its views were checked for it."""
        queue = self._queue
        is_size = value > 0 and value & (value - 1) == 0
        if queue and not queue.is_enabled and is_size and value <= queue.maximum:
            queue.size = value

    def _set_area(self, offset: int, size: int, value: int) -> None:
        queue = self._queue
        if queue is None or queue.is_enabled:
            return
        name = AREAS[(offset - FIRST_AREA) // 8]
        if size == 4:
            shift = 32 * (offset % 8 // 4)
            value = getattr(queue, name) & ~(WORD << shift) | value << shift
        setattr(queue, name, value)

    def _enable_queue(self, value: int) -> None:
        queue = self._queue
        if queue is None or value != 1 or queue.is_enabled:
            return
        if self.stage in (Stage.NEGOTIATED, Stage.LIVE):
            with self.device.guard():
                queue.enable(self.device.accepted)

    def _reset_queue(self, value: int) -> None:
        queue = self._queue
        if queue and value == 1 and self.device.accepted & FEATURE_RING_RESET:
            queue.reset()

    def notify(self, index: int) -> None:
        """The driver kicks a queue."""
        if self.device.is_live and index < len(self.queues) and self.queues[index].is_enabled:
            with self.device.guard():
                self.device.kick(index)

    # -- status --------------------------------------------------------------------------------

    def _set_status(self, value: int) -> None:
        if value == 0:
            self.reset()
            return
        if value & Bit.FAILED:
            self.alarm |= Bit.FAILED
            self.device.is_live = False
        if self.alarm:
            return
        for stage in stages_requested(self.stage, value):
            if stage is Stage.NEGOTIATED and not self._agree():
                break
            self.stage = stage
            if stage is Stage.LIVE:
                self._activate()

    def _agree(self) -> bool:
        """Whether the driver's features can be served; if so they hold from now on."""
        chosen = self._driver_features
        if not self._can_accept(chosen):
            return False
        self.device.accepted = chosen
        return True

    def _can_accept(self, chosen: int) -> bool:
        is_sound = not chosen & ~self.offered and not self._required & ~chosen
        return is_sound and self.device.accepts(chosen)

    def _activate(self) -> None:
        """Go. A driver may have filled and kicked queues before."""
        self.device.is_live = True
        with self.device.guard():
            self.device.activate()
        self.resume()

    def resume(self) -> None:
        """Look into every queue: after a restore the backends may have room or data again."""
        for index, queue in enumerate(self.queues):
            if self.device.is_live and queue.is_enabled:
                with self.device.guard():
                    if queue.pending:
                        self.device.kick(index)

    def reset(self) -> None:
        """What a write of 0 to the status does (2.4)."""
        self.device.is_live = False
        self.device.accepted = 0
        self.stage, self.alarm, self.why_broken = Stage.RESET, Bit(0), ""
        self._device_page = self._driver_page = self._queue_index = 0
        self._driver_features = 0
        for queue in self.queues:
            queue.reset()
        self.device.reset()

    def _break(self, reason: str) -> None:
        """Out of service until reset (2.1.2); the driver hears of it if it was ready."""
        was_live = self.device.is_live
        self.device.is_live = False
        self.alarm |= Bit.NEEDS_RESET
        self.why_broken = reason
        if was_live:
            self._on_config()

    def _config_changed(self) -> None:
        self.generation = (self.generation + 1) & 0xFF
        if self.device.is_live:
            self._on_config()

    # -- saving --------------------------------------------------------------------------------

    def save(self) -> dict[str, State]:
        return {
            "stage": int(self.stage),
            "alarm": int(self.alarm),
            "generation": self.generation,
            "device_page": self._device_page,
            "driver_page": self._driver_page,
            "queue_index": self._queue_index,
            "driver_features": self._driver_features,
            "accepted": self.device.accepted,
            "queues": [queue.save() for queue in self.queues],
            "device": self.device.save(),
        }

    def restore(self, state: dict[str, State]) -> None:
        """Memory must have been restored before: queues are checked against it."""
        fields = Fields(state, f"virtio device {self.device.device_id}")
        stage = fields.integer("stage", 0, Stage.LIVE)
        alarm = fields.integer("alarm", 0, 0xFF)
        if stage not in set(Stage):
            raise fields.error("stage", "is no stage")
        if alarm & ~(Bit.NEEDS_RESET | Bit.FAILED):
            raise fields.error("alarm", "has strange bits")
        numbers = {
            "generation": fields.integer("generation", 0, 0xFF),
            "_device_page": fields.integer("device_page", 0, WORD),
            "_driver_page": fields.integer("driver_page", 0, WORD),
            "_queue_index": fields.integer("queue_index", 0, 0xFFFF),
            "_driver_features": fields.integer("driver_features", 0, ADDRESS_MAX),
        }
        accepted = fields.integer("accepted", 0, ADDRESS_MAX)
        self._check_accepted(fields, accepted, Stage(stage))
        queues = self._make_queues()
        saved = fields.groups("queues", len(queues))
        for queue, queue_state in zip(queues, saved, strict=True):
            queue.restore(queue_state, accepted)
        self._restore_device(fields.group("device"), queues, accepted)
        self.__dict__.update(numbers)
        self.stage, self.alarm = Stage(stage), Bit(alarm)
        self.device.is_live = self.stage is Stage.LIVE and not self.alarm

    def _check_accepted(self, fields: Fields, accepted: int, stage: Stage) -> None:
        is_agreed = stage in (Stage.NEGOTIATED, Stage.LIVE)
        if not (self._can_accept(accepted) if is_agreed else accepted == 0):
            raise fields.error("accepted", "is not what this device can agree to")

    def _restore_device(self, state: dict[str, State], queues: list[Queue], accepted: int) -> None:
        before, accepted_before = list(self.queues), self.device.accepted
        self.queues[:], self.device.accepted = queues, accepted
        try:
            self.device.restore(state)
        except StateError:
            self.queues[:], self.device.accepted = before, accepted_before
            raise


def _page(features: int, page: int) -> int:
    """32 of the feature bits."""
    return features >> (32 * page) & WORD if page < 2 else 0
