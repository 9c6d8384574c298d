"""A disk's path in our process: virtio-blk, image format, host file, with the host as the driver.

A driver in Python keeps 32 requests of 128 KiB in flight and reads or writes one after another,
as a guest's kernel would; the driver's own time counts. The peer is `qemu-img bench`, QEMU's block
layer without a machine, on the same image with the same sizes. The host's page cache holds all.
"""

from __future__ import annotations

import re
import struct
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.devices.driver import Driver, Pci, Ring

from bench.ratios import Missing, Promise, Result, Sample, alternate, compare
from maquina.devices.virtio.block import F_FLUSH, Block
from maquina.storage.formats import open_image

DISK_BYTES = 256 << 20
REQUEST_BYTES = 128 << 10
DEPTH = 32
READ, WRITE = 0, 1
HEADER = struct.Struct("<IxxxxQ")
SECTOR = 512
TAKEN = re.compile(r"Run completed in ([0-9.]+) seconds")


def measure(directory: Path, pairs: int) -> list[Result]:
    results = []
    promise = Promise.value_above(300, "MB/s")
    for image_format in ("raw", "qcow2"):
        path = directory / f"disk.{image_format}"
        _make(path, image_format)
        for kind, name in ((READ, "read"), (WRITE, "write")):
            samples = alternate(
                partial(_through_device, path, image_format, kind),
                partial(_through_qemu, path, image_format, kind),
                pairs,
            )
            title = f"disk, {image_format}, sequential {name}"
            results.append(compare(title, "MB/s", "qemu-img bench", samples, promise))
    return results


def _make(path: Path, image_format: str) -> None:
    """An image without holes."""
    size = ["qemu-img", "create", "-q", "-f", image_format, str(path), str(DISK_BYTES)]
    fill = ["qemu-io", "-f", image_format, "-c", f"write -q -P 90 0 {DISK_BYTES}", str(path)]
    try:
        for argv in (size, fill):
            subprocess.run(argv, check=True)
    except FileNotFoundError as error:
        raise Missing("qemu-img and qemu-io are not installed") from error


def _through_qemu(path: Path, image_format: str, kind: int) -> Sample:
    argv = ["qemu-img", "bench", "-f", image_format, "-c", str(DISK_BYTES // REQUEST_BYTES)]
    argv += ["-d", str(DEPTH), "-s", str(REQUEST_BYTES), "-t", "writeback"]
    argv += ["-w"] if kind == WRITE else []
    said = subprocess.run([*argv, path], check=True, capture_output=True, text=True).stdout
    found = TAKEN.search(said)
    if found is None:
        raise RuntimeError(f"qemu-img bench says:\n{said}")
    return Sample(DISK_BYTES / 1e6 / float(found[1]))


def _through_device(path: Path, image_format: str, kind: int) -> Sample:
    image = open_image(path, image_format=image_format)
    pci = Pci(Block(image))
    try:
        driver = Driver(pci)
        (ring,) = driver.start(F_FLUSH)  # without it the device flushes each write by itself
        requests = _Requests(pci, ring, kind)
        began = time.perf_counter()
        for first in range(0, DISK_BYTES // REQUEST_BYTES, DEPTH):
            requests.run(first)
        return Sample(DISK_BYTES / 1e6 / (time.perf_counter() - began))
    finally:
        pci.close()
        image.close()


class _Requests:
    """DEPTH requests, their buffers made once."""

    def __init__(self, pci: Pci, ring: Ring, kind: int) -> None:
        self._ring, self._kind = ring, kind
        self._write: Callable[[int, bytes], None] = pci.memory.write
        self._status = pci.memory.read
        self._places = [
            (pci.allocate(16), pci.allocate(REQUEST_BYTES, 4096), pci.allocate(1))
            for _ in range(DEPTH)
        ]

    def run(self, first: int) -> None:
        """The requests from number `first` on; RuntimeError unless all succeed."""
        for number, (header, data, status) in enumerate(self._places, first):
            sector = number * REQUEST_BYTES // SECTOR
            self._write(header, HEADER.pack(self._kind, sector))
            self._ring.add(
                [(header, 16, False), (data, REQUEST_BYTES, self._kind == READ), (status, 1, True)]
            )
        self._ring.kick()
        if len(self._ring.collect()) != DEPTH:
            raise RuntimeError("requests are missing")
        if any(self._status(status, 1) != b"\0" for _, _, status in self._places):
            raise RuntimeError("a request failed")
