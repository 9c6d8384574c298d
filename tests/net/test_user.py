from __future__ import annotations

import queue
import socket
import struct
import threading
from collections.abc import Callable

import pytest
from tests.net.fake_guest import (
    ACK,
    FIN,
    GATEWAY,
    GUEST,
    GUEST_MAC,
    RESOLVER,
    RST,
    SYN,
    FakeGuest,
    TcpClient,
    ethernet,
    internet_checksum,
    ipv4,
    udp_payload,
    wait_until,
)

from maquina.errors import HostError, UsageError
from maquina.machine.backends import NetBackend
from maquina.net import dns
from maquina.net.none import NoNetwork
from maquina.net.policy import Refusal
from maquina.net.resolvers import Resolvers
from maquina.net.user import UserNetwork

Listen = Callable[[], socket.socket]


def ping(destination: bytes, **more: int) -> bytes:
    body = b"\x08\0\0\0\x12\x34\0\x01payload"
    check = internet_checksum(body).to_bytes(2, "big")
    return ipv4(1, destination, body[:2] + check + body[4:], **more)  # type: ignore[arg-type]


def test_backends_satisfy_the_protocol_of_the_machine() -> None:
    backends: list[NetBackend] = [UserNetwork(), NoNetwork()]
    for backend in backends:
        backend.attach(lambda frame: True)
        backend.send(b"")
        backend.ready()
        backend.close()
        backend.close()


def test_arp_answers_for_gateway_and_resolver_only(guest: FakeGuest) -> None:
    for target in (GATEWAY, RESOLVER, bytes([10, 0, 2, 99])):
        body = struct.pack(">HHBBH6s4s6s4s", 1, 0x800, 6, 4, 1, GUEST_MAC, GUEST, bytes(6), target)
        guest.network.send(ethernet(0x0806, body))
    for target in (GATEWAY, RESOLVER):
        frame = guest.frame()
        assert frame[:6] == GUEST_MAC
        assert frame[20:22] == b"\0\2"
        assert frame[28:32] == target
    assert guest.is_silent()


def test_the_gateway_answers_echo(guest: FakeGuest) -> None:
    guest.network.send(ping(GATEWAY))
    reply = guest.packet()
    assert reply.source == GATEWAY
    assert reply.payload[0] == 0
    assert reply.payload[4:] == b"\x12\x34\0\x01payload"
    assert internet_checksum(reply.payload) == 0


def test_a_packet_whose_time_is_up_is_reported(guest: FakeGuest) -> None:
    guest.network.send(ping(bytes([192, 0, 2, 200]), ttl=1))
    reply = guest.packet()
    assert (reply.protocol, reply.payload[:2]) == (1, b"\x0b\0")
    assert reply.payload[8 + 16 : 8 + 20] == bytes([192, 0, 2, 200])


def test_udp_goes_both_ways(guest: FakeGuest, udp_server: socket.socket) -> None:
    port = udp_server.getsockname()[1]
    guest.send_udp(5000, GATEWAY, port, b"question")
    data, client = udp_server.recvfrom(100)
    assert data == b"question"
    udp_server.sendto(b"x" * 3001, client)
    answer = guest.packet()
    assert (answer.source, answer.udp) == (GATEWAY, (port, 5000, b"x" * 3001))


def test_udp_without_listener_is_unreachable(guest: FakeGuest, udp_server: socket.socket) -> None:
    port = udp_server.getsockname()[1]
    udp_server.close()
    guest.send_udp(5000, GATEWAY, port, b"anyone?")
    answer = guest.packet()
    assert (answer.protocol, answer.payload[:2]) == (1, b"\x03\x03")
    assert answer.payload[8 + 20 : 8 + 24] == struct.pack(">HH", 5000, port)


