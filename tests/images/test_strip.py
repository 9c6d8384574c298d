"""Stripped kernel modules keep what loading needs."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.images.fake_mirror import module_of

from maquina.errors import FormatError, ImageError
from maquina.images.modules import Module, load_order, needs_of
from maquina.images.strip import strip


def test_dead_weight_is_gone() -> None:
    whole = module_of("failover,mbcache")
    stripped = strip(whole)
    assert len(stripped) < len(whole) - 1300  # type information and the signature
    assert b"Module signature" not in stripped
    assert b"init_module\0" in stripped
    assert b"printk\0" in stripped
    assert b".L1\0" not in stripped
    assert needs_of(stripped) == ("failover", "mbcache")


def test_stripping_twice_changes_nothing() -> None:
    once = strip(module_of(""))
    assert strip(once) == once


@pytest.mark.conformance
def test_readelf_reads_the_result(tmp_path: Path) -> None:
    readelf = shutil.which("readelf")
    if readelf is None:
        pytest.skip("needs binutils")
    path = tmp_path / "module.ko"
    path.write_bytes(strip(module_of("")))
    command = [readelf, "-W", "-S", "-s", "-r", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Warning" not in done.stderr
    assert "contains 2 entries" in done.stdout  # relocations
    assert "contains 4 entries" in done.stdout  # symbols: null, .L2, init_module, printk
    printk = next(line for line in done.stdout.splitlines() if "printk + 0" in line)
    assert "R_RISCV_CALL_PLT" in printk


@pytest.mark.parametrize(
    "data", [b"", b"\x7fELF", b"MZ" * 64, module_of("", with_signature=False)[:-1]]
)
def test_what_is_no_module_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        strip(data)


@settings(derandomize=True, max_examples=200)
@given(st.integers(0, 1900), st.binary(min_size=1, max_size=8))
def test_a_damaged_module_is_refused_or_read(at: int, noise: bytes) -> None:
    """A damaged module gives a FormatError or bytes, nothing else."""
    data = bytearray(module_of("x", with_signature=False))
    data[at : at + len(noise)] = noise
    with suppress(FormatError):
        strip(bytes(data))


def test_modules_are_loaded_after_what_they_need() -> None:
    modules = {
        "virtio_net": Module("virtio_net", b"", ("net_failover",)),
        "net_failover": Module("net_failover", b"", ("failover",)),
        "failover": Module("failover", b"", ()),
    }
    order = [module.name for module in load_order(modules, ["virtio_net"])]
    assert order == ["failover", "net_failover", "virtio_net"]
    del modules["failover"]
    with pytest.raises(ImageError, match="no module failover, which net_failover needs"):
        load_order(modules, ["virtio_net"])
