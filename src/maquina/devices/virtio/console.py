"""A console with many ports (virtio 1.3, section 5.3): terminals, and streams between programs.

Port 0 has queues 0 and 1, the control messages 2 and 3, port n from 1 on has 2n + 2 and 2n + 3.
Ports come and go while the guest runs. A driver that does not negotiate MULTIPORT has port 0.

What the driver is to be told waits in `_owed`, by port and event, until it offers buffers for
messages: a later message of one kind replaces an earlier one, so a guest that takes none makes
nothing grow.
"""

from __future__ import annotations

import struct
from contextlib import AbstractContextManager

from maquina.devices.virtio.buffers import gather, scatter
from maquina.devices.virtio.console_port import MAX_NAME, Port
from maquina.devices.virtio.device import VirtioDevice
from maquina.devices.virtio.queue import Queue
from maquina.errors import UsageError
from maquina.machine.backends import PortBackend
from maquina.machine.state import Fields, State

F_SIZE, F_MULTIPORT = 1 << 0, 1 << 1
DEVICE_READY, PORT_ADD, PORT_REMOVE, PORT_READY = 0, 1, 2, 3
CONSOLE_PORT, RESIZE, PORT_OPEN, PORT_NAME = 4, 5, 6, 7

CONFIG = struct.Struct("<HHII")  # cols, rows, max_nr_ports, emerg_wr (5.3.4)
MESSAGE = struct.Struct("<IHH")  # port, event, value (5.3.6.2)
SIZE = struct.Struct("<HH")  # as the standard has it; Linux before 6.15 reads rows first
CONTROL_TO_GUEST, CONTROL_FROM_GUEST = 2, 3
QUEUE_SIZE = 64
MAX_PORTS = 511  # of 1,024 queues, two are for messages


