"""A signed archive on loopback, and a cache of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.images.fake_mirror import FakeMirror, small_debian

from maquina.images import sources
from maquina.images.cache import Cache


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Cache.of_user()


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeMirror]:
    """An archive with a suite `trixie`, a `testing` that has the kernel, and nothing else."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    empty = sources.AptConfiguration()
    monkeypatch.setattr("maquina.images.bootstrap.read_configuration", lambda: empty)
    monkeypatch.setattr("maquina.images.download.PATIENCE_S", 0.0)
    archive = FakeMirror()
    everything = small_debian()
    system = [package for package in everything if not package.name.startswith("linux-")]
    archive.publish("trixie", system)
    archive.publish("testing", everything, codename="forky")
    yield archive
    archive.close()


@pytest.fixture
def keyring(mirror: FakeMirror, tmp_path: Path) -> Path:
    path = tmp_path / "archive.gpg"
    path.write_bytes(mirror.keyring())
    return path
