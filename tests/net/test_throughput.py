"""How fast the network is, in bits per second of processor time of its own thread.

Wall time would measure the host's other work. The guest is played on the network's thread, so what
it costs counts too. As on a board, the cable has no checksums.
"""

from __future__ import annotations

import socket
import struct
import threading
import time

import pytest
from tests.net.fake_guest import ACK, FIN, GATEWAY, GUEST, GUEST_MAC, PATIENCE_S, PSH, SYN

from maquina.net import ipv4
from maquina.net.addresses import make_lan
from maquina.net.policy import Policy
from maquina.net.user import UserNetwork

BYTES = 32 << 20
HEADER = struct.Struct(">HHIIBBHHH")


class BulkGuest:
    """One connection that acknowledges every second segment, and sends as the window allows."""

    def __init__(self, network: UserNetwork, port: int) -> None:
        self.received = 0
        self.is_connected, self.is_done = threading.Event(), threading.Event()
        self._network, self._port = network, port
        self._seq, self._ack = 1000, 0
        self._edge = 0
        self._unacknowledged = 0
        self._outgoing = b""
        network.attach(self._receive)
        mss = (network.lan.mtu - 40).to_bytes(2, "big")
        self._send(SYN, b"", b"\x02\x04" + mss + b"\x03\x03\x05\x00")
        self._seq += 1

    def upload(self) -> None:
        """Send BYTES in full segments."""
        self._outgoing = bytes(self._network.lan.mtu - 40)
        self._network._loop.call(self._fill_window)

    def _send(self, flags: int, data: bytes = b"", options: bytes = b"") -> None:
        offset = (20 + len(options)) << 2
        head = HEADER.pack(40000, self._port, self._seq, self._ack, offset, flags, 65535, 0, 0)
        size = len(head) + len(options) + len(data)
        packet = ipv4.header(6, GUEST, GATEWAY, size) + head + options + data
        self._network.send(self._network.lan.gateway_mac + GUEST_MAC + b"\x08\0" + packet)

    def _fill_window(self) -> None:
        while self._outgoing and self._seq + len(self._outgoing) <= self._edge:
            if self._seq > BYTES:
                self._outgoing = b""
                self._send(FIN | ACK)
                break
            self._send(ACK | PSH, self._outgoing)
            self._seq += len(self._outgoing)

    def _receive(self, frame: bytes) -> bool:
        if frame[12:14] != b"\x08\0":
            return True
        _, _, seq, ack, offset, flags, window = struct.unpack_from(">HHIIBBH", frame, 34)
        size = len(frame) - 34 - (offset >> 4) * 4
        self._edge = ack + (window << 4)
        if flags & SYN:
            self._ack = seq + 1 & 0xFFFFFFFF
            self._send(ACK)
            self.is_connected.set()
        elif size or flags & FIN:
            self.received += size
            self._ack = seq + size + (flags & FIN) & 0xFFFFFFFF
            self._unacknowledged += 1
            if flags & (PSH | FIN) or self._unacknowledged % 2 == 0:
                self._send(ACK)
        if flags & FIN:
            self.is_done.set()
        self._fill_window()
        return True


def processor_time(network: UserNetwork) -> float:
    """Seconds that the network's thread has run."""
    times: list[float] = []
    network._loop.call(lambda: times.append(time.thread_time()))
    return times[0]


@pytest.mark.parametrize(("mtu", "promised_mbit"), [(65520, 1000), (1500, 300)])
def test_a_connection_is_as_fast_as_promised(mtu: int, promised_mbit: int) -> None:
    network = UserNetwork(make_lan(mtu=mtu, has_checksums=False), Policy(allow_host_loopback=True))
    with socket.create_server(("127.0.0.1", 0)) as server:
        guest = BulkGuest(network, server.getsockname()[1])
        peer, _ = server.accept()
    with peer:
        assert guest.is_connected.wait(PATIENCE_S)
        begin = processor_time(network)
        peer.sendall(bytes(BYTES))
        peer.shutdown(socket.SHUT_WR)
        assert guest.is_done.wait(4 * PATIENCE_S)
        down = BYTES * 8e-6 / (processor_time(network) - begin)
        assert guest.received == BYTES
        begin = processor_time(network)
        guest.upload()
        taken = 0
        while data := peer.recv(1 << 20):
            taken += len(data)
        up = taken * 8e-6 / (processor_time(network) - begin)
    network.close()
    print(f"MTU {mtu}: {down:.0f} Mbit/s down, {up:.0f} up per processor")
    assert taken >= BYTES - 65536
    assert min(down, up) >= promised_mbit