def test_fragmented_udp_is_put_together(guest: FakeGuest, udp_server: socket.socket) -> None:
    port = udp_server.getsockname()[1]
    whole = udp_payload(5000, GATEWAY, port, bytes(range(256)) * 10)
    pieces = [(0, whole[:1000]), (1000, whole[1000:2000]), (2000, whole[2000:])]
    for at, piece in reversed(pieces):
        more = 0x2000 if at + len(piece) < len(whole) else 0
        guest.network.send(ipv4(17, GATEWAY, piece, fragment=more | at // 8, ident=7))
    assert udp_server.recv(4000) == bytes(range(256)) * 10


def test_a_tcp_conversation_from_handshake_to_time_wait(guest: FakeGuest, listen: Listen) -> None:
    server = listen()
    client = TcpClient(guest, GATEWAY, server.getsockname()[1])
    client.connect()
    peer, _ = server.accept()
    with peer:
        client.send(ACK, b"hello " * 100)
        assert client.receive().ack == client.seq
        assert peer.recv(1000) == b"hello " * 100
        peer.sendall(b"good day")
        assert client.read(8) == b"good day"
        client.send(FIN | ACK)
        assert peer.recv(10) == b""
        assert client.receive().ack == client.seq
        peer.sendall(b"after half-close")
        assert client.read(16) == b"after half-close"
    closing = client.receive()
    assert closing.flags & FIN
    client.send(ACK)
    wait_until(lambda: guest.network.statistics().tcp_flows == 0)


def test_a_refused_connection_is_reset(guest: FakeGuest, listen: Listen) -> None:
    server = listen()
    port = server.getsockname()[1]
    server.close()
    client = TcpClient(guest, GATEWAY, port)
    client.send(SYN)
    answer = client.receive()
    assert answer.flags == RST | ACK
    assert answer.ack == client.seq


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "169.254.169.254", "10.0.2.2"])
def test_the_host_is_refused_by_default(
    strict_guest: FakeGuest, listen: Listen, address: str
) -> None:
    port = listen().getsockname()[1]
    client = TcpClient(strict_guest, socket.inet_aton(address), port)
    client.send(SYN)
    assert client.receive().flags == RST | ACK
    strict_guest.send_udp(5000, socket.inet_aton(address), port, b"x")
    assert strict_guest.packet().payload[:2] == b"\x03\x0d"
    assert sum(strict_guest.network.policy.refusals.values()) == 2
    assert strict_guest.network.policy.latest[0].address == address


def test_an_address_of_nobody_is_unreachable(strict_guest: FakeGuest) -> None:
    strict_guest.send_udp(5000, bytes([10, 0, 2, 77]), 9, b"x")
    assert strict_guest.packet().payload[:2] == b"\x03\x01"
    assert strict_guest.network.policy.refusals == {Refusal.NO_SUCH_HOST: 1}


def test_published_tcp_reaches_the_guest(guest: FakeGuest) -> None:
    publication = guest.network.publish("127.0.0.1", 0, 80)
    with socket.create_connection(("127.0.0.1", publication.host_port), timeout=10) as outside:
        syn = guest.packet()
        assert (syn.source, syn.tcp.port, syn.tcp.flags) == (GATEWAY, 80, SYN)
        server = TcpClient(guest, GATEWAY, syn.tcp.source_port, 80)
        server.ack = syn.tcp.seq + 1 & 0xFFFFFFFF
        server.send(SYN | ACK)
        assert server.receive().flags == ACK
        outside.sendall(b"GET /")
        assert server.read(5) == b"GET /"
        server.send(ACK, b"200")
        assert outside.recv(10) == b"200"
        guest.network.unpublish(publication)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", publication.host_port))
        server.send(RST | ACK)
        with pytest.raises(ConnectionResetError):
            outside.recv(10)
    with pytest.raises(UsageError, match="not published"):
        guest.network.unpublish(publication)


def test_a_published_port_waits_for_a_guest_that_has_no_address_yet() -> None:
    network = UserNetwork()
    guest = FakeGuest(network)
    port = network.publish("127.0.0.1", 0, 22).host_port
    with socket.create_connection(("127.0.0.1", port), timeout=10):
        question = guest.frame()
        assert question[12:14] == b"\x08\x06"
        assert question[38:42] == GUEST
        body = struct.pack(
            ">HHBBH6s4s6s4s", 1, 0x800, 6, 4, 2, GUEST_MAC, GUEST, question[22:28], GATEWAY
        )
        network.send(ethernet(0x0806, body))
        assert guest.packet().tcp.flags == SYN
    network.close()


def test_published_udp_tells_clients_apart(guest: FakeGuest) -> None:
    port = guest.network.publish("127.0.0.1", 0, 53, "udp").host_port
    clients = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
    for number, client in enumerate(clients):
        client.settimeout(10)
        client.sendto(b"query %d" % number, ("127.0.0.1", port))
    for _ in clients:
        query = guest.packet()
        source, target, data = query.udp
        assert (query.source, target) == (GATEWAY, 53)
        reply = udp_payload(53, GATEWAY, source, data.replace(b"query", b"answer"))
        guest.network.send(ipv4(17, GATEWAY, reply))
    for number, client in enumerate(clients):
        assert client.recv(100) == b"answer %d" % number
        client.close()


