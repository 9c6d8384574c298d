"""Sorts what the guest sends: to ARP, DHCP, DNS, or one of the three address translators."""

from __future__ import annotations

from maquina.net import arp, dhcp, icmp, ipv4, udp, wire
from maquina.net.addresses import BROADCAST, BROADCAST_MAC
from maquina.net.dns import DnsForwarder
from maquina.net.fabric import Fabric
from maquina.net.fragments import Reassembler
from maquina.net.resolvers import DNS_PORT
from maquina.net.tcp.nat import TcpNat


class Router:
    """Takes frames of the guest. Whatever is in them, nothing is raised: what makes no sense is
    dropped and counted in `fabric.ignored`."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        self._fragments = Reassembler()
        self.icmp = icmp.IcmpNat(fabric)
        self.udp = udp.UdpNat(fabric)
        self.dns = DnsForwarder(fabric)
        self.tcp = TcpNat(fabric)

    def receive(self, frame: bytes) -> None:
        """Take one Ethernet frame."""
        target = frame[:6]
        if target not in (self._fabric.lan.gateway_mac, BROADCAST_MAC):
            self._ignore("frames for others")
            return
        kind = frame[12:14]
        body = memoryview(frame)[wire.ETHERNET_HEADER :]
        if kind == wire.TYPE_IPV4:
            self._receive_ipv4(frame[6:12], body)
        elif kind == wire.TYPE_ARP:
            message = arp.parse(body)
            if message is None:
                self._ignore("malformed arp")
            else:
                self._fabric.wire.receive_arp(message)
        else:
            self._ignore("other protocols than IPv4")

    def settle(self) -> None:
        """A batch of frames is through."""
        self.tcp.settle()

    def close(self) -> None:
        """End all flows."""
        self.tcp.close()
        self.udp.close()
        self.dns.close()
        self.icmp.close()

    def _receive_ipv4(self, mac: bytes, body: memoryview) -> None:
        packet = ipv4.parse(body)
        if packet is None:
            self._ignore("malformed ipv4")
            return
        if packet.is_fragment:
            whole = self._fragments.add(packet, self._fabric.loop.now)
            if whole is None:
                return
            packet = whole
        if self._fabric.wire.neighbours.accepts(packet.source):
            self._fabric.wire.learn(packet.source, mac)
            self._receive_routed(packet)
        elif packet.protocol == ipv4.UDP and packet.source == bytes(4):
            self._receive_udp(packet)  # a guest that asks DHCP for an address
        else:
            self._ignore("foreign source addresses")

    def _receive_routed(self, packet: ipv4.Packet) -> None:
        lan = self._fabric.lan
        is_group = packet.destination[0] >= 224 or packet.destination == lan.broadcast
        is_ours = packet.destination in lan.own_addresses
        if packet.ttl <= 1 and not is_group and not is_ours:
            quoted = icmp.quote(packet)
            icmp.send_error(self._fabric, icmp.TIME_EXCEEDED, 0, quoted)
        elif packet.protocol == ipv4.TCP and not is_group:
            self.tcp.receive(packet)
        elif packet.protocol == ipv4.UDP:
            self._receive_udp(packet)
        elif packet.protocol == ipv4.ICMP and not is_group:
            self.icmp.receive(packet)
        else:
            self._ignore("other protocols over IPv4")

    def _receive_udp(self, packet: ipv4.Packet) -> None:
        lan = self._fabric.lan
        datagram = udp.parse(packet, lan.has_checksums)
        if datagram is None:
            self._ignore("malformed udp")
            return
        address, port = datagram.destination
        if port == dhcp.SERVER_PORT and address in (BROADCAST, lan.broadcast, lan.gateway):
            self._receive_dhcp(datagram)
        elif not self._fabric.wire.neighbours.accepts(packet.source):
            self._ignore("foreign source addresses")
        elif address[0] >= 224 or address == lan.broadcast:
            self._ignore("broadcast and multicast")
        elif (address, port) == (lan.resolver, DNS_PORT):
            self.dns.receive(datagram)
        else:
            self.udp.receive(datagram)

    def _receive_dhcp(self, datagram: udp.Datagram) -> None:
        question = dhcp.parse(datagram.payload)
        answer = dhcp.answer(question, self._fabric.lan) if question else None
        if answer is None:
            self._ignore("dhcp without answer")
            return
        source = (self._fabric.lan.gateway, dhcp.SERVER_PORT)
        destination = (answer.destination, dhcp.CLIENT_PORT)
        self._fabric.wire.send_udp(source, destination, answer.payload)

    def _ignore(self, what: str) -> None:
        self._fabric.ignored[what] += 1
