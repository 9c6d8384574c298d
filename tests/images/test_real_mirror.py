"""The default system from the host's own mirror. Fetches about 190 MB."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from maquina.errors import NetworkError
from maquina.images import Guest, debian
from maquina.images.trees import walk
from maquina.storage.layers.layer import Layer

pytestmark = [pytest.mark.net, pytest.mark.slow]


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Guest:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        try:
            guest = debian()
        except NetworkError as error:
            pytest.skip(f"needs a Debian mirror: {error}")
        begin = time.monotonic()
        assert debian() == guest
        assert time.monotonic() - begin < 0.05
    return guest


def test_it_has_what_a_user_expects(guest: Guest) -> None:
    with Layer.open(guest.layers[0]) as layer:
        names = {node.path.decode() for node in walk([layer])}
    for path in ("usr/bin/python3", "usr/bin/apt-get", "usr/bin/ip", "usr/bin/awk", "etc/shadow",
                 "etc/ssl/certs/ca-certificates.crt", "etc/pam.d/common-auth", "bin"):  # fmt: skip
        assert path in names


def test_the_kernel_is_a_flat_image(guest: Guest) -> None:
    header = guest.kernel.image.read_bytes()[:64]
    assert header[48:56] == b"RISCV\0\0\0"  # Documentation/arch/riscv/boot-image-header.rst
    assert header[56:60] == b"RSC\x05"


def test_programs_are_for_the_architecture(guest: Guest) -> None:
    for path in (guest.busybox, *guest.modules, *guest.disk_modules):
        assert Path(path).read_bytes()[18:20] == (243).to_bytes(2, "little"), path  # EM_RISCV
