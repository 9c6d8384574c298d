"""What a guest's own apt is told: the mirror its system came from, and how to reach it.

Credentials of the host never enter a guest: addresses are written without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from maquina.errors import NetworkError, SignatureError
from maquina.images.archive import Archive, Tools, Trust, find_archive
from maquina.images.sources import AptConfiguration, without_credentials
from maquina.storage.layers.writer import LayerWriter

_KEYRING = "/usr/share/keyrings/debian-archive-keyring.pgp"
_ROLLING = ("sid", "unstable")  # suites that have neither updates nor security archives
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def find_updates(tools: Tools, archive: Archive, trust: Trust) -> list[Archive]:
    """The archives of updates that go with a suite: those that are whole and vouched for.

    One that is not would make every `apt-get update` in the guest fail, so it is left out and a
    note says so.
    """
    if archive.suite in _ROLLING:
        return []
    places = [(archive.mirror, f"{archive.suite}-updates")]
    security = trust.configuration.security_mirror()
    if security:
        places.append((security, f"{archive.suite}-security"))
    found = []
    for mirror, suite in places:
        try:
            updates = find_archive(tools, suite, archive.architecture, trust, mirror)
            updates.index()
            found.append(updates)
        except (NetworkError, SignatureError) as error:
            tools.progress.note(f"the guest's apt will not ask for {suite}: {error.message}")
    return found


def write_apt_settings(
    writer: LayerWriter, archives: Sequence[Archive], configuration: AptConfiguration
) -> None:
    """Sources and settings for apt inside the guest."""
    archive = archives[0]
    suites: dict[str, list[str]] = {}
    for each in archives:
        suites.setdefault(without_credentials(each.mirror), []).append(each.suite)
    stanzas = [_stanza(mirror, names) for mirror, names in suites.items()]
    writer.file("etc/apt/sources.list.d/debian.sources", "\n".join(stanzas).encode(), 0o644)
    lines = ['Acquire::Languages "none";']
    if not configuration.checks_valid_until:
        lines.append('Acquire::Check-Valid-Until "false";')
    proxy = configuration.proxy(archive.mirror)
    if proxy and urlsplit(proxy).hostname not in (None, *_LOOPBACK):
        scheme = urlsplit(archive.mirror).scheme
        lines.append(f'Acquire::{scheme}::Proxy "{without_credentials(proxy)}";')
    writer.file("etc/apt/apt.conf.d/80maquina", _lines(lines), 0o644)


def _stanza(uri: str, suites: list[str]) -> str:
    return (
        f"Types: deb\nURIs: {uri}\nSuites: {' '.join(suites)}\n"
        f"Components: main\nSigned-By: {_KEYRING}\n"
    )


def _lines(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
