"""Frames that no guest should send."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time

import pytest
from tests.net.fake_guest import (
    GATEWAY,
    GUEST,
    GUEST_MAC,
    RESOLVER,
    SYN,
    FakeGuest,
    TcpClient,
    ethernet,
    internet_checksum,
    ipv4,
    udp_payload,
    wait_until,
)

from maquina.net import cable, dns, icmp, udp
from maquina.net.addresses import make_lan
from maquina.net.policy import Policy
from maquina.net.resolvers import Resolvers
from maquina.net.udp_publish import MAX_CLIENTS
from maquina.net.user import UserNetwork


def sound_frames() -> list[bytes]:
    """One of each kind that the router looks into."""
    arp = struct.pack(">HHBBH6s4s6s4s", 1, 0x800, 6, 4, 1, GUEST_MAC, GUEST, bytes(6), GATEWAY)
    dhcp = struct.pack(">BBBBIHH16x16s192x", 1, 1, 6, 0, 9, 0, 0, GUEST_MAC)
    dhcp += b"\x63\x82\x53\x63\x35\x01\x01\x37\x03\x01\x03\x06\xff"
    query = struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + b"\x01x\0\0\1\0\1"
    tcp = struct.pack(">HHIIBBHHH", 40000, 9, 1000, 0, 0xA0, SYN, 65535, 0, 0)
    tcp += b"\x02\x04\x05\xb4\x04\x02\x08\x0a\0\0\0\0\0\0\0\0\x01\x03\x03\x07"
    return [
        ethernet(0x0806, arp),
        ipv4(17, b"\xff" * 4, udp_payload(68, b"\xff" * 4, 67, dhcp, bytes(4)), source=bytes(4)),
        ipv4(17, RESOLVER, udp_payload(5000, RESOLVER, 53, query)),
        ipv4(17, GATEWAY, udp_payload(5000, GATEWAY, 9, b"data")),
        ipv4(17, GATEWAY, udp_payload(5000, GATEWAY, 9, bytes(64))[:40], fragment=0x2000),
        ipv4(1, GATEWAY, b"\x08\0\xf7\xff\0\0\0\0"),
        ipv4(6, GATEWAY, tcp),
        ipv4(6, GATEWAY, struct.pack(">HHIIBBHHH", 40000, 9, 1001, 5, 0x50, 24, 10, 0, 0) + b"x"),
    ]


def spoil(frame: bytes, source: random.Random) -> bytes:
    """Change bytes, cut off or append, mostly behind the Ethernet header."""
    data = bytearray(frame)
    for _ in range(source.choice((0, 1, 1, 2, 5))):
        data[source.randrange(source.choice((0, 12)), len(data))] = source.randrange(256)
    match source.randrange(6):
        case 0:
            del data[source.randrange(len(data)) :]
        case 1:
            data += source.randbytes(source.randrange(64))
    return bytes(data)


@pytest.mark.parametrize("has_checksums", [True, False])
def test_no_frame_stops_the_network(has_checksums: bool) -> None:
    """Whatever frames a guest sends, the network's thread lives and goes on answering."""
    refused = Resolvers([("127.0.0.1", 9)])
    lan = make_lan(has_checksums=has_checksums)
    network = UserNetwork(lan, Policy(), refused)
    guest = FakeGuest(network)
    source = random.Random(20)
    frames = sound_frames()
    for round_ in range(40):
        for _ in range(200):
            frame = source.choice(frames)
            frame = frame if source.random() < 0.1 else fix(spoil(frame, source), source)
            network.send(frame)
        wait_until(lambda: not network._cable.has_frames)
        assert network._loop._thread is not None
        assert network._loop._thread.is_alive(), f"died in round {round_} of seed 20"
        drain(guest)
    guest.announce()
    guest.sync()
    network.close()


def fix(frame: bytes, source: random.Random) -> bytes:
    """Make the IPv4 checksum right again, so that most frames come past it; the addresses stay
    those of tests, so that nothing is sent to strangers."""
    if len(frame) < 34 or frame[12:14] != b"\x08\x00" or source.random() < 0.1:
        return frame
    head = bytearray(frame[14:34])
    head[10:12] = bytes(2)
    head[12:16] = source.choice((GUEST, GUEST, GUEST, bytes(4)))
    head[16:20] = source.choice((GATEWAY, RESOLVER, bytes([10, 0, 2, 99]), b"\xff" * 4))
    if head[0] == 0x45:
        head[10:12] = internet_checksum(bytes(head)).to_bytes(2, "big")
    return frame[:14] + bytes(head) + frame[34:]


