from __future__ import annotations

import socket
from pathlib import Path

import pytest

from maquina.errors import HostError, UsageError
from maquina.net import policy
from maquina.net.addresses import make_lan
from maquina.net.destinations import Destinations, Target
from maquina.net.policy import Policy, Refusal, is_own_address
from maquina.net.resolvers import Resolvers, parse_resolv_conf

FORBIDDEN = {
    "0.0.0.0": Refusal.HOST_LOOPBACK,
    "0.1.2.3": Refusal.HOST_LOOPBACK,
    "127.0.0.1": Refusal.HOST_LOOPBACK,
    "127.255.255.254": Refusal.HOST_LOOPBACK,
    "169.254.169.254": Refusal.LINK_LOCAL,
    "224.0.0.251": Refusal.MULTICAST,
    "240.0.0.1": Refusal.MULTICAST,
    "255.255.255.255": Refusal.MULTICAST,
}


@pytest.mark.parametrize("allow", [False, True])
@pytest.mark.parametrize(("address", "reason"), FORBIDDEN.items())
def test_some_addresses_are_never_reached(address: str, reason: Refusal, allow: bool) -> None:
    assert Policy(allow_host_loopback=allow).check(socket.inet_aton(address)) is reason


def own_address() -> str | None:
    """An address of one of the host's interfaces, found without sending anything."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.77", 9))
        except OSError:
            return None
        address: str = probe.getsockname()[0]
        return address


def test_the_hosts_own_addresses_are_refused_unless_it_is_allowed() -> None:
    address = own_address()
    if address is None:
        pytest.skip("needs a host with a network interface")
    assert Policy().check(socket.inet_aton(address)) is Refusal.HOST_ADDRESS
    assert Policy(allow_host_loopback=True).check(socket.inet_aton(address)) is None


def test_private_and_public_addresses_are_allowed() -> None:
    for address in ("192.0.2.77", "10.99.0.1", "198.51.100.1"):
        if not is_own_address(socket.inet_aton(address)):
            assert Policy().check(socket.inet_aton(address)) is None


def test_a_host_that_cannot_tell_its_addresses_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "sysctl").write_text("1\n")
    monkeypatch.setattr(policy, "NONLOCAL_BIND", tmp_path / "sysctl")
    with pytest.raises(HostError, match="ip_nonlocal_bind"):
        Policy()
    Policy(allow_host_loopback=True)


def test_destinations_are_translated_and_refusals_remembered() -> None:
    lan, strict, open_ = make_lan(), Policy(), Policy(allow_host_loopback=True)
    resolvers = Resolvers([("127.0.0.1", 5353)])
    strictly, openly = (Destinations(lan, policy, resolvers) for policy in (strict, open_))
    assert openly.find("tcp", lan.gateway, 80) == Target(socket.AF_INET, ("127.0.0.1", 80))
    assert strictly.find("tcp", lan.gateway, 80) is Refusal.HOST_LOOPBACK
    resolver = strictly.find("tcp", lan.resolver, 53)
    assert resolver == Target(socket.AF_INET, ("127.0.0.1", 5353))
    assert strictly.find("tcp", lan.resolver, 80) is Refusal.NO_SUCH_HOST
    assert strict.refusals == {Refusal.HOST_LOOPBACK: 1, Refusal.NO_SUCH_HOST: 1}
    assert [refused.port for refused in strict.latest] == [80, 80]
    for _ in range(1000):
        strictly.find("udp", lan.gateway, 1)
    assert len(strict.latest) == policy.MAX_REMEMBERED


def test_resolv_conf_is_read_as_the_manual_says() -> None:
    content = """
# nameserver 1.1.1.1
search example.org
nameserver 192.0.2.1
nameserver   fd00::1   # comment
nameserver not-an-address
nameserver
options ndots:2
nameserver 192.0.2.3
nameserver 192.0.2.4
"""
    assert parse_resolv_conf(content) == ["192.0.2.1", "fd00::1", "192.0.2.3"]


def test_resolvers_follow_the_file_and_failures(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    resolvers = Resolvers(path=path)
    assert resolvers.servers() == [("127.0.0.1", 53)]
    path.write_text("nameserver 192.0.2.1\nnameserver 192.0.2.2\n")
    one, two = resolvers.servers()
    assert (one[0], two[0]) == ("192.0.2.1", "192.0.2.2")
    resolvers.failed(one)
    assert resolvers.servers() == [two, one]
    resolvers.failed(one)  # an old failure: it is not first any more
    assert resolvers.servers() == [two, one]
    path.write_text("nameserver 192.0.2.33\n")
    assert resolvers.servers() == [("192.0.2.33", 53)]
    path.write_bytes(b"\xff\xfe\0nameserver")
    assert resolvers.servers() == [("127.0.0.1", 53)]
    with pytest.raises(UsageError):
        Resolvers([])
