"""What of a guest's files is for all machines, and what for one."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from maquina.hypervisor.personal import Personal
from maquina.storage.layers.stack import Stack
from maquina.storage.layers.upper import Upper


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with Stack([], Upper.temporary(tmp_path)) as made:
        yield made


def file(stack: Stack, data: bytes) -> int:
    ino = stack.create(1, str(len(data)).encode(), stat.S_IFREG | 0o644, (0, 0)).ino
    stack.write_from(ino, 0, [memoryview(data)])
    return ino


@pytest.mark.parametrize(
    ("path", "is_for_all"),
    [
        ("etc/passwd", True),
        ("etc/ssh/sshd_config", True),
        ("etc/ssl/certs/x.pem", True),
        ("usr/bin/python3", True),
        ("var/lib/dpkg/status", True),
        ("var/log/nginx/access.log", False),
        ("var/log/dpkg.log", False),
        ("etc/machine-id", False),
        ("etc/machine-identity", True),
        ("etc/resolv.conf", False),
        ("etc/ssh/ssh_host_rsa_key.pub", False),
        ("etc/ssl/private/site.key", False),
        ("var/lib/systemd/random-seed", False),
    ],
)
def test_files_by_path(stack: Stack, path: str, is_for_all: bool) -> None:
    assert Personal(stack).is_for_all(path.encode(), file(stack, b"data")) is is_for_all
    assert Personal(stack).is_for_all(path.encode(), 0) is is_for_all


def test_directories(stack: Stack) -> None:
    ino = stack.create(1, b"directory", stat.S_IFDIR | 0o755, (0, 0)).ino
    personal = Personal(stack)
    for path in (b"var/log/nginx", b"etc/ssl/private", b"roots"):
        assert personal.is_for_all(path, ino)
    for path in (b"root", b"run", b"tmp", b".maquina", b"usr/lib/maquina"):
        assert not personal.is_for_all(path, ino)


@pytest.mark.parametrize("kind", ["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "])
def test_private_keys_are_known_by_their_first_line(stack: Stack, kind: str) -> None:
    personal = Personal(stack)
    secret = file(stack, f"-----BEGIN {kind}PRIVATE KEY-----\nMIIE\n".encode())
    public = file(stack, f"-----BEGIN {kind}PUBLIC KEY-----\n".encode())
    program = file(stack, b"\0\0-----BEGIN PRIVATE KEY-----")
    assert not personal.is_for_all(b"opt/secret", secret)
    assert personal.is_for_all(b"opt/public", public)
    assert personal.is_for_all(b"opt/program", program)
    assert personal.is_for_all(b"opt/empty", file(stack, b""))
    assert personal.secrets == ["opt/secret"]