def drain(guest: FakeGuest) -> None:
    while not guest.frames.empty():
        guest.frames.get()


def test_a_frame_flood_is_bounded_and_sending_never_blocks() -> None:
    network = UserNetwork()
    entered, leave = threading.Event(), threading.Event()

    def stuck(frame: bytes) -> bool:
        entered.set()
        leave.wait(20)
        return True

    network.attach(stuck)
    arp = struct.pack(">HHBBH6s4s6s4s", 1, 0x800, 6, 4, 1, GUEST_MAC, GUEST, bytes(6), GATEWAY)
    network.send(ethernet(0x0806, arp))
    assert entered.wait(10)
    begin = time.monotonic()
    for _ in range(1000):
        network.send(bytes(60000))
    for _ in range(20000):
        network.send(bytes(60))
    network.send(bytes(70000))
    assert time.monotonic() - begin < 5
    assert network._cable._bytes_put - network._cable._bytes_taken < (
        cable.MAX_FROM_GUEST_BYTES + cable.LARGEST_FRAME
    )
    assert network.statistics().lost_from_guest > 700
    leave.set()
    network.close()


def test_a_guest_that_asks_but_never_takes_is_bounded() -> None:
    network = UserNetwork()
    guest = FakeGuest(network)
    guest.is_full = True
    big = ipv4(1, GATEWAY, icmp.message(8, 0, bytes(60000)))
    for _ in range(100):
        for _ in range(5):
            network.send(big)
        wait_until(lambda: not network._cable.has_frames)
    assert network._cable._to_guest_bytes <= cable.MAX_TO_GUEST_BYTES
    assert network.statistics().lost_to_guest > 300
    network.close()


def test_udp_flows_are_bounded(guest: FakeGuest, udp_server: socket.socket) -> None:
    port = udp_server.getsockname()[1]
    for number in range(udp.MAX_FLOWS + 50):
        guest.send_udp(1000 + number, GATEWAY, port, b"x")
        udp_server.recv(10)
    assert len(guest.network._router.udp._flows) == udp.MAX_FLOWS


def test_dns_queries_are_bounded() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        network = UserNetwork(resolvers=Resolvers([silent.getsockname()]))
        guest = FakeGuest(network)
        for number in range(dns.MAX_QUERIES + 50):
            guest.send_udp(2000, RESOLVER, 53, number.to_bytes(2, "big") + bytes(10))
        wait_until(lambda: not network._cable.has_frames)
        assert len(network._router.dns._queries) == dns.MAX_QUERIES
        network.close()


def test_clients_of_a_published_udp_port_are_bounded(guest: FakeGuest) -> None:
    clients = guest.network._router.udp.clients
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:

        def fill() -> None:
            for number in range(MAX_CLIENTS * 2):
                clients.port(sock, ("127.0.0.1", number))

        guest.network._loop.call(fill)
        assert len(clients._by_port) == len(clients._ports) == MAX_CLIENTS


def test_spoofed_sources_learn_nothing_and_get_nothing(guest: FakeGuest) -> None:
    for source in (
        GATEWAY,
        RESOLVER,
        bytes([10, 0, 2, 0]),
        bytes([10, 0, 2, 255]),
        bytes([8] * 4),
    ):
        payload = udp_payload(5000, GATEWAY, 9, b"x", source)
        guest.network.send(ipv4(17, GATEWAY, payload, source=source))
    guest.sync()
    assert guest.network.statistics().ignored["foreign source addresses"] == 5
    assert guest.frames.empty()


def test_a_syn_flood_holds_no_more_than_its_flows(guest: FakeGuest) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1) as server:
        for number in range(700):
            client = TcpClient(guest, GATEWAY, server.getsockname()[1], 1000 + number)
            client.send(SYN)
        wait_until(lambda: not guest.network._cable.has_frames)
        assert len(guest.network._router.tcp) <= 512
        guest.network.close()
