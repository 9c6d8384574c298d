"""The host side of a machine's network: frames as bytes, in and out. Usable alone.

A backend satisfies `maquina.machine.backends.NetBackend`. `none` is the smallest; `user` is the
default: a NAT in this process, without privileges, for IPv4 (other protocols are dropped and
counted; a router for IPv6 would be one more branch in `router` and one more `Wire.send`). `pcap`
wraps any of them and records.

Reading order: `addresses` (the network the guest sees), `cable` (queues between the machine's
threads and ours), `loop` (the one thread), `user` (the face), `router` (who gets which frame);
downwards `wire` (to the guest) with `arp`, `ipv4`, `fragments`, `checksum`; the router's own
services `dhcp` and `dns` with `resolvers`; the translators `icmp`, `udp` and `tcp`, which share
`fabric`; what is allowed: `policy`, asked through `destinations`; published ports: `publish`,
`udp_publish`, `tcp.listener`.
"""
