"""One suite of a Debian mirror, for one architecture: its verified index, its packages."""

from __future__ import annotations

import lzma
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from maquina.errors import FormatError, NetworkError
from maquina.images.cache import Cache
from maquina.images.deb import Deb
from maquina.images.download import Downloader, NotThereError, Wanted
from maquina.images.index import Index, Package
from maquina.images.progress import Progress
from maquina.images.release import Release, host_keyrings, missing_architecture, read_release
from maquina.images.sources import AptConfiguration, without_credentials

MAX_INDEX = 1 << 30  # bytes of a package list, unpacked: a compressed bomb would fill memory


class Archive:
    """A suite whose signature has been checked. Everything else is checked by its hashes."""

    def __init__(
        self, mirror: str, suite: str, architecture: str, release: Release, tools: Tools
    ) -> None:
        self.mirror, self.suite, self.architecture = mirror, suite, architecture
        self.progress = tools.progress
        self._release, self._tools = release, tools
        self._indexes: dict[str, Index] = {}

    def index(self) -> Index:
        """The packages of the main component. NetworkError if there are none for us."""
        return self._index("main", is_required=True)

    def installer_index(self) -> Index:
        """The installer's packages; none if the suite has no installer."""
        return self._index("main/debian-installer", is_required=False)

    def fetch(self, package: Package) -> Deb:
        """One package, in the cache afterwards."""
        (deb,) = self.fetch_all([package], package.name)
        return deb

    def fetch_all(self, packages: Sequence[Package], label: str) -> list[Deb]:
        """Packages, in the cache afterwards. NotThereError if the mirror lacks one."""
        wanted = [self._wanted(package) for package in packages]
        self._tools.downloader.fetch(wanted, label)
        return [
            Deb(each.path, package.name) for each, package in zip(wanted, packages, strict=True)
        ]

    def discard(self, packages: Iterable[Package]) -> None:
        """Forget packages that are not worth keeping."""
        for package in packages:
            self._wanted(package).path.unlink(missing_ok=True)

    def _wanted(self, package: Package) -> Wanted:
        url = f"{self.mirror}/{package.path}"
        path = self._tools.cache.path("packages", f"{package.sha256}.deb")
        return Wanted(url, path, package.sha256, package.size_bytes)

    def _index(self, component: str, is_required: bool) -> Index:
        if component not in self._indexes:
            listed = self._release.index(component, self.architecture)
            if listed is None and is_required:
                shown = without_credentials(self.mirror)
                raise missing_architecture(self.suite, self.architecture, shown)
            self._indexes[component] = Index(self._read_index(*listed) if listed else b"")
        return self._indexes[component]

    def _read_index(self, path: str, sha256: str, size: int) -> bytes:
        """The text of a package list: from the cache, where it is kept fast to unpack."""
        import zstandard

        cache = self._tools.cache
        with cache.making("indexes", f"{sha256}.zst", self.progress) as draft:
            if draft is not None:
                packed = self._fetch_index(path, sha256, size)
                draft.write_bytes(zstandard.ZstdCompressor(level=1).compress(_unpacked(packed)))
        text = cache.path("indexes", f"{sha256}.zst").read_bytes()
        return zstandard.ZstdDecompressor().decompress(text, max_output_size=MAX_INDEX)

    def _fetch_index(self, path: str, sha256: str, size: int) -> bytes:
        base = f"{self.mirror}/dists/{self.suite}"
        plain = f"{base}/{path}"
        by_hash = f"{plain.rpartition('/')[0]}/by-hash/SHA256/{sha256}"
        label = f"packages of {self.suite}"
        held = self._tools.cache.path("packages", f"{sha256}.index")
        urls = [by_hash, plain] if self._release.has_by_hash else [plain]
        for url in urls:
            try:
                self._tools.downloader.fetch([Wanted(url, held, sha256, size)], label)
                break
            except NotThereError:
                if url == urls[-1]:
                    raise
        packed = held.read_bytes()
        held.unlink()
        return packed


class Tools:
    """What it takes to read an archive: where things are kept, fetched and reported."""

    def __init__(self, cache: Cache, downloader: Downloader, progress: Progress) -> None:
        self.cache, self.downloader, self.progress = cache, downloader, progress


def _unpacked(packed: bytes) -> bytes:
    try:
        return lzma.LZMADecompressor().decompress(packed, MAX_INDEX)
    except (lzma.LZMAError, EOFError) as error:
        raise FormatError(f"a package list cannot be unpacked ({error})") from error


def find_archive(
    tools: Tools, suite: str, architecture: str, trust: Trust, mirror: str | None = None
) -> Archive:
    """A suite on the named mirror, or on the first of the host's that has it.

    NetworkError if there is none; SignatureError if there is one that nobody vouches for.
    """
    candidates = [mirror.rstrip("/")] if mirror else trust.configuration.mirrors()
    if not candidates:
        raise NetworkError(
            "this host's apt is configured for no mirror", "name a Debian mirror with --mirror"
        )
    reasons = []
    for candidate in candidates:
        try:
            signed = tools.downloader.read(f"{candidate}/dists/{suite}/InRelease")
        except NetworkError as error:
            reasons.append(error.message)
            continue
        keyrings = trust.keyrings or host_keyrings(trust.configuration.keyrings_of(candidate))
        fresh = trust.configuration.checks_valid_until
        release = read_release(signed, suite, keyrings, fresh)
        return Archive(candidate, suite, architecture, release, tools)
    raise NetworkError(
        f"no mirror has the suite {suite}: {'; '.join(reasons)}",
        "check the suite's name and the connection, or name a Debian mirror with --mirror",
    )


@dataclass(frozen=True)
class Trust:
    """What the host's apt says, and the keys to believe: empty for those of the host."""

    configuration: AptConfiguration
    keyrings: tuple[Path, ...] = ()
