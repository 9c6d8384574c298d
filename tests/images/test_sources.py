"""The host's apt configuration, read without apt."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from maquina.images.release import host_keyrings
from maquina.images.sources import (
    AptConfiguration,
    paragraphs,
    read_settings,
    read_sources,
    without_credentials,
)

ONE_LINE = """\
# deb http://commented.example.org/debian trixie main
deb-src http://sources.example.org/debian trixie main
deb [arch=amd64 signed-by=/usr/share/keyrings/a.gpg] http://one.example.org/debian/ trixie main
deb http://security.example.org/debian-security trixie-security main
deb cdrom:[Debian]/ trixie main
"""
DEB822 = """\
Types: deb deb-src
URIs: https://two.example.org/archive mirror+file:{mirrors}
Suites: trixie trixie-updates
Components: main contrib
Signed-By: /usr/share/keyrings/b.pgp

Types: deb
URIs: http://disabled.example.org/debian
Suites: trixie
Components: main
Enabled: no
"""


@pytest.fixture
def etc_apt(tmp_path: Path) -> Path:
    etc = tmp_path / "apt"
    (etc / "sources.list.d").mkdir(parents=True)
    (etc / "sources.list").write_text(ONE_LINE)
    mirrors = tmp_path / "mirrors.list"
    mirrors.write_text("http://three.example.org/debian\tpriority:1\n")
    (etc / "sources.list.d" / "x.sources").write_text(DEB822.format(mirrors=mirrors))
    return etc


def test_mirrors_in_the_order_to_try(etc_apt: Path) -> None:
    configuration = AptConfiguration(read_sources(etc_apt))
    assert configuration.mirrors() == [
        "http://one.example.org/debian",
        "http://three.example.org/debian",
        "https://two.example.org/archive",
    ]
    assert configuration.security_mirror() == "http://security.example.org/debian-security"
    keys = configuration.keyrings_of("http://one.example.org/debian")
    assert keys == [Path("/usr/share/keyrings/a.gpg")]


def test_a_host_without_apt(tmp_path: Path) -> None:
    configuration = AptConfiguration(read_sources(tmp_path / "nothing"))
    assert configuration.mirrors() == []
    assert configuration.security_mirror() is None
    assert configuration.checks_valid_until


@pytest.mark.conformance
def test_settings_are_apts_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("apt-config") is None:
        pytest.skip("needs apt")
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    (tmp_path / "apt.conf").write_text(
        f'Dir::Etc "{tmp_path}";\n'
        'Acquire { Check-Valid-Until "no"; http { Proxy "http://proxy.example.org:3142"; '
        'Proxy { direct.example.org "DIRECT"; }; }; };\n'
    )
    configuration = AptConfiguration((), read_settings())
    assert not configuration.checks_valid_until
    assert configuration.proxy("http://a.example.org/x") == "http://proxy.example.org:3142"
    assert configuration.proxy("http://direct.example.org/x") == "DIRECT"
    assert configuration.proxy("https://a.example.org/x") is None


def test_credentials_stay_outside() -> None:
    url = "http://user:secret@mirror.example.org:8080/debian"
    assert without_credentials(url) == "http://mirror.example.org:8080/debian"
    assert AptConfiguration().proxy(url) is None


def test_keyrings_of_other_archives_are_not_asked(tmp_path: Path) -> None:
    shared = tmp_path / "keyrings"
    shared.mkdir()
    for name in ("debian-archive-keyring.gpg", "debian-archive-removed-keys.gpg", "other.gpg"):
        (shared / name).write_bytes(b"")
    mirror_key = tmp_path / "mine.gpg"
    mirror_key.write_bytes(b"")
    found = host_keyrings([mirror_key, tmp_path / "missing"], shared, tmp_path / "apt")
    assert found == [mirror_key, shared / "debian-archive-keyring.gpg"]


def test_paragraphs_join_continued_lines() -> None:
    text = "A: 1\n 2\n 3\nb: x\n\n\n# comment\nC:\n y\n"
    assert list(paragraphs(text)) == [{"a": "1\n2\n3", "b": "x"}, {"c": "\ny"}]
