"""What two machines must not have in common: it is left out of what many of them begin with.

Packages' scripts make keys, numbers and logs for the one machine that they believe to be on. These
stay as the unpacked system has them, which mostly is not at all; the programs that need them make
new ones, or say what makes them (`dpkg-reconfigure openssh-server`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maquina.storage.layers.stack import Stack

# Directories of one machine, or of one run.
PLACES = (
    ".maquina", "dev", "proc", "root", "run", "sys", "tmp", "usr/lib/maquina", "var/tmp",
)  # fmt: skip
# Files of one run, and what tells machines apart.
TRACES = (
    "etc/hostid", "etc/hostname", "etc/machine-id", "etc/resolv.conf", "usr/sbin/policy-rc.d",
    "var/lib/dbus/machine-id", "var/lib/systemd/(random-seed|credential.secret)",
    "var/lib/urandom/random-seed", "var/log/.*",
)  # fmt: skip
# Secrets that do not look like any, and the other halves of those that do.
SECRETS = (
    "etc/bind/rndc.key", "etc/ssh/ssh_host_.*", "etc/ssl/certs/ssl-cert-snakeoil.pem",
    "etc/ssl/private/.*",
)  # fmt: skip
_PLACES = re.compile("|".join(PLACES).encode())
_TRACES = re.compile("|".join(TRACES).encode())
_SECRETS = re.compile("|".join(SECRETS).encode())
_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY")  # RFC 7468, section 10; PGP
_BEGINNING = 64  # bytes of a file in which its first line begins


class Personal:
    """Tells what of a stack's files is for one machine only; `secrets` are those it came across.

    Directories may be of anybody, so that a log that a script made a directory for has one.
    """

    def __init__(self, stack: Stack) -> None:
        self.secrets: list[str] = []
        self._stack = stack

    def is_for_all(self, path: bytes, ino: int) -> bool:
        """Whether to keep what is at a path: inode `ino`, or nothing any more if it is 0."""
        if _PLACES.fullmatch(path):
            return False
        if not ino:
            return not (_TRACES.fullmatch(path) or _SECRETS.fullmatch(path))
        inode = self._stack.inode(ino)
        if inode.is_directory:
            return True
        if _SECRETS.fullmatch(path) or (inode.is_regular and self._is_private_key(ino)):
            self.secrets.append(path.decode(errors="replace"))
            return False
        return not _TRACES.fullmatch(path)

    def _is_private_key(self, ino: int) -> bool:
        beginning = bytearray(_BEGINNING)
        self._stack.read_into(ino, 0, [memoryview(beginning)])
        return _PRIVATE_KEY.match(beginning) is not None
