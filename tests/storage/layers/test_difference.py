"""A stack's changes as a layer: with it on top of the same layers, the tree is the same."""

from __future__ import annotations

import random
import stat
from pathlib import Path

import pytest
from tests.storage.layers.stack_pair import Pair, read, seen, unpack

from maquina.errors import FormatError
from maquina.storage.layers.difference import Keeps, everything, write_difference
from maquina.storage.layers.layer import Layer
from maquina.storage.layers.stack import Stack
from maquina.storage.layers.upper import Upper
from maquina.storage.layers.writer import LayerWriter


def write(stack: Stack, layers: list[Layer], path: Path, keeps: Keeps = everything) -> Layer:
    with LayerWriter(path) as writer:
        write_difference(stack, layers, writer, keeps, limit_bytes=1 << 24)
        return writer.finish()


@pytest.mark.parametrize("seed", range(40))
def test_the_tree_is_the_same(layer: Layer, tmp_path: Path, seed: int) -> None:
    """Twice: the second difference is to the layer and the first one."""
    choose, host, layers = random.Random(seed), tmp_path / "host", [layer]
    host.mkdir()
    for number in range(2):
        with Stack(layers, Upper.temporary(tmp_path)) as stack:
            if not number:
                unpack(stack, host)
            pair = Pair(stack, host)
            for _ in range(100):
                pair.step(choose)
            result = seen(stack)
            layers.append(write(stack, layers, tmp_path / f"difference{number}"))
        with Stack(layers, Upper.temporary(tmp_path)) as stack:
            assert seen(stack) == result, f"seed {seed}, difference {number}"
    for each in layers[1:]:
        each.close()


def test_attributes_stay(layer: Layer, tmp_path: Path) -> None:
    with Stack([layer], Upper.temporary(tmp_path)) as stack:
        new = stack.create(1, b"new", stat.S_IFREG | 0o6755, (5, 6)).ino
        stack.set_xattr(new, b"security.capability", b"\1\2", 0)
        stack.change(new, {"mtime_ns": 7_000_000_000})
        stack.create(1, b"null", stat.S_IFCHR | 0o666, (0, 0), 0x103)
        stack.create(1, b"empty", stat.S_IFDIR | 0o2775, (7, 8))
        with write(stack, [layer], tmp_path / "difference") as difference:
            assert set(difference.entries(difference.record(0))) == {b"new", b"null", b"empty"}
            with Stack([layer, difference], Upper.temporary(tmp_path)) as again:
                file = again.find("new")
                assert (file.mode, file.uid, file.gid) == (stat.S_IFREG | 0o6755, 5, 6)
                assert file.mtime_ns == 7_000_000_000
                assert again.xattrs(file.ino) == {b"security.capability": b"\1\2"}
                assert again.find("null").rdev == 0x103
                assert (again.find("empty").mode, again.find("empty").gid) == (0o42775, 8)


def test_what_is_not_kept_is_as_the_layers_have_it(layer: Layer, tmp_path: Path) -> None:
    with Stack([layer], Upper.temporary(tmp_path)) as stack:
        stack.write_from(stack.find("a/a").ino, 0, [memoryview(b"changed")])
        stack.remove(stack.find("a").ino, b"b", False)
        stack.write_from(stack.find("b/a").ino, 0, [memoryview(b"changed")])
        keeps: Keeps = lambda path, ino: path != b"a"  # noqa: E731
        with (
            write(stack, [layer], tmp_path / "difference", keeps) as difference,
            Stack([layer, difference], Upper.temporary(tmp_path)) as again,
        ):
            assert again.find("a/b").size == 3 * 3000
            assert read(again, "a/a").startswith(b"a/a")
            assert read(again, "b/a").startswith(b"changed")


def test_a_file_that_is_all_hole_is_refused(layer: Layer, tmp_path: Path) -> None:
    with Stack([layer], Upper.temporary(tmp_path)) as stack:
        stack.change(stack.find("a/b").ino, {"size": 1 << 40})
        with pytest.raises(FormatError, match="more was written"):
            write(stack, [layer], tmp_path / "difference")
    assert not (tmp_path / "difference").exists()
