"""Against Linux's own TCP/IP, with its own tools, where the host lets a test make namespaces."""

from __future__ import annotations

import errno
import hashlib
import http.server
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.net import linux_guest
from tests.net.linux_guest import LinuxGuest

from maquina.net.addresses import make_lan
from maquina.net.pcap import Capture
from maquina.net.policy import Policy
from maquina.net.resolvers import Resolvers
from maquina.net.user import UserNetwork

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(
        linux_guest.missing() is not None,
        reason=f"a Linux guest in a namespace {linux_guest.missing()}",
    ),
]

MB = 1 << 20
PATTERN = bytes(random.Random(1).randbytes(MB))

# Downloads and prints the digest; uploads so many bytes of it and prints the server's digest.
DOWNLOAD = """
import hashlib, socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 30) as link:
    link.sendall(b"d")
    digest = hashlib.sha256()
    while data := link.recv(1 << 20):
        digest.update(data)
print(digest.hexdigest())
"""
UPLOAD = """
import random, socket, sys
pattern = random.Random(1).randbytes(1 << 20)
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 30) as link:
    link.sendall(b"u")
    for _ in range(int(sys.argv[3])):
        link.sendall(pattern)
    link.shutdown(socket.SHUT_WR)
    print(link.recv(100).decode())
"""


def digest(megabytes: int) -> str:
    whole = hashlib.sha256()
    for _ in range(megabytes):
        whole.update(PATTERN)
    return whole.hexdigest()


@contextmanager
def bulk_server(megabytes: int) -> Iterator[int]:
    """Sends so much to who says d, and takes what comes from who says u; the port."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                link, _ = server.accept()
            except OSError:
                return
            with link:
                if link.recv(1) == b"d":
                    for _ in range(megabytes):
                        link.sendall(PATTERN)
                    continue
                seen = hashlib.sha256()
                while data := link.recv(MB):
                    seen.update(data)
                link.sendall(seen.hexdigest().encode())

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


@contextmanager
def linux(
    mtu: int = 65520,
    spoil: Callable[[bytes], list[bytes]] | None = None,
    network: UserNetwork | None = None,
) -> Iterator[LinuxGuest]:
    network = network or UserNetwork(make_lan(mtu=mtu), policy=Policy(allow_host_loopback=True))
    guest = LinuxGuest(network, spoil)
    try:
        guest.start(mtu)
        guest.configure()
        yield guest
    finally:
        guest.close()


@pytest.mark.parametrize(("mtu", "megabytes"), [(65520, 100), (1500, 20)])
def test_bulk_transfers_arrive_whole(mtu: int, megabytes: int) -> None:
    with bulk_server(megabytes) as port, linux(mtu) as guest:
        begin = time.monotonic()
        assert guest.python(DOWNLOAD, "10.0.2.2", str(port)).strip() == digest(megabytes)
        middle = time.monotonic()
        sent = guest.python(UPLOAD, "10.0.2.2", str(port), str(megabytes))
        assert sent.strip() == digest(megabytes)
        end = time.monotonic()
    for what, seconds in (("down", middle - begin), ("up", end - middle)):
        print(f"{what} at MTU {mtu}: {megabytes * MB * 8 / seconds / 1e6:.0f} Mbit/s")


class Spoiler:
    """Loses some frames and lets others overtake."""

    def __init__(self, seed: int, loss: float, delay: float) -> None:
        self._random = random.Random(seed)
        self._loss, self._delay = loss, delay
        self._held: list[bytes] = []
        self._lock = threading.Lock()

    def __call__(self, frame: bytes) -> list[bytes]:
        with self._lock:
            chance = self._random.random()
            if chance < self._loss:
                return []
            if chance < self._loss + self._delay and not self._held:
                self._held.append(frame)
                return []
            held, self._held = self._held, []
            return [frame, *held]


@pytest.mark.parametrize("mtu", [65520, 1500])
def test_loss_and_reordering_are_repaired(mtu: int) -> None:
    spoil = Spoiler(seed=7, loss=0.01, delay=0.02)
    with bulk_server(4) as port, linux(mtu, spoil) as guest:
        assert guest.python(DOWNLOAD, "10.0.2.2", str(port)).strip() == digest(4)
        assert guest.python(UPLOAD, "10.0.2.2", str(port), "4").strip() == digest(4)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs the program curl")
def test_curl_fetches_from_a_web_server_both_ways(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(PATTERN)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(tmp_path))  # type: ignore[arg-type]

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with linux() as guest:
            url = f"http://10.0.2.2:{server.server_address[1]}/file"
            guest.run("curl", "-sf", "-o", str(tmp_path / "fetched"), url)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert (tmp_path / "fetched").read_bytes() == PATTERN


WEB_SERVER = ["-m", "http.server", "80", "--bind", "0.0.0.0", "--directory"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs the program curl")
def test_a_published_web_server_is_reached_by_curl(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_bytes(PATTERN)
    network = UserNetwork()
    port = network.publish("127.0.0.1", 0, 80).host_port
    with linux(network=network) as guest:
        command = guest.command(sys.executable, *WEB_SERVER, str(tmp_path))
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
            fetch = ["curl", "-sf", "--retry", "20", "--retry-all-errors", "--retry-delay", "1"]
            got = subprocess.run(
                [*fetch, f"http://127.0.0.1:{port}/"], check=True, capture_output=True, timeout=60
            )
            server.terminate()
    assert got.stdout == PATTERN


MANY = """
import socket, sys
from concurrent.futures import ThreadPoolExecutor
def talk(number):
    with socket.create_connection(("10.0.2.2", int(sys.argv[1])), 30) as link:
        link.sendall(b"u" + b"%d" % number * 1000)
        link.shutdown(socket.SHUT_WR)
        return len(link.recv(100))
