"""A network without privileges: the guest's packets become ordinary sockets of this process.

`UserNetwork` is the face of it: a backend for a network device, published ports, figures. All work
happens on one thread (`loop`); this file is where other threads meet it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from maquina.errors import UsageError
from maquina.net.addresses import Lan, make_lan
from maquina.net.cable import Cable
from maquina.net.destinations import Destinations
from maquina.net.fabric import Fabric
from maquina.net.loop import Loop
from maquina.net.policy import Policy, Refusal
from maquina.net.publish import Publication, listen
from maquina.net.resolvers import Resolvers
from maquina.net.router import Router
from maquina.net.tcp.listener import Listener
from maquina.net.udp_publish import UdpPublisher
from maquina.net.wire import Wire

FRAMES_PER_STEP = 64


class Published(Protocol):
    """A published port at work."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a network has done. `lost` frames found a queue full, `ignored` ones made no sense."""

    frames_to_guest: int
    frames_from_guest: int
    lost_to_guest: int
    lost_from_guest: int
    tcp_flows: int
    ignored: dict[str, int]
    refused: dict[Refusal, int]


class UserNetwork:
    """A NAT in this process. Nothing survives `close`, so there is nothing to save: a restored
    guest finds its name server and router where they were, and its connections reset.

    Deliveries to the guest come from the network's thread, which may wait for the machine's lock
    there; so whoever holds that lock must call neither `unpublish` nor `close`.
    """

    def __init__(
        self,
        lan: Lan | None = None,
        policy: Policy | None = None,
        resolvers: Resolvers | None = None,
    ) -> None:
        self.lan = lan or make_lan()
        self.policy = policy or Policy()
        resolvers = resolvers or Resolvers()
        self._cable = Cable()
        self._loop = Loop()
        self._fabric = Fabric(
            self.lan,
            self._loop,
            Wire(self.lan, self._cable.deliver),
            self.policy,
            resolvers,
            Destinations(self.lan, self.policy, resolvers),
        )
        self._router = Router(self._fabric)
        self._published: dict[Publication, Published] = {}
        self._is_ready = False
        self._is_closed = False
        self._loop.start(self, "user network")

    # What a network device uses

    def attach(self, receive: Callable[[bytes], bool]) -> None:
        """Deliver frames for the guest to `receive`; it answers False when it has no buffer."""
        self._cable.attach(receive)
        self.ready()

    def send(self, frame: bytes) -> None:
        """A frame from the guest. Never blocks; by one thread at a time."""
        self._cable.put(frame)
        self._loop.wake()

    def ready(self) -> None:
        """The guest has made buffers available after `receive` refused a frame."""
        self._is_ready = True
        self._loop.wake()

    def close(self) -> None:
        """End the thread, all flows and published ports."""
        if self._is_closed:
            return
        self._is_closed = True
        self._loop.call(self._router.close)
        for published in list(self._published.values()):
            self._loop.call(published.close)
        self._published.clear()
        self._loop.close()

    # What people use

    def publish(
        self, address: str, host_port: int, guest_port: int, transport: str = "tcp"
    ) -> Publication:
        """Lead a port of the host to one of the guest. A host port of 0 is chosen by the host.

        HostError if the port is taken or not allowed. The answer names what was published.
        """
        if self._is_closed:
            raise UsageError("the network is closed", "publish before closing it")
        wanted = Publication(address, host_port, guest_port, transport)  # type: ignore[arg-type]
        sock = listen(wanted)
        publication = wanted._replace(host_port=sock.getsockname()[1])

        def begin() -> None:
            if wanted.transport == "tcp":
                self._published[publication] = Listener(
                    self._loop, self._router.tcp, publication, sock
                )
            else:
                self._published[publication] = UdpPublisher(
                    self._fabric, self._router.udp.clients, publication, sock
                )

        self._loop.submit(begin)
        return publication

    def unpublish(self, publication: Publication) -> None:
        """Take a published port back. Connections made through it go on."""
        missing = False

        def end() -> None:
            nonlocal missing
            published = self._published.pop(publication, None)
            missing = published is None
            if published is not None:
                published.close()

        self._loop.call(end)
        if missing:
            raise UsageError(f"{publication} is not published", "name one that is")

    @property
    def published(self) -> list[Publication]:
        """The published ports."""
        return list(self._published)

    def statistics(self) -> Statistics:
        """Figures; they may be a moment old."""
        return Statistics(
            self._cable.frames_to_guest,
            self._cable.frames_from_guest,
            self._cable.lost_to_guest,
            self._cable.lost_from_guest,
            len(self._router.tcp),
            dict(self._fabric.ignored),
            dict(self.policy.refusals),
        )

    # What the loop asks for (loop.Work)

    def step(self) -> bool:
        """Take a batch of the guest's frames."""
        # Not only when told that there is room: a guest that was reset forgets to say so, but
        # sends frames.
        self._is_ready = False
        self._cable.drain()
        for _ in range(FRAMES_PER_STEP):
            frame = self._cable.take()
            if frame is None:
                break
            self._router.receive(frame)
        self._router.settle()
        return self._cable.has_frames

    @property
    def has_work(self) -> bool:
        return self._is_ready or self._cable.has_frames

    @property
    def is_blocked(self) -> bool:
        return self._cable.is_blocked
