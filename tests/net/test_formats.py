"""Wire formats against slow definitions, and against whatever bytes there are."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.net.fake_guest import GATEWAY, GUEST, internet_checksum, udp_payload
from tests.net.fake_guest import ipv4 as ipv4_frame

from maquina.errors import UsageError
from maquina.net import dhcp, fragments, ipv4, udp
from maquina.net.addresses import make_lan, text
from maquina.net.checksum import checksum, partial_sum, pseudo_header_sum
from maquina.net.tcp import segment

LAN = make_lan()


def packet_in(frame: bytes) -> ipv4.Packet:
    packet = ipv4.parse(memoryview(frame)[14:])
    assert packet is not None
    return packet


@settings(derandomize=True)
@given(st.binary(max_size=300))
def test_the_checksum_is_that_of_rfc_1071(data: bytes) -> None:
    ours = int.from_bytes(checksum(partial_sum(data)).to_bytes(2, "little"), "big")
    assert ours % 0xFFFF == internet_checksum(data) % 0xFFFF


@settings(derandomize=True)
@given(st.lists(st.binary(max_size=50), max_size=5), st.binary(max_size=51))
def test_partial_sums_of_even_pieces_add_up(pieces: list[bytes], last: bytes) -> None:
    pieces = [piece * 2 for piece in pieces]
    whole = b"".join(pieces) + last
    total = sum(map(partial_sum, pieces)) + partial_sum(last)
    assert checksum(total) == checksum(partial_sum(whole))


def test_the_pseudo_header_counts_as_its_bytes() -> None:
    pseudo = GUEST + GATEWAY + struct.pack(">HH", 17, 1234)
    assert pseudo_header_sum(17, GUEST, GATEWAY, 1234) % 0xFFFF == partial_sum(pseudo)


def test_an_ipv4_header_is_read_as_it_was_written() -> None:
    head = ipv4.header(ipv4.UDP, GUEST, GATEWAY, 5)
    packet = ipv4.parse(memoryview(head + b"12345padding"))
    assert packet is not None
    assert (packet.protocol, packet.source, packet.destination) == (17, GUEST, GATEWAY)
    assert (packet.is_fragment, bytes(packet.payload)) == (False, b"12345")


@pytest.mark.parametrize(
    ("at", "value"),
    [(0, 0x46), (0, 0x44), (0, 0x65), (2, 0xFF), (3, 5), (10, 1)],
    ids=["longer header", "short header", "version", "length", "shorter", "checksum"],
)
def test_a_spoiled_ipv4_header_is_refused(at: int, value: int) -> None:
    data = bytearray(ipv4.header(ipv4.UDP, GUEST, GATEWAY, 5) + b"12345")
    data[at] = value
    assert ipv4.parse(memoryview(data)) is None


def test_options_of_ipv4_are_skipped() -> None:
    bare = bytearray(ipv4.header(ipv4.UDP, GUEST, GATEWAY, 8 + 3))
    bare[0] = 0x47
    bare[10:12] = bytes(2)
    options = bytes([1, 1, 1, 0, 1, 1, 1, 0])
    bare[10:12] = internet_checksum(bytes(bare) + options).to_bytes(2, "big")
    packet = ipv4.parse(memoryview(bytes(bare) + options + b"abc"))
    assert packet is not None
    assert bytes(packet.payload) == b"abc"


@settings(derandomize=True)
@given(st.binary(min_size=1, max_size=9000), st.integers(576, 3000), st.randoms())
def test_fragments_come_together_in_any_order(data: bytes, mtu: int, order: object) -> None:
    pieces = list(ipv4.fragments(data, mtu, 42))
    order.shuffle(pieces)  # type: ignore[attr-defined]
    reassembler = fragments.Reassembler()
    whole = None
    for fragment, piece in pieces:
        assert whole is None
        head = ipv4.header(ipv4.UDP, GUEST, GATEWAY, len(piece), fragment)
        packet = ipv4.parse(memoryview(head + bytes(piece)))
        assert packet is not None
        assert len(packet.header) + len(packet.payload) <= mtu
        whole = reassembler.add(packet, 0.0)
    assert whole is not None
    assert bytes(whole.payload) == data


def fragment_of(offset: int, data: bytes, *, more: bool, ident: int = 1) -> ipv4.Packet:
    flags = (0x2000 if more else 0) | offset // 8
    return packet_in(ipv4_frame(17, GATEWAY, data, fragment=flags, ident=ident))


def test_overlapping_and_late_fragments_are_dropped() -> None:
    reassembler = fragments.Reassembler()
    assert reassembler.add(fragment_of(0, bytes(16), more=True), 0.0) is None
    assert reassembler.add(fragment_of(8, bytes(16), more=False), 0.0) is None  # overlaps
    assert reassembler.add(fragment_of(16, bytes(16), more=False), 0.0) is None
    assert reassembler.add(fragment_of(0, bytes(16), more=True), 99.0) is None  # the rest is old
    assert reassembler.add(fragment_of(65528, bytes(16), more=False, ident=2), 0.0) is None


def test_a_flood_of_first_fragments_is_bounded() -> None:
    reassembler = fragments.Reassembler()
    for ident in range(1000):
        reassembler.add(fragment_of(0, bytes(1024), more=True, ident=ident), 0.0)
    assert len(reassembler._unfinished) == fragments.MAX_UNFINISHED


def test_udp_lengths_and_checksums_are_checked() -> None:
    good = udp_payload(1, GATEWAY, 2, b"data")
    assert udp.parse(packet_in(ipv4_frame(17, GATEWAY, good))) is not None
    unchecked = good[:6] + bytes(2) + good[8:]
    assert udp.parse(packet_in(ipv4_frame(17, GATEWAY, unchecked))) is not None
    short, long = (unchecked[:4] + bytes([0, size]) + unchecked[6:] for size in (7, 13))
    for bad in (good[:7], good[:-1], good[:-1] + b"?", short, long):
        packet = packet_in(ipv4_frame(17, GATEWAY, bad))
        assert udp.parse(packet) is None


def test_tcp_options_survive_the_wire_and_nonsense() -> None:
    options = segment.Options(mss=65480, scale=7, has_sack=True)
    data = segment.build_options(options)
    assert len(data) % 4 == 0
    assert segment.parse_options(data) == options
    assert segment.parse_options(b"\x02\x04\x00\x01\x03\x03\xff").mss == segment.SMALLEST_MSS
    assert segment.parse_options(b"\x03\x03\xff").scale == segment.LARGEST_SCALE
    for nonsense in (b"\x02", b"\x02\x00", b"\x02\x09\x01", b"\x03\x02", b"\x00\x02\x04\x05\xb4"):
        assert segment.parse_options(nonsense) == segment.Options()


@settings(derandomize=True)
@given(st.integers(0, 1 << 70), st.integers(-(1 << 31), (1 << 31) - 1))
def test_unwrap_finds_the_nearest_number(near: int, distance: int) -> None:
    assert segment.unwrap(near + distance & 0xFFFFFFFF, near) == near + distance


def dhcp_message(kind: int, *options: bytes, client: bytes = bytes(4)) -> bytes:
    head = struct.pack(
        ">BBBBIHH4s12x16s192x", 1, 1, 6, 0, 0x1234, 0, 0x8000, client, b"\x52\x54\0\0\0\1"
    )
    return head + b"\x63\x82\x53\x63" + bytes([53, 1, kind]) + b"".join(options) + b"\xff"


def ask(message: bytes) -> tuple[int, bytes, dict[int, bytes]] | None:
    """Kind, offered address and options of the answer."""
    question = dhcp.parse(memoryview(message))
    assert question is not None
    answer = dhcp.answer(question, LAN)
    if answer is None:
        return None
    assert len(answer.payload) >= dhcp.SMALLEST_REPLY
    assert answer.payload[:8] == b"\x02\x01\x06\0\0\0\x12\x34"
    options = dhcp.parse_options(answer.payload[240:])
    return options[53][0], answer.payload[16:20], options


def test_dhcp_discover_is_offered_everything() -> None:
    answer = ask(dhcp_message(dhcp.DISCOVER))
    assert answer is not None
    kind, address, options = answer
    assert (kind, text(address)) == (dhcp.OFFER, "10.0.2.15")
    assert options[1] == bytes([255, 255, 255, 0])
    assert (options[3], options[6]) == (GATEWAY, bytes([10, 0, 2, 3]))
    assert int.from_bytes(options[26], "big") == 65520
    assert options[12] == b"maquina"


def test_dhcp_request_is_acknowledged_or_denied() -> None:
    wanted = {GUEST: dhcp.ACK, bytes([10, 0, 2, 16]): dhcp.NAK, bytes([192, 168, 1, 5]): dhcp.NAK}
    for address, expected in wanted.items():
        answer = ask(dhcp_message(dhcp.REQUEST, b"\x32\x04" + address))
        assert answer is not None
        assert answer[0] == expected
        renewal = ask(dhcp_message(dhcp.REQUEST, client=address))
        assert renewal is not None
        assert renewal[0] == expected
    assert ask(dhcp_message(dhcp.REQUEST, b"\x36\x04" + bytes([10, 0, 2, 9]))) is None


def test_dhcp_inform_gets_no_lease_and_the_rest_no_answer() -> None:
    answer = ask(dhcp_message(dhcp.INFORM, client=GUEST))
    assert answer is not None
    assert (answer[0], answer[1]) == (dhcp.ACK, bytes(4))
    assert 51 not in answer[2]
    for kind in (dhcp.RELEASE, dhcp.DECLINE, dhcp.OFFER, 0, 99):
        assert ask(dhcp_message(kind)) is None


@settings(derandomize=True)
@given(st.binary(max_size=400))
def test_parsers_take_any_bytes(data: bytes) -> None:
    """Whatever the bytes, a parser answers a value or None."""
    view = memoryview(data)
    ipv4.parse(view)
    dhcp.parse(view)
    dhcp.parse_options(data)
    segment.parse_options(view)
    packet = ipv4.Packet(17, GUEST, GATEWAY, 64, 0, 0, view, view[:20])
    udp.parse(packet)
    segment.parse(packet)
    segment.parse(packet, has_checksum=False)


def test_a_lan_is_made_from_its_network() -> None:
    lan = make_lan("192.168.77.0/24", mtu=1500)
    assert text(lan.gateway) == "192.168.77.2"
    assert text(lan.broadcast) == "192.168.77.255"
    assert lan.guest in lan
    assert GUEST not in lan
    for network, mtu in (("10.0.2.1/24", 1500), ("x", 1500), ("10.0.0.0/30", 1500)):
        with pytest.raises(UsageError):
            make_lan(network, mtu)
    with pytest.raises(UsageError, match="MTU"):
        make_lan(mtu=100)