with ThreadPoolExecutor(50) as pool:
    print(sum(pool.map(talk, range(300))))
"""


def test_many_flows_at_once() -> None:
    with bulk_server(1) as port, linux() as guest:
        assert guest.python(MANY, str(port)).strip() == str(300 * 64)


REFUSED = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)
except OSError as error:
    print(error.errno, end=" ")
"""


def test_refusals_look_like_refusals() -> None:
    with linux(network=UserNetwork()) as guest:
        assert guest.python(REFUSED, "10.0.2.2", "80").split() == [str(errno.ECONNREFUSED)]


needs_busybox = pytest.mark.skipif(
    shutil.which("busybox") is None, reason="needs the program busybox"
)


@needs_busybox
def test_a_real_client_gets_its_lease(tmp_path: Path) -> None:
    script = linux_guest.write_script(
        tmp_path / "lease",
        f'[ "$1" = bound ] && echo $ip $subnet $router $dns $mtu $hostname $lease'
        f" > {tmp_path}/got; exit 0\n",
    )
    network = UserNetwork(make_lan(hostname="box"))
    guest = LinuxGuest(network)
    try:
        guest.start(1500)
        guest.run("busybox", "udhcpc", "-i", "eth0", "-q", "-n", "-f", "-s", str(script))
    finally:
        guest.close()
    assert (tmp_path / "got").read_text().split() == [
        "10.0.2.15",
        "255.255.255.0",
        "10.0.2.2",
        "10.0.2.3",
        "65520",
        "box",
        "86400",
    ]


@needs_busybox
def test_names_are_resolved_over_udp_and_tcp(udp_server: socket.socket) -> None:
    address = udp_server.getsockname()
    stop = threading.Event()

    def answer(query: bytes) -> bytes:
        """One A record, 192.0.2.1, for A queries; nothing for others."""
        has_answer = query[-4:-2] == b"\0\1"
        head = query[:2] + b"\x81\x80\0\1" + bytes([0, has_answer]) + bytes(4) + query[12:]
        record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton("192.0.2.1")
        return head + record * has_answer

    def serve() -> None:
        udp_server.settimeout(0.1)
        while not stop.is_set():
            try:
                query, client = udp_server.recvfrom(1000)
            except TimeoutError:
                continue
            udp_server.sendto(answer(query), client)

    thread = threading.Thread(target=serve)
    thread.start()
    with socket.create_server(address) as tcp_server:
        network = UserNetwork(resolvers=Resolvers([address]))
        with linux(network=network) as guest:
            out = guest.run("busybox", "nslookup", "name.example.org", "10.0.2.3")
            talk = subprocess.Popen(
                guest.command("busybox", "nc", "10.0.2.3", "53"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            tcp_server.settimeout(10)
            link, _ = tcp_server.accept()
            with link, talk:
                link.sendall(b"over tcp")
                link.shutdown(socket.SHUT_WR)
                assert talk.stdout is not None
                assert talk.stdout.read() == b"over tcp"
    stop.set()
    thread.join()
    assert "192.0.2.1" in out


@needs_busybox
def test_ping_answers_at_the_gateway_with_large_packets() -> None:
    with linux(mtu=1500) as guest:
        out = guest.run("busybox", "ping", "-c", "2", "-s", "4000", "10.0.2.2")
    assert "2 packets received" in out


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="needs the program tcpdump")
def test_tcpdump_reads_the_capture(tmp_path: Path) -> None:
    capture = Capture(UserNetwork(policy=Policy(allow_host_loopback=True)), tmp_path / "pcap")
    guest = LinuxGuest(capture)
    with bulk_server(1) as port:
        try:
            guest.start(65520)
            guest.configure()
            guest.python(DOWNLOAD, "10.0.2.2", str(port))
        finally:
            guest.close()
    lines = subprocess.run(
        ["tcpdump", "-nnvr", str(tmp_path / "pcap"), "tcp or arp"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "Request who-has 10.0.2.2" in lines
    assert f"10.0.2.2.{port} > 10.0.2.15" in lines
    assert "Flags [S.]" in lines
    assert "incorrect" not in lines