class Console(VirtioDevice):
    """`lock` is the machine's: ports are handed to other threads, which call them directly."""

    device_id = 3
    pci_class = 0x078000  # communication, other

    def __init__(self, lock: AbstractContextManager[bool], max_ports: int = 16) -> None:
        if not 0 < max_ports <= MAX_PORTS:
            raise ValueError(f"a console has 1 to {MAX_PORTS} ports")
        super().__init__(F_SIZE | F_MULTIPORT, [QUEUE_SIZE] * (2 + 2 * max_ports))
        self.lock = lock
        self.ports: dict[int, Port] = {}
        self._max_ports = max_ports
        self._columns = self._rows = 0
        self._is_driver_ready = False  # DEVICE_READY was seen
        self._owed: dict[tuple[int, int], int] = {}

    @property
    def config(self) -> bytes:
        return CONFIG.pack(self._columns, self._rows, self._max_ports, 0)

    # -- from the host -------------------------------------------------------------------------

    def add_port(self, name: str, backend: PortBackend, *, is_console: bool = False) -> int:
        """Plug a port in; answers its number. The guest finds it by its name.

        A console port is a terminal of the guest (/dev/hvcN on Linux). Linux waits in a loop until
        its output is taken, so such a backend had better take all it is given.
        """
        with self.lock:
            number = next((n for n in range(self._max_ports) if n not in self.ports), None)
            if number is None:
                raise UsageError(f"all {self._max_ports} ports are in use", "close one first")
            if not 0 < len(name.encode()) <= MAX_NAME:
                raise UsageError(f"{name!r} is no name for a port", f"use 1 to {MAX_NAME} bytes")
            self.ports[number] = Port(self, number, name, backend, is_console)
            backend.attach(self.ports[number])
            if self._is_driver_ready:
                self._tell(number, PORT_ADD)
            elif number == 0:
                self._open_only_port()
            return number

    def remove_port(self, number: int) -> None:
        """Pull a port out; its backend hears nothing more."""
        with self.lock:
            del self.ports[number]
            was_known = (number, PORT_ADD) not in self._owed
            for owed in [key for key in self._owed if key[0] == number]:
                if owed[1] != PORT_REMOVE:
                    del self._owed[owed]
            if self._is_driver_ready and was_known:
                self._tell(number, PORT_REMOVE)

    def resize(self, columns: int, rows: int) -> None:
        """The terminals have another size now."""
        with self.lock:
            self._columns, self._rows = columns & 0xFFFF, rows & 0xFFFF
            self.config_changed()
            for number, port in self.ports.items():
                if port.is_console and port.is_driver_ready:
                    self._tell(number, RESIZE)

    def announce_open(self, number: int) -> None:
        if self.ports[number].is_driver_ready:
            self._tell(number, PORT_OPEN, int(self.ports[number].is_host_open))

    def queues_of(self, number: int) -> tuple[Queue, Queue]:
        first = 2 * number + 2 if number else 0
        return self.queues[first], self.queues[first + 1]

    def _tell(self, number: int, event: int, value: int = 1) -> None:
        """Something happened on the host."""
        self._owed[number, event] = value
        if self.is_live:
            with self.guard():
                self._send_owed()

    def _send_owed(self) -> None:
        queue = self.queues[CONTROL_TO_GUEST]
        while self._owed:
            chain = queue.pop()
            if chain is None:
                queue.ask_for_kick()
                if not queue.pending:
                    break
                continue
            (number, event), value = next(iter(self._owed.items()))
            del self._owed[number, event]
            message = MESSAGE.pack(number, event, value) + self._payload(number, event)
            queue.push(chain, scatter(chain.writable, message))
        queue.signal()

    def _payload(self, number: int, event: int) -> bytes:
        if event == PORT_NAME:
            return self.ports[number].name.encode()
        return SIZE.pack(self._columns, self._rows) if event == RESIZE else b""

    # -- from the guest ------------------------------------------------------------------------

    def kick(self, index: int) -> None:
        if index == CONTROL_TO_GUEST:
            self._send_owed()
        elif index == CONTROL_FROM_GUEST:
            self._take_messages(self.queues[index])
        else:
            number = (index - 2) // 2 if index > CONTROL_FROM_GUEST else 0
            port = self.ports.get(number)
            if index % 2 == 0:
                if port is not None:
                    port.guest_added_buffers()
            elif port is not None:
                port.guest_wrote()
            else:
                self._discard(self.queues[index])

    def _discard(self, queue: Queue) -> None:
        """Output to a port that was removed meanwhile."""
        for chain in queue.drain():
            queue.push(chain, 0)

    def _take_messages(self, queue: Queue) -> None:
        for chain in queue.drain():
            message = gather(chain.readable, MESSAGE.size)
            queue.push(chain, 0)
            if len(message) == MESSAGE.size:
                self._obey(*MESSAGE.unpack(message))
        self._send_owed()

    def _obey(self, number: int, event: int, value: int) -> None:
        """One control message (5.3.6.2); what makes no sense is ignored."""
        if event == DEVICE_READY:
            self._is_driver_ready = bool(value)
            if value:
                self._owed.update({(known, PORT_ADD): 1 for known in self.ports})
            return
        port = self.ports.get(number)
        if port is None:
            return
        if event == PORT_READY:
            port.is_driver_ready = bool(value)
            if value:
                self._introduce(port)
        elif event == PORT_OPEN and port.is_driver_ready:
            port.guest_set_open(bool(value))

    def _introduce(self, port: Port) -> None:
        events = {
            CONSOLE_PORT: port.is_console,
            RESIZE: port.is_console and self._columns > 0,
            PORT_NAME: True,
            PORT_OPEN: port.is_host_open,
        }
        self._owed.update({(port.number, event): 1 for event, is_so in events.items() if is_so})

    def activate(self) -> None:
        self._open_only_port()

    def _open_only_port(self) -> None:
        """Without MULTIPORT a driver never says that it uses port 0."""
        if self.is_live and not self.accepted & F_MULTIPORT and 0 in self.ports:
            self.ports[0].guest_set_open(True)

    def reset(self) -> None:
        self._is_driver_ready = False
        self._owed.clear()
        for port in self.ports.values():
            port.guest_was_reset()

    # -- saving --------------------------------------------------------------------------------

    def save(self) -> dict[str, State]:
        owed = [MESSAGE.pack(*key, value) for key, value in self._owed.items()]
        return {
            "columns": self._columns,
            "rows": self._rows,
            "is_driver_ready": self._is_driver_ready,
            "owed": b"".join(owed),
            "ports": {str(number): port.save() for number, port in self.ports.items()},
        }

    def restore(self, state: dict[str, State]) -> None:
        """Every port that is plugged in now must be among those saved.

        Of a saved port that is not, the guest learns that nobody is at the host's end any more.
        """
        fields = Fields(state, "a virtio console")
        columns, rows = (fields.integer(name, 0, 0xFFFF) for name in ("columns", "rows"))
        is_driver_ready = fields.flag("is_driver_ready")
        ports = self._saved_ports(fields)
        owed = self._saved_messages(fields, ports)
        for number, port in self.ports.items():
            if number not in ports or ports[number].name != port.name:
                raise fields.error("ports", f"has no {port.name!r} as number {number}")
        for number, port in self.ports.items():
            port.restore(ports[number].save())
        for number, port in ports.items():
            if number not in self.ports:
                port.is_host_open = False
                if port.is_driver_ready:
                    owed[number, PORT_OPEN] = 0
        self.ports = {**ports, **self.ports}
        self._owed, self._is_driver_ready = owed, is_driver_ready
        self._columns, self._rows = columns, rows

    def _saved_ports(self, fields: Fields) -> dict[int, Port]:
        """The saved ports, without backends."""
        group = fields.group("ports")
        ports = {}
        for number in range(self._max_ports):
            if str(number) in group:
                state = Fields(group, "a virtio console").group(str(number))
                ports[number] = Port.left_behind(self, number, state)
        if len(ports) != len(group):
            raise fields.error("ports", "has one that cannot be")
        return ports

    def _saved_messages(
        self, fields: Fields, ports: dict[int, Port]
    ) -> dict[tuple[int, int], int]:
        data = fields.data("owed", MESSAGE.size * (PORT_NAME + 1) * self._max_ports)
        if len(data) % MESSAGE.size:
            raise fields.error("owed", "is cut off")
        owed = {(number, event): value for number, event, value in MESSAGE.iter_unpack(data)}
        for number, event in owed:
            if event > PORT_NAME or (event != PORT_REMOVE and number not in ports):
                raise fields.error("owed", "has a message about no port")
        return owed
