"""What a guest's own apt is told: the mirror its system came from, and how to reach it.

Credentials of the host never enter a guest: addresses are written without them.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from maquina.images.archive import Archive
from maquina.images.sources import AptConfiguration, without_credentials
from maquina.storage.layers.writer import LayerWriter

_KEYRING = "/usr/share/keyrings/debian-archive-keyring.pgp"
_ROLLING = ("sid", "unstable")  # suites that have neither updates nor security archives
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def write_apt_settings(
    writer: LayerWriter, archive: Archive, configuration: AptConfiguration
) -> None:
    """Sources and settings for apt inside the guest."""
    mirror = without_credentials(archive.mirror)
    stanzas = [_stanza(mirror, [archive.suite])]
    security = configuration.security_mirror()
    if archive.suite not in _ROLLING:
        stanzas = [_stanza(mirror, [archive.suite, f"{archive.suite}-updates"])]
        if security:
            stanzas.append(_stanza(without_credentials(security), [f"{archive.suite}-security"]))
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
