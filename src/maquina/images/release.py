"""A suite's InRelease file: who signed it, and the hashes of everything else in the suite.

The signature is checked over exactly the bytes that are then read. See "Debian Repository Format"
in the Debian wiki for the fields.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

from maquina.errors import FormatError, NetworkError, SignatureError
from maquina.images.sources import ETC_APT, paragraphs

KEYRINGS = Path("/usr/share/keyrings")
_SUM = re.compile(r"^([0-9a-f]{64})\s+(\d+)\s+(\S+)$")


@dataclass(frozen=True)
class Release:
    """The verified contents: fields by lower-case name, and (SHA-256, size) by path."""

    fields: dict[str, str]
    sums: dict[str, tuple[str, int]]

    @property
    def has_by_hash(self) -> bool:
        """Whether indexes can be fetched by their hash, whatever the mirror is updating."""
        return self.fields.get("acquire-by-hash") == "yes"

    @property
    def valid_until(self) -> datetime | None:
        """When the suite's owner says to stop using this file."""
        return _date(self.fields.get("valid-until"))

    def index(self, component: str, architecture: str) -> tuple[str, str, int] | None:
        """Path, SHA-256 and size of a package list; None if the suite has none like it."""
        path = f"{component}/binary-{architecture}/Packages.xz"
        found = self.sums.get(path)
        return (path, *found) if found else None


def host_keyrings(
    mirror_keys: Sequence[Path] = (), shared: Path = KEYRINGS, etc_apt: Path = ETC_APT
) -> list[Path]:
    """The files with Debian's archive keys on this host, and those trusted for the mirror.

    Other keyrings lie beside them; those belong to other archives and are not asked.
    """
    found = list(mirror_keys)
    for folder in (shared, etc_apt / "trusted.gpg.d"):
        found += sorted(
            path
            for path in folder.glob("debian-archive-*")
            if path.suffix in (".gpg", ".pgp", ".asc") and "removed" not in path.name
        )
    return [path for path in dict.fromkeys(found) if path.is_file()]


def read_release(
    signed: bytes, suite: str, keyrings: Sequence[Path], check_valid_until: bool = True
) -> Release:
    """Verify an InRelease file and read it.

    SignatureError if no key vouches for it, if it is another suite's, or if it has expired.
    """
    text = _verified(signed, keyrings)
    fields = next(paragraphs(text), {})
    sums = {}
    for line in fields.get("sha256", "").splitlines():
        match = _SUM.match(line.strip())
        if match:
            sums[match[3]] = (match[1], int(match[2]))
    if suite not in (fields.get("suite"), fields.get("codename")):
        names = f"{fields.get('suite')} ({fields.get('codename')})"
        raise SignatureError(
            f"the mirror answered with the index of {names}, not of {suite}", "use another mirror"
        )
    release = Release(fields, sums)
    if check_valid_until:
        _check_freshness(release, suite)
    return release


def _verified(signed: bytes, keyrings: Sequence[Path]) -> str:
    import pysequoia

    certificates = _certificates(keyrings)
    if not certificates:
        raise SignatureError(
            "this host has no keys of the Debian archive",
            "install debian-archive-keyring, or name a file of keys with --keyring",
        )
    try:
        verified = pysequoia.verify(bytes=signed, store=lambda _ids: certificates)
    except Exception as error:  # what it raises for a bad signature is documented nowhere
        raise SignatureError(
            f"no known key has signed the mirror's index ({_reason(error)})",
            "use another mirror, or name a file with its keys with --keyring",
        ) from error
    if not verified.valid_sigs or verified.bytes is None:
        raise SignatureError("the mirror's index is not signed", "use another mirror")
    return bytes(verified.bytes).decode(errors="replace")


def _certificates(keyrings: Sequence[Path]) -> list[object]:
    import pysequoia

    found: list[object] = []
    for path in keyrings:
        try:
            found += pysequoia.Cert.split_bytes(path.read_bytes())
        except Exception as error:
            if len(keyrings) == 1:
                raise FormatError(
                    f"{path} cannot be read as a keyring ({_reason(error)})",
                    "name a file of OpenPGP public keys",
                ) from error
    return found


def _reason(error: Exception) -> str:
    """What an OpenPGP error says, without the trace that may follow it."""
    return str(error).partition("\n")[0]


def _check_freshness(release: Release, suite: str) -> None:
    until, now = release.valid_until, datetime.now(UTC)
    if until is not None and until < now:
        raise SignatureError(
            f"the mirror's index of {suite} has expired on {until:%Y-%m-%d}",
            "use a mirror that is up to date; for one frozen on purpose set apt's "
            'Acquire::Check-Valid-Until "false", and check this host\'s clock',
        )


def _date(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def missing_architecture(suite: str, architecture: str, mirror: str) -> NetworkError:
    """What to say of a mirror that has the suite for other processors only."""
    return NetworkError(
        f"{mirror} has no {architecture} packages in {suite}",
        "choose a suite that has them, such as trixie, or another mirror",
    )
