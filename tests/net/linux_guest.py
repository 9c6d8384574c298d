"""A real Linux TCP/IP stack as the guest: a network namespace with a TAP device at our cable."""

from __future__ import annotations

import array
import os
import select
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from maquina.machine.backends import NetBackend

# Runs inside the namespace: makes the TAP device, hands it over, and lives until its input ends.
INSIDE = """
import array, fcntl, os, socket, struct, sys
tap = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tap, 0x400454CA, struct.pack("16sH22x", b"eth0", 0x1002))
link = socket.socket(fileno=int(sys.argv[1]))
link.sendmsg([b"tap"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [tap]))])
sys.stdin.read()
"""


def missing() -> str | None:
    """What this host lacks for such a guest; None if nothing."""
    for program in ("unshare", "nsenter", "ip"):
        if shutil.which(program) is None:
            return f"needs the program {program}"
    if os.geteuid() != 0 or not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "needs root and /dev/net/tun"
    probe = subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True)
    return None if probe.returncode == 0 else "needs the right to make network namespaces"


class LinuxGuest:
    """The namespace, its device and a thread that carries frames from it to a backend.

    `spoil` may change, drop or reorder what passes: it gets a frame and answers those to pass on.
    """

    def __init__(
        self, backend: NetBackend, spoil: Callable[[bytes], list[bytes]] | None = None
    ) -> None:
        self._backend = backend
        self._spoil = spoil or (lambda frame: [frame])
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._process = subprocess.Popen(
            ["unshare", "--net", sys.executable, "-c", INSIDE, str(theirs.fileno())],
            stdin=subprocess.PIPE,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        ours.settimeout(20)
        with ours:
            _, control, _, _ = ours.recvmsg(16, socket.CMSG_SPACE(4))
        fds = array.array("i")
        fds.frombytes(control[0][2][:4])
        self._tap = fds[0]
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threading.Thread(target=self._carry)

    def start(self, mtu: int) -> None:
        """Plug the cable in."""
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "link", "set", "eth0", "mtu", str(mtu), "up")
        self._backend.attach(self._receive)
        self._thread.start()

    def configure(self) -> None:
        """Give the device its address and route as DHCP would."""
        self.run("ip", "address", "add", "10.0.2.15/24", "dev", "eth0")
        self.run("ip", "route", "add", "default", "via", "10.0.2.2")

    def command(self, *words: str) -> list[str]:
        """The command line that runs `words` in the guest."""
        return ["nsenter", "-t", str(self._process.pid), "-n", *words]

    def run(self, *words: str, timeout: float = 60) -> str:
        """Run a program in the guest; its output. CalledProcessError if it fails."""
        done = subprocess.run(
            self.command(*words), check=True, capture_output=True, text=True, timeout=timeout
        )
        return done.stdout

    def python(self, program: str, *arguments: str, timeout: float = 60) -> str:
        """Run a Python program in the guest; its output."""
        return self.run(sys.executable, "-c", program, *arguments, timeout=timeout)

    def close(self) -> None:
        """Unplug and forget."""
        os.write(self._stop_write, b"x")
        if self._thread.is_alive():
            self._thread.join()
        self._backend.close()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)
        for fd in (self._tap, self._stop_read, self._stop_write):
            os.close(fd)

    def _receive(self, frame: bytes) -> bool:
        for spoiled in self._spoil(frame):
            os.write(self._tap, spoiled)
        return True

    def _carry(self) -> None:
        while True:
            readable, _, _ = select.select([self._tap, self._stop_read], [], [])
            if self._stop_read in readable:
                return
            for spoiled in self._spoil(os.read(self._tap, 66000)):
                self._backend.send(spoiled)


def write_script(path: Path, content: str) -> Path:
    """An executable shell script."""
    path.write_text("#!/bin/sh\n" + content)
    path.chmod(0o755)
    return path
