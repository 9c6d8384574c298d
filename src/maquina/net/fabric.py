"""What the protocols of one network share, and the table that bounds their idle flows."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from maquina.net.addresses import Lan
from maquina.net.destinations import Destinations
from maquina.net.loop import Loop, Timer
from maquina.net.policy import Policy
from maquina.net.resolvers import Resolvers
from maquina.net.wire import Wire


@dataclass(frozen=True, slots=True)
class Fabric:
    """The parts every protocol needs. `ignored` counts what was dropped, by reason."""

    lan: Lan
    loop: Loop
    wire: Wire
    policy: Policy
    resolvers: Resolvers
    destinations: Destinations
    ignored: Counter[str] = field(default_factory=Counter)


class Flow(Protocol):
    """Something that holds a socket until nobody has used it for a while."""

    last_used: float

    def close(self) -> None: ...


K = TypeVar("K")
F = TypeVar("F", bound=Flow)


class IdleTable(Generic[K, F]):
    """At most `capacity` flows, least recently used first; idle ones end after `idle_s`.

    A full table gives up its least recently used flow: a guest that floods loses its own flows,
    and the host never more sockets than `capacity`.
    """

    def __init__(self, loop: Loop, capacity: int, idle_s: float) -> None:
        self._loop = loop
        self._capacity = capacity
        self._idle_s = idle_s
        self._flows: OrderedDict[K, F] = OrderedDict()
        self._timer = Timer(self._expire)

    def __len__(self) -> int:
        return len(self._flows)

    def use(self, key: K) -> F | None:
        """The flow of `key`, which is now the most recently used."""
        flow = self._flows.get(key)
        if flow is not None:
            flow.last_used = self._loop.now
            self._flows.move_to_end(key)
        return flow

    def open(self, key: K, make: Callable[[], F | None]) -> F | None:
        """Add the flow that `make` makes, if it can."""
        flow = make()
        if flow is not None:
            while len(self._flows) >= self._capacity:
                self.remove(next(iter(self._flows)))
            flow.last_used = self._loop.now
            self._flows[key] = flow
            if self._timer.deadline is None:
                self._loop.arm(self._timer, self._loop.now + self._idle_s)
        return flow

    def remove(self, key: K) -> None:
        """End a flow, if it is there."""
        flow = self._flows.pop(key, None)
        if flow is not None:
            flow.close()

    def close(self) -> None:
        """End all flows."""
        for key in list(self._flows):
            self.remove(key)

    def _expire(self) -> None:
        for key, flow in list(self._flows.items()):
            if flow.last_used + self._idle_s > self._loop.now:
                self._loop.arm(self._timer, flow.last_used + self._idle_s)
                return
            self.remove(key)
