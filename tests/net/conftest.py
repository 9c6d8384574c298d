"""A network with a guest at its cable, closed after the test; and servers for it on loopback."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.net.fake_guest import FakeGuest

from maquina.net.policy import Policy
from maquina.net.user import UserNetwork

FILES = Path("/proc/self/fd")


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """Every test gives back the files it opened.

    There may be fewer than before: what earlier tests left may be collected meanwhile.
    """
    before = len(list(FILES.iterdir()))
    yield
    assert len(list(FILES.iterdir())) <= before


@pytest.fixture
def guest() -> Iterator[FakeGuest]:
    """A guest that may reach the host's loopback through the gateway."""
    network = UserNetwork(policy=Policy(allow_host_loopback=True))
    guest = FakeGuest(network)
    guest.announce()
    yield guest
    network.close()


@pytest.fixture
def strict_guest() -> Iterator[FakeGuest]:
    """A guest with the default policy."""
    network = UserNetwork()
    guest = FakeGuest(network)
    guest.announce()
    yield guest
    network.close()


@pytest.fixture
def listen() -> Iterator[Callable[[], socket.socket]]:
    """Makes listening TCP sockets on loopback."""
    with ExitStack() as stack:

        def make() -> socket.socket:
            server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            server.settimeout(10)
            return server

        yield make


@pytest.fixture
def udp_server() -> Iterator[socket.socket]:
    """A UDP socket on loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        yield server
