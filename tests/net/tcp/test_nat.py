"""Flows between a guest made of test code and real sockets of the host."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable

import pytest
from tests.net.fake_guest import (
    ACK,
    FIN,
    GATEWAY,
    RST,
    SYN,
    FakeGuest,
    TcpClient,
    wait_until,
)

from maquina.net import cable
from maquina.net.policy import Policy, Refusal
from maquina.net.tcp import flow, nat, sender
from maquina.net.tcp.budget import MAX_HELD_BYTES
from maquina.net.tcp.receiver import WINDOW_BYTES, WINDOW_SCALE
from maquina.net.user import UserNetwork

Listen = Callable[[], socket.socket]
SCALED = b"\x02\x04\x05\xb4\x01\x03\x03\x00"  # MSS 1460, window scale 0


def connected(
    guest: FakeGuest, server: socket.socket, source_port: int = 40000, options: bytes = SCALED
) -> tuple[TcpClient, socket.socket]:
    """A connection of the guest and the server's end of it."""
    client = TcpClient(guest, GATEWAY, server.getsockname()[1], source_port)
    client.connect(options)
    assert client.receive().window == WINDOW_BYTES >> WINDOW_SCALE  # a SYN has no room for it
    peer, _ = server.accept()
    peer.settimeout(10)
    return client, peer


def test_segments_fit_the_guests_mss_and_window(guest: FakeGuest, listen: Listen) -> None:
    client, peer = connected(guest, listen())
    with peer:
        peer.sendall(b"x" * 100_000)
        sizes: list[int] = []
        while sum(sizes) < 64240:
            sizes.append(len(client.receive().data))
        assert set(sizes) == {1460}
        assert guest.is_silent(0.1), "more than the window of 65,535"
        client.send(ACK)
        while sum(sizes) < 100_000:
            sizes.append(len(client.receive().data))


def test_without_acknowledgement_data_is_sent_again(guest: FakeGuest, listen: Listen) -> None:
    client, peer = connected(guest, listen())
    with peer:
        peer.sendall(b"once")
        first = client.receive()
        again = client.receive()
        assert (again.seq, again.data) == (first.seq, b"once")


def test_out_of_order_data_is_put_in_order_and_reported(guest: FakeGuest, listen: Listen) -> None:
    client, peer = connected(guest, listen(), options=SCALED + b"\x04\x02\x01\x01")
    with peer:
        client.send(ACK, b"world", seq=client.seq + 6)
        duplicate = client.receive()
        assert duplicate.ack == client.seq
        edges = struct.pack(">II", client.seq + 6 & 0xFFFFFFFF, client.seq + 11 & 0xFFFFFFFF)
        assert duplicate.options == b"\x01\x01\x05\x0a" + edges
        client.send(ACK, b"hello ")
        assert peer.recv(100) == b"hello world"
        assert client.receive().ack == client.seq + 5 & 0xFFFFFFFF


def test_a_reset_of_the_guest_resets_the_host(guest: FakeGuest, listen: Listen) -> None:
    client, peer = connected(guest, listen())
    with peer:
        client.send(RST | ACK)
        with pytest.raises(ConnectionResetError):
            peer.recv(1)


def test_a_reset_of_the_host_resets_the_guest(guest: FakeGuest, listen: Listen) -> None:
    client, peer = connected(guest, listen())
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, flow.RESET_ON_CLOSE)
    peer.close()
    assert client.receive().flags & RST
    client.send(ACK, b"anyone?")
    assert client.receive().flags & RST


