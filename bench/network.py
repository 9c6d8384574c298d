"""The network's path in our process: virtio-net, NAT, host sockets, with the host as the driver.

The guest is played by tests.net's: one connection, acknowledged as a kernel would, whose frames go
through the rings of a card. It runs on the network's own thread, so its time counts. The peer is
a connection of the same bytes over the host's loopback, which no emulation can equal.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.devices.driver import Driver, Pci
from tests.net.fake_guest import GUEST_MAC
from tests.net.test_throughput import BYTES, BulkGuest

from bench.ratios import Promise, Result, Sample, alternate, compare
from maquina.devices.virtio.net import F_GUEST_CSUM, F_MRG_RXBUF, F_MTU, Net
from maquina.net.addresses import LARGEST_MTU, make_lan
from maquina.net.policy import Policy
from maquina.net.user import UserNetwork

PATIENCE_S = 60.0
HEADER = bytes(10) + b"\1\0"  # no offload; one buffer
BUFFERS, BUFFER_BYTES = 128, 65536 + 32
MEGABIT = 1e6 / 8
CHUNK = 1 << 20


def measure(_: Path, pairs: int) -> list[Result]:
    results = []
    # What a guest is offered, and what one gets that does not know of the offer.
    for mtu, promise in ((LARGEST_MTU, Promise.value_above(300, "Mbit/s")), (1500, None)):
        for name, is_upload in (("to the guest", False), ("from the guest", True)):
            samples = alternate(partial(_through_card, mtu, is_upload), _over_loopback, pairs)
            title = f"network, MTU {mtu}, {name}"
            results.append(compare(title, "Mbit/s", "host's loopback", samples, promise))
    return results


class _Card:
    """Looks to a BulkGuest like the network itself; between them are a card and its driver."""

    def __init__(self, network: UserNetwork) -> None:
        self.lan, self._network = network.lan, network
        self._loop = network._loop
        self._lock = threading.RLock()  # the machine's: the first frame is sent by another thread
        device = Net(network, GUEST_MAC, network.lan.mtu, has_checksums=False)
        self._pci = Pci(device)
        features = F_MRG_RXBUF | F_MTU | F_GUEST_CSUM
        self._receiving, self._sending = Driver(self._pci).start(features)
        self._places: dict[int, int] = {}
        self._frame = self._pci.allocate(BUFFER_BYTES)
        for _ in range(BUFFERS):
            self._offer(self._pci.allocate(BUFFER_BYTES))
        self._device = device

    def attach(self, receive: Callable[[bytes], bool]) -> None:
        def deliver(frame: bytes) -> bool:
            with self._lock:
                is_taken = self._device.receive(frame)
                for head, size in self._receiving.collect():
                    place = self._places.pop(head)
                    received = self._pci.memory.read(place + len(HEADER), size - len(HEADER))
                    self._offer(place)
                    receive(received)
                return is_taken

        self._network.attach(deliver)

    def send(self, frame: bytes) -> None:
        with self._lock:
            self._pci.memory.write(self._frame, HEADER + frame)
            self._sending.add([(self._frame, len(HEADER) + len(frame), False)])
            self._sending.kick()
            self._sending.collect()

    def close(self) -> None:
        self._pci.close()

    def _offer(self, place: int) -> None:
        self._places[self._receiving.add([(place, BUFFER_BYTES, True)])] = place


def _through_card(mtu: int, is_upload: bool) -> Sample:
    network = UserNetwork(make_lan(mtu=mtu, has_checksums=False), Policy(allow_host_loopback=True))
    card: Any = _Card(network)
    with socket.create_server(("127.0.0.1", 0)) as server:
        guest = BulkGuest(card, server.getsockname()[1])
        peer, _ = server.accept()
    with peer:
        guest.is_connected.wait(PATIENCE_S)
        began = time.perf_counter()
        if is_upload:
            guest.upload()
            taken = _drain(peer)
        else:
            peer.sendall(bytes(BYTES))
            peer.shutdown(socket.SHUT_WR)
            guest.is_done.wait(PATIENCE_S)
            taken = guest.received
        seconds = time.perf_counter() - began
    network.close()
    card.close()
    if taken < BYTES - CHUNK:
        raise RuntimeError(f"{taken} of {BYTES} bytes arrived")
    return Sample(taken / MEGABIT / seconds)


def _over_loopback() -> Sample:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    with near, far:
        began = time.perf_counter()
        sender = threading.Thread(target=_send_all, args=(near,))
        sender.start()
        taken = _drain(far)
        seconds = time.perf_counter() - began
        sender.join()
    return Sample(taken / MEGABIT / seconds)


def _send_all(sock: socket.socket) -> None:
    sock.sendall(bytes(BYTES))
    sock.shutdown(socket.SHUT_WR)


def _drain(sock: socket.socket) -> int:
    taken = 0
    while data := sock.recv(CHUNK):
        taken += len(data)
    return taken
