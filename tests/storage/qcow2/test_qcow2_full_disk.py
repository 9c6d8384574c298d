"""The host's disk is full: the guest sees I/O errors, and the image stays whole."""

from __future__ import annotations

import errno
import random
import resource
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from maquina.errors import HostError
from maquina.storage.formats import open_image
from maquina.storage.hostfile import HostFile
from maquina.storage.qcow2 import tables
from maquina.storage.qcow2.check import check
from maquina.storage.qcow2.create import Options, create
from maquina.storage.qcow2.image import Qcow2Image

SECTOR = 512
SIZE = 128 << 10
LAYOUTS = {
    "512B": Options(cluster_size=512, refcount_bits=64),
    "4k": Options(cluster_size=4096),
    "subclusters": Options(cluster_size=16384, extended_l2=True),
}


class FailingFile(HostFile):
    """Write number `failing` stores half of its sectors and finds the disk full."""

    def __init__(self, path: Path, failing: int) -> None:
        super().__init__(path, is_read_only=False)
        self.writes_left = failing

    def write_from(self, offset: int, buffers: Sequence[memoryview]) -> None:
        self.writes_left -= 1
        if self.writes_left == -1:
            whole = b"".join(buffers)
            stored = max((offset + len(whole) // 2 & -SECTOR) - offset, 0)
            super().write_from(offset, [memoryview(whole)[:stored]])
            raise OSError(errno.ENOSPC, "the disk is full")
        super().write_from(offset, buffers)


def run(path: Path, failing: int) -> bool:
    """A session in which one write fails; whether it came to that."""
    file = FailingFile(path, failing)
    image, rng = Qcow2Image(file), random.Random(2)
    old = bytearray(SIZE)
    new = bytearray(SIZE)  # where it differs from `old`, either may be found
    for _ in range(30):
        length = rng.randrange(1, rng.choice((3, 60))) * SECTOR
        start = rng.randrange(0, SIZE - length, SECTOR)
        data = rng.choice((rng.randbytes(length), bytes(length)))
        try:
            if any(data):
                image.write_from(start, [memoryview(data)])
            else:
                image.write_zeros(start, length)
            old[start : start + length] = new[start : start + length] = data
            if rng.random() < 0.3:
                image.flush()
        except OSError as error:
            assert error.errno == errno.ENOSPC
            new[start : start + length] = data
    try:
        image.close()
    except OSError as error:
        assert error.errno == errno.ENOSPC
        return True
    report = check(path)
    assert not report.errors, report.messages
    image = Qcow2Image(HostFile(path, is_read_only=True))
    found = bytearray(SIZE)
    image.read_into(0, [memoryview(found)])
    image.close()
    for at in range(0, SIZE, SECTOR):
        sector = slice(at, at + SECTOR)
        assert found[sector] in (old[sector], new[sector]), at
    return file.writes_left < 0


@pytest.fixture(params=LAYOUTS)
def options(request: pytest.FixtureRequest) -> Iterator[Options]:
    yield LAYOUTS[request.param]


def test_any_write_may_fail(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "CACHE_BYTES", 16 * options.cluster_size)
    failing, has_failed = 0, True
    while has_failed:
        path = tmp_path / f"{failing}.qcow2"
        create(path, SIZE, options=options)
        has_failed = run(path, failing)
        report = check(path)
        assert not report.errors, report.messages
        path.unlink()
        failing += 1
    assert failing > 15


def test_a_real_limit(tmp_path: Path) -> None:
    path, limit = tmp_path / "disk.qcow2", 1 << 20
    create(path, 64 << 20, options=Options(cluster_size=4096))
    disk = open_image(path)
    data = memoryview(random.Random(1).randbytes(100_000))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        stored = []
        for offset in range(0, 2 * limit, len(data)):
            try:
                disk.write_from(offset, [data])
                stored.append(offset)
            except OSError as error:
                assert error.errno == errno.EFBIG
        assert 5 < len(stored) < 12
        disk.flush()
        with pytest.raises(HostError, match="cannot be written"):
            create(tmp_path / "another", 1 << 50, options=Options(cluster_size=2 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / "another").exists()
    disk.write_from(2 * limit, [data])  # there is room again
    disk.close()
    assert check(path).is_clean
    disk = open_image(path, read_only=True)
    for offset in [*stored, 2 * limit]:
        found = bytearray(len(data))
        disk.read_into(offset, [memoryview(found)])
        assert found == data
    disk.close()
