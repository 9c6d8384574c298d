"""What a guest sees of hosts that differ: the network runs in a namespace of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.net import linux_guest

pytestmark = pytest.mark.skipif(
    linux_guest.missing() is not None,
    reason=f"a host in a namespace {linux_guest.missing()}",
)

# The host has one address and no route; what happens to each protocol is printed.
INSIDE = """
import json, struct, sys
from maquina.net import icmp
from maquina.net.policy import Policy
from maquina.net.user import UserNetwork
from tests.net.fake_guest import SYN, FakeGuest, TcpClient, ipv4

OWN, NOWHERE = bytes([192, 0, 2, 50]), bytes([198, 51, 100, 1])
network = UserNetwork(policy=Policy(allow_host_loopback=sys.argv[1] == "allow"))
guest = FakeGuest(network)
guest.announce()
results = {}

def outcome():
    try:
        packet = guest.packet(1)
    except Exception as error:
        return type(error).__name__
    if packet.protocol == 6:
        return "tcp %d" % packet.tcp.flags
    echo = " echo" * (packet.payload[8:] == b"data")
    return "icmp %d %d" % tuple(packet.payload[:2]) + echo

for name, address in (("own", OWN), ("nowhere", NOWHERE)):
    network.send(ipv4(1, address, icmp.message(8, 0, b"\\x12\\x34\\0\\1data")))
    results["ping " + name] = outcome()
    guest.send_udp(5000, address, 9, b"x")
    results["udp " + name] = outcome()
    TcpClient(guest, address, 9).send(SYN)
    results["tcp " + name] = outcome()
network.close()
print(json.dumps(results))
"""


def outcomes(policy: str, ping_groups: str) -> dict[str, str]:
    setup = (
        "ip link set lo up && ip address add 192.0.2.50/32 dev lo && "
        f"echo '{ping_groups}' > /proc/sys/net/ipv4/ping_group_range && exec \"$@\""
    )
    root = Path(__file__).parents[2]
    paths = os.pathsep.join([str(root / "src"), str(root)])
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", setup, "sh", sys.executable, "-c", INSIDE, policy],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "PYTHONPATH": paths},
    )
    result: dict[str, str] = json.loads(done.stdout)
    return result


def test_the_hosts_own_addresses_are_open_when_allowed_and_ping_goes_out() -> None:
    assert outcomes("allow", "0 2147483647") == {
        "ping own": "icmp 0 0 echo",
        "udp own": "icmp 3 3",
        "tcp own": "tcp 20",
        "ping nowhere": "icmp 3 0",
        "udp nowhere": "icmp 3 0",
        "tcp nowhere": "icmp 3 0",
    }


def test_by_default_the_host_is_closed_and_without_ping_sockets_there_is_no_answer() -> None:
    assert outcomes("deny", "1 0") == {
        "ping own": "icmp 3 13",
        "udp own": "icmp 3 13",
        "tcp own": "tcp 20",
        "ping nowhere": "Empty",
        "udp nowhere": "icmp 3 0",
        "tcp nowhere": "icmp 3 0",
    }