def test_a_host_that_does_not_read_stops_the_guest(guest: FakeGuest, listen: Listen) -> None:
    server = listen()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    client, peer = connected(guest, server)
    budget = guest.network._router.tcp.budget
    with peer:
        sent, room = 0, WINDOW_BYTES
        while room >= 1460:
            for _ in range(room // 1460):
                client.send(ACK, bytes(1460))
                sent += 1460
            guest.sync()
            client.send(ACK, seq=client.seq - 1)  # asks for the present window
            wait_until(lambda: client.receive().ack == client.seq)
            client.send(ACK, seq=client.seq - 1)
            room = client.receive().window << WINDOW_SCALE
        assert sent > WINDOW_BYTES
        assert WINDOW_BYTES - 1460 < MAX_HELD_BYTES - budget.left <= WINDOW_BYTES
        received = 0
        while received < sent:
            received += len(peer.recv(1 << 20))
        assert received == sent
        wait_until(lambda: budget.left == MAX_HELD_BYTES)
        assert client.receive().window > 0, "the guest is told that it may go on"


def test_a_guest_that_does_not_read_stops_the_host(guest: FakeGuest, listen: Listen) -> None:
    client, peer = connected(guest, listen(), options=b"\x02\x04\x05\xb4\x01\x03\x03\x0e")
    with peer:
        client.send(ACK)  # a window of a gigabyte
        peer.settimeout(0.5)
        with pytest.raises(TimeoutError):
            peer.sendall(bytes(64 << 20))
        tcp = guest.network._router.tcp
        assert 0 < MAX_HELD_BYTES - tcp.budget.left <= sender.MAX_IN_FLIGHT_BYTES
        before = time.process_time()
        time.sleep(0.3)
        assert time.process_time() - before < 0.1, "a stalled flow takes no processor time"


def test_a_guest_without_buffers_stops_the_host_too(guest: FakeGuest, listen: Listen) -> None:
    client, peer = connected(guest, listen(), options=b"\x02\x04\x05\xb4\x01\x03\x03\x0e")
    with peer:
        guest.is_full = True
        client.send(ACK)
        peer.settimeout(0.5)
        with pytest.raises(TimeoutError):
            peer.sendall(bytes(64 << 20))
        waiting = guest.network._cable._to_guest_bytes
        assert 0 < waiting <= cable.MAX_TO_GUEST_BYTES
        assert guest.network.statistics().lost_to_guest == 0
        guest.is_full = False
        guest.network.ready()
        assert client.receive().data


def test_both_directions_at_once_while_nobody_reads(guest: FakeGuest, listen: Listen) -> None:
    server = listen()
    pairs = [connected(guest, server, 40000 + number) for number in range(20)]
    for client, peer in pairs:
        peer.setblocking(False)
        client.window = 65535
        for _ in range(30):
            client.send(ACK, b"z" * 1460)
        try:
            while True:
                peer.send(bytes(65536))
        except BlockingIOError:
            pass
    guest.sync()
    for client, peer in pairs:
        client.send(RST | ACK)
        peer.close()
    tcp = guest.network._router.tcp
    wait_until(lambda: len(tcp) == 0)
    assert tcp.budget.left == MAX_HELD_BYTES


def test_the_host_closes_and_the_guest_goes_on_sending(guest: FakeGuest, listen: Listen) -> None:
    client, peer = connected(guest, listen())
    with peer:
        peer.sendall(b"bye")
        peer.shutdown(socket.SHUT_WR)
        assert client.read(3) == b"bye"
        assert client.receive().flags & FIN
        client.send(ACK)
        client.send(ACK, b"one more thing")
        assert peer.recv(100) == b"one more thing"
        client.send(FIN | ACK)
        assert peer.recv(100) == b""
    tcp = guest.network._router.tcp
    wait_until(lambda: len(tcp) == 0)


def test_bytes_for_a_slow_host_outlive_the_guests_connection(
    guest: FakeGuest, listen: Listen
) -> None:
    server = listen()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client, peer = connected(guest, server)
    with peer:
        peer.shutdown(socket.SHUT_WR)
        assert client.receive().flags & FIN
        client.send(ACK)
        sent = 0
        for _ in range(WINDOW_BYTES // 1460 - 1):
            client.send(ACK, b"w" * 1460)
            sent += 1460
        client.send(FIN | ACK)
        wait_until(lambda: client.receive().ack == client.seq)
        received = 0
        while data := peer.recv(1 << 16):
            received += len(data)
        assert received == sent


def test_segments_without_a_flow_are_reset(guest: FakeGuest) -> None:
    client = TcpClient(guest, GATEWAY, 81)
    client.ack = 77
    client.send(ACK, b"data")
    answer = client.receive()
    assert (answer.flags, answer.seq) == (RST, 77)
    client.send(FIN, b"abc")
    answer = client.receive()
    assert (answer.flags, answer.ack) == (RST | ACK, client.seq)
    client.send(RST)
    guest.sync()
    assert guest.frames.empty()


def test_flows_are_bounded_and_finished_ones_give_way(
    monkeypatch: pytest.MonkeyPatch, guest: FakeGuest, listen: Listen
) -> None:
    monkeypatch.setattr(nat, "MAX_FLOWS", 3)
    server = listen()
    pairs = [connected(guest, server, 40000 + number) for number in range(3)]
    late = TcpClient(guest, GATEWAY, server.getsockname()[1], 41000)
    late.send(SYN)
    assert late.receive().flags == RST | ACK
    assert guest.network.policy.refusals == {Refusal.TOO_MANY: 1}
    client, peer = pairs[0]
    peer.close()
    assert client.receive().flags & FIN
    client.send(FIN | ACK)  # the flow is in TIME_WAIT now
    client.receive()
    other, accepted = connected(guest, server, 41001)
    other.send(RST | ACK)
    accepted.close()
    for client, peer in pairs[1:]:
        client.send(RST | ACK)
        peer.close()


def test_a_new_connection_may_reuse_numbers_in_time_wait(guest: FakeGuest, listen: Listen) -> None:
    server = listen()
    for _ in range(3):
        client, peer = connected(guest, server, 40000)
        peer.close()
        assert client.receive().flags & FIN
        client.send(FIN | ACK)
        client.receive()


def test_a_published_port_without_listener_in_the_guest_is_reset(guest: FakeGuest) -> None:
    port = guest.network.publish("127.0.0.1", 0, 80).host_port
    with socket.create_connection(("127.0.0.1", port), timeout=10) as outside:
        syn = guest.packet().tcp
        server = TcpClient(guest, GATEWAY, syn.source_port, 80)
        server.ack = syn.seq + 1
        server.send(RST | ACK)
        with pytest.raises(ConnectionResetError):
            outside.recv(1)


def test_an_idle_network_takes_no_cpu(guest: FakeGuest, listen: Listen) -> None:
    server = listen()
    pairs = [connected(guest, server, 40000 + number) for number in range(10)]
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.02
    for _, peer in pairs:
        peer.close()


def test_closing_resets_what_is_open(listen: Listen) -> None:
    network = UserNetwork(policy=Policy(allow_host_loopback=True))
    guest = FakeGuest(network)
    guest.announce()
    client, peer = connected(guest, listen())
    waiting = network.publish("127.0.0.1", 0, 80)
    network.close()
    assert client.receive().flags & RST
    with peer, pytest.raises(ConnectionResetError):
        peer.recv(1)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", waiting.host_port))
