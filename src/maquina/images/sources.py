"""What the host's apt is configured to use (sources.list(5), apt.conf(5)): mirrors, proxies, keys.

Nothing here goes to the network. A host without apt has an empty configuration, and its user names
a mirror.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

ETC_APT = Path("/etc/apt")
_TRUE = ("1", "true", "yes", "on", "enable", "with")


@dataclass(frozen=True)
class Source:
    """One line or stanza of a sources list: a mirror, its suites, who signs it."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: tuple[Path, ...] = ()


@dataclass(frozen=True)
class AptConfiguration:
    """The host's sources in their order, and the settings under `Acquire::`."""

    sources: tuple[Source, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)

    def mirrors(self) -> list[str]:
        """Where whole suites may be: those that look like Debian's archive first."""
        whole = [
            source.uri
            for source in self.sources
            if "main" in source.components and not all("-security" in s for s in source.suites)
        ]
        whole = list(dict.fromkeys(whole))
        return sorted(whole, key=lambda uri: not urlsplit(uri).path.rstrip("/").endswith("debian"))

    def security_mirror(self) -> str | None:
        """Where security updates are, if the host asks for them."""
        for source in self.sources:
            if source.suites and all(suite.endswith("-security") for suite in source.suites):
                return source.uri
        return None

    def keyrings_of(self, uri: str) -> list[Path]:
        """The keys that the host trusts for one mirror alone (Signed-By)."""
        return [key for source in self.sources if source.uri == uri for key in source.signed_by]

    def proxy(self, url: str) -> str | None:
        """The proxy apt would use: None if nothing is said, "DIRECT" for none."""
        parts = urlsplit(url)
        names = (f"acquire::{parts.scheme}::proxy::{parts.hostname}",
                 f"acquire::{parts.scheme}::proxy")  # fmt: skip
        return next((value for name in names if (value := self.settings.get(name))), None)

    @property
    def checks_valid_until(self) -> bool:
        """Whether an expired index is refused. Frozen mirrors are used with this switched off."""
        return self.settings.get("acquire::check-valid-until", "true").lower() in _TRUE


def read_configuration() -> AptConfiguration:
    """What apt on this host is told."""
    return AptConfiguration(read_sources(ETC_APT), read_settings())


def read_sources(etc_apt: Path) -> tuple[Source, ...]:
    """The sources lists in a directory. Unreadable files and unknown options are passed over."""
    sources: list[Source] = []
    main = etc_apt / "sources.list"
    parts = etc_apt / "sources.list.d"
    for path in [main, *sorted(parts.glob("*.list"))]:
        sources += _one_line_style(_text(path))
    for path in sorted(parts.glob("*.sources")):
        sources += _deb822_style(_text(path))
    return tuple(_expanded(sources))


def read_settings() -> dict[str, str]:
    """The settings under `Acquire`, by lower-case name; none on a host without apt.

    apt reads them itself: the syntax has nested scopes and includes.
    """
    apt_config = shutil.which("apt-config")
    if apt_config is None:
        return {}
    command = [apt_config, "dump", "Acquire"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    lines = re.findall(r'^(\S+) "(.*)";$', done.stdout, re.MULTILINE)
    return {name.lower(): value for name, value in lines}


def without_credentials(url: str) -> str:
    """The URL without `user:password@`, fit for messages and for the inside of a guest."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def paragraphs(text: str) -> Iterator[dict[str, str]]:
    """The stanzas of a control file (deb822(5)): fields by lower-case name, lines joined."""
    fields: dict[str, str] = {}
    name = ""
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if fields:
                yield fields
            fields, name = {}, ""
        elif line[0] in " \t" and name:
            fields[name] += "\n" + line.strip()
        else:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _one_line_style(text: str) -> Iterator[Source]:
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[([^]]*)\]\s*)?(\S+)\s+(\S+)([^#]*)", line)
        if match:
            options, uri, suite, components = match.groups()
            signed_by = re.search(r"signed-by=(\S+)", options or "")
            keys = tuple(Path(key) for key in signed_by[1].split(",")) if signed_by else ()
            yield Source(uri, (suite,), tuple(components.split()), keys)


def _deb822_style(text: str) -> Iterator[Source]:
    for stanza in paragraphs(text):
        if "deb" not in stanza.get("types", "").split():
            continue
        if stanza.get("enabled", "yes").lower() not in _TRUE:
            continue
        keys = tuple(Path(key) for key in stanza.get("signed-by", "").split() if key[0] == "/")
        suites = tuple(stanza.get("suites", "").split())
        components = tuple(stanza.get("components", "").split())
        for uri in stanza.get("uris", "").split():
            yield Source(uri, suites, components, keys)


def _expanded(sources: list[Source]) -> Iterator[Source]:
    """Mirror lists replaced by the mirrors in them, other transports than HTTP left out."""
    for source in sources:
        uris = [source.uri]
        if source.uri.startswith("mirror+file:"):
            path = Path(urlsplit(source.uri.removeprefix("mirror+")).path)
            uris = [words[0] for line in _text(path).splitlines() if (words := line.split())]
        for uri in uris:
            if uri.startswith(("http://", "https://")):
                yield Source(uri.rstrip("/"), source.suites, source.components, source.signed_by)
