"""A mirror's list of packages, read as far as somebody asks.

The text of 66,000 stanzas takes seconds to parse and a fifth of a second to scan, and a resolver
needs a hundred of them: the scan notes where each package begins and who provides what; a stanza
is parsed when it is wanted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property

from maquina.errors import FormatError, ImageError
from maquina.images import versions
from maquina.images.sources import paragraphs

_PACKAGE = re.compile(rb"^Package: (.+)$", re.MULTILINE)
_PROVIDES = re.compile(rb"^Provides: (.+)$", re.MULTILINE)
_REQUIRED = re.compile(rb"^(?:Essential: yes|Priority: required)$", re.MULTILINE)
_ATOM = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9+.-]*)(?::[\w-]+)?\s*(?:\(\s*(<<|<=|=|>=|>>)\s*([^)\s]+)\s*\))?"
)
_HASH = re.compile(r"[0-9a-f]{64}")

MAX_PACKAGE = 1 << 30  # bytes of one .deb: a signed list may still be wrong, a disk is finite


@dataclass(frozen=True)
class Atom:
    """A name in a dependency, with the version it asks for."""

    name: str
    relation: str = ""
    version: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.relation} {self.version})" if self.relation else self.name

    def admits(self, version: str) -> bool:
        """Whether a version will do. Nothing (an unversioned Provides) admits no relation."""
        if not self.relation:
            return True
        return bool(version) and versions.satisfies(version, self.relation, self.version)


@dataclass(frozen=True)
class Package:
    """One stanza of the list: what the resolver and the download need of it."""

    name: str
    version: str
    path: str
    size_bytes: int
    sha256: str
    priority: str
    depends: tuple[tuple[Atom, ...], ...]
    """All of them, any one of each."""
    provides: tuple[Atom, ...]
    conflicts: tuple[Atom, ...]


def parse_relations(text: str) -> tuple[tuple[Atom, ...], ...]:
    """A dependency field (deb-control(5)): alternatives joined by `|`, groups by commas."""
    groups = []
    for group in text.replace("\n", " ").split(","):
        atoms = []
        for alternative in group.split("|"):
            match = _ATOM.match(alternative.strip())
            if match:
                atoms.append(Atom(match[1], match[2] or "", match[3] or ""))
        if atoms:
            groups.append(tuple(atoms))
    return tuple(groups)


class Index:
    """Packages by name, newest version of each, and the virtual ones by what provides them."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._starts: dict[str, list[int]] = {}
        for match in _PACKAGE.finditer(text):
            self._starts.setdefault(match[1].decode(errors="replace"), []).append(match.start())
        self._parsed: dict[str, Package] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._starts

    def names(self) -> list[str]:
        return list(self._starts)

    def get(self, name: str) -> Package:
        """The newest version of a package. ImageError, naming its neighbours, if there is none."""
        if name not in self._starts:
            near = get_close_matches(name, self._starts, n=3, cutoff=0.75)
            near = near or [each for each in self._starts if sorted(each) == sorted(name)]
            if name in self._providers:
                near = sorted(self._providers[name])
            remedy = f"did you mean {' or '.join(near)}?" if near else "check its spelling"
            raise ImageError(f"there is no package {name} in this suite", remedy)
        if name not in self._parsed:
            versions_of = [self._parse(start) for start in self._starts[name]]
            self._parsed[name] = max(versions_of, key=lambda each: versions.key(each.version))
        return self._parsed[name]

    def candidates(self, atom: Atom) -> list[Package]:
        """What satisfies an atom: the package of that name, then those that provide it."""
        found = []
        if atom.name in self._starts and atom.admits(self.get(atom.name).version):
            found.append(self.get(atom.name))
        for name in self._providers.get(atom.name, ()):
            provider = self.get(name)
            if any(p.name == atom.name and atom.admits(p.version) for p in provider.provides):
                found.append(provider)
        return found

    def required(self) -> list[str]:
        """The packages that every Debian has: essential ones, and those of priority required."""
        return sorted(
            {self._package_at(match.start()) for match in _REQUIRED.finditer(self._text)}
        )

    def newest(self, pattern: str) -> Package | None:
        """Of the packages whose whole name matches, the one of the highest version."""
        matching = [self.get(name) for name in self._starts if re.fullmatch(pattern, name)]
        return max(matching, key=lambda each: versions.key(each.version), default=None)

    @cached_property
    def _providers(self) -> dict[str, list[str]]:
        """Names of packages by what they provide. A kernel is found without it."""
        providers: dict[str, list[str]] = {}
        for match in _PROVIDES.finditer(self._text):
            package = self._package_at(match.start())
            for group in parse_relations(match[1].decode(errors="replace")):
                names = providers.setdefault(group[0].name, [])
                if package not in names:
                    names.append(package)
        return providers

    def _package_at(self, position: int) -> str:
        start = self._stanza_start(position)
        match = _PACKAGE.search(self._text, start)
        return match[1].decode(errors="replace") if match else ""

    def _stanza_start(self, position: int) -> int:
        return self._text.rfind(b"\n\n", 0, position) + 1

    def _parse(self, position: int) -> Package:
        end = self._text.find(b"\n\n", position)
        stanza = self._text[self._stanza_start(position) : end if end >= 0 else None]
        fields = next(paragraphs(stanza.decode(errors="replace")), {})
        size, sha256 = fields.get("size", ""), fields.get("sha256", "")
        if not size.isdigit() or int(size) > MAX_PACKAGE or not _HASH.fullmatch(sha256):
            name = fields.get("package")
            raise FormatError(
                f"the mirror's stanza of {name} makes no sense", "use another mirror"
            )
        wants = ", ".join(fields.get(name, "") for name in ("pre-depends", "depends"))
        clashes = ", ".join(fields.get(name, "") for name in ("conflicts", "breaks"))
        return Package(
            name=fields.get("package", ""),
            version=fields.get("version", ""),
            path=fields.get("filename", ""),
            size_bytes=int(size),
            sha256=sha256,
            priority=fields.get("priority", ""),
            depends=parse_relations(wants),
            provides=tuple(group[0] for group in parse_relations(fields.get("provides", ""))),
            conflicts=tuple(group[0] for group in parse_relations(clashes)),
        )
