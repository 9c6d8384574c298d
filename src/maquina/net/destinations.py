"""Where a guest's flow goes on the host: the one place that turns guest addresses into sockets."""

from __future__ import annotations

import socket
from typing import NamedTuple

from maquina.net.addresses import Lan, text
from maquina.net.policy import Policy, Refusal
from maquina.net.resolvers import DNS_PORT, HostAddress, Resolvers, socket_address


class Target(NamedTuple):
    """What to connect to."""

    family: int
    address: HostAddress


class Destinations:
    """The gateway is the host's loopback, the name server is the host's; others are themselves."""

    def __init__(self, lan: Lan, policy: Policy, resolvers: Resolvers) -> None:
        self._lan = lan
        self._policy = policy
        self._resolvers = resolvers

    def find(self, protocol: str, address: bytes, port: int) -> Target | Refusal:
        """The host's side of a flow to `address`, or why there is none (taken note of)."""
        found = self._find(address, port)
        if isinstance(found, Refusal):
            self._policy.refuse(protocol, address, port, found)
        return found

    def _find(self, address: bytes, port: int) -> Target | Refusal:
        if address == self._lan.gateway:
            if not self._policy.allow_host_loopback:
                return Refusal.HOST_LOOPBACK
            return Target(socket.AF_INET, ("127.0.0.1", port))
        if address == self._lan.resolver and port == DNS_PORT:
            return Target(*socket_address(self._resolvers.servers()[0]))
        if address in self._lan:
            return Refusal.NO_SUCH_HOST
        refusal = self._policy.check(address)
        return refusal or Target(socket.AF_INET, (text(address), port))
