"""A small layer that the tests of stacks begin with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from maquina.storage.layers.layer import Layer
from maquina.storage.layers.writer import LayerWriter


@pytest.fixture
def layer(tmp_path: Path) -> Iterator[Layer]:
    with LayerWriter(tmp_path / "layer") as writer:
        for path in ("a/a", "a/b", "a/c/a", "b/a"):
            writer.file(path, path.encode() * 3000, 0o644)
        writer.hardlink("b/b", "a/a")
        writer.symlink("c", "nowhere")
        writer.file("suid", b"x", 0o4755)
        made = writer.finish()
    with made:
        yield made