def test_a_taken_port_is_a_host_error_with_a_remedy(listen: Listen) -> None:
    network = UserNetwork()
    port = listen().getsockname()[1]
    for _ in range(2):
        with pytest.raises(HostError, match="is taken; choose another"):
            network.publish("127.0.0.1", port, 80)
    with pytest.raises(HostError, match=r"no address 192\.0\.2\.99"):
        network.publish("192.0.2.99", 8080, 80)
    network.close()


def dns_server(server: socket.socket, answers: int) -> threading.Thread:
    """Answers DNS queries by turning them round with a mark."""

    def serve() -> None:
        for _ in range(answers):
            query, client = server.recvfrom(1000)
            server.sendto(query[:2] + b"\x81\x80" + query[4:] + b"answer", client)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def test_dns_goes_to_the_resolver_that_answers(udp_server: socket.socket, listen: Listen) -> None:
    dead = listen()
    dead_port = dead.getsockname()[1]
    dead.close()
    servers = [("127.0.0.1", dead_port), ("127.0.0.1", udp_server.getsockname()[1])]
    network = UserNetwork(resolvers=Resolvers(servers))
    guest = FakeGuest(network)
    guest.announce()
    thread = dns_server(udp_server, 3)
    for number in range(3):
        query = struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0) + b"\x04test\0\0\1\0\1"
        guest.send_udp(6000 + number, RESOLVER, 53, query)
        answer = guest.packet()
        assert answer.source == RESOLVER
        assert answer.udp[:2] == (53, 6000 + number)
        assert answer.udp[2] == query[:2] + b"\x81\x80" + query[4:] + b"answer"
    thread.join()
    assert guest.is_silent(0.1)
    network.close()


def test_a_silent_resolver_is_followed_by_the_next(
    monkeypatch: pytest.MonkeyPatch, udp_server: socket.socket
) -> None:
    monkeypatch.setattr(dns, "SERVER_PATIENCE_S", 0.05)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        network = UserNetwork(
            resolvers=Resolvers([silent.getsockname(), udp_server.getsockname()])
        )
        guest = FakeGuest(network)
        guest.announce()
        thread = dns_server(udp_server, 1)
        guest.send_udp(6000, RESOLVER, 53, b"id" + bytes(10))
        assert guest.packet().udp == (53, 6000, b"id\x81\x80" + bytes(8) + b"answer")
        assert silent.recv(100) == b"id" + bytes(10)
        thread.join()
        network.close()


def test_an_error_about_a_fragmented_packet_quotes_its_beginning(guest: FakeGuest) -> None:
    nobody = bytes([10, 0, 2, 99])
    whole = udp_payload(5000, nobody, 9, bytes(2000))
    guest.network.send(ipv4(17, nobody, whole[:1600], fragment=0x2000, ident=3))
    guest.network.send(ipv4(17, nobody, whole[1600:], fragment=200, ident=3))
    error = guest.packet()
    assert error.payload[:2] == b"\x03\x01"
    assert error.payload[8 + 20 :] == whole[:8]
    assert internet_checksum(error.payload) == 0


def test_a_guest_that_was_reset_gets_its_frames_again(guest: FakeGuest) -> None:
    guest.is_full = True
    guest.network.send(ping(GATEWAY))
    wait_until(lambda: guest.network._cable.is_blocked)
    guest.is_full = False  # and nobody calls ready
    guest.network.send(ping(GATEWAY))
    assert [guest.packet().payload[0] for _ in range(2)] == [0, 0]


def test_frames_wait_for_buffers_and_the_host_waits_for_the_guest(
    guest: FakeGuest, udp_server: socket.socket
) -> None:
    port = udp_server.getsockname()[1]
    guest.send_udp(5000, GATEWAY, port, b"hello")
    _, client = udp_server.recvfrom(100)
    guest.is_full = True
    for number in range(20):
        udp_server.sendto(b"%d" % number, client)
    assert guest.is_silent()
    guest.is_full = False
    guest.network.ready()
    assert [guest.packet().udp[2] for _ in range(20)] == [b"%d" % n for n in range(20)]


def test_sending_after_close_is_harmless() -> None:
    network = UserNetwork()
    guest = FakeGuest(network)
    network.close()
    network.send(ping(GATEWAY))
    network.ready()
    with pytest.raises(queue.Empty):
        guest.frame(0.1)
