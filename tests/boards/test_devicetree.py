"""The device tree writer and reader, against the device tree compiler where it is installed."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maquina.boards.devicetree import Node, cells, cells64, parse
from maquina.errors import FormatError


def example() -> Node:
    root = Node("")
    root["compatible"] = ["acme,box", "riscv-virtio"]
    root["#address-cells"] = 2
    root["#size-cells"] = 2
    root.child("memory@80000000", {"device_type": "memory", "reg": cells64(1 << 31, 1 << 20)})
    soc = root.child("soc", {"ranges": None, "#address-cells": 1, "#size-cells": 0})
    soc.child("thing@1", {"reg": cells(1), "odd": b"abc"})
    return root


def test_round_trip() -> None:
    assert parse(example().flatten()) == example()


def test_property_encodings() -> None:
    root = parse(example().flatten())
    assert root["compatible"] == b"acme,box\0riscv-virtio\0"
    assert root["#address-cells"] == b"\0\0\0\2"
    assert root.find("soc")["ranges"] == b""
    assert [node.name for node in root.walk()] == ["", "memory@80000000", "soc", "thing@1"]


def test_missing_node_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        example().find("soc/nothing")


def test_dtc_reads_what_we_write() -> None:
    dtc = shutil.which("dtc")
    if dtc is None:
        pytest.skip("needs dtc (package device-tree-compiler)")
    command = [dtc, "-q", "-I", "dtb", "-O", "dtb", "-V", "17", "-"]
    done = subprocess.run(command, input=example().flatten(), capture_output=True, check=True)
    assert parse(done.stdout) == example()


@settings(derandomize=True, max_examples=300)
@given(st.data())
def test_damaged_blobs(data: st.DataObject) -> None:
    """Invariant: any damage to a blob gives a tree or a FormatError, nothing else."""
    blob = bytearray(example().flatten())
    for _ in range(data.draw(st.integers(1, 4))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    try:
        parse(bytes(blob[: data.draw(st.integers(0, len(blob)))]))
    except FormatError as error:
        assert error.remedy
