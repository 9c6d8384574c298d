"""Which packages a system needs: dependencies followed greedily.

A fresh system has nothing to upgrade or remove, so no search is needed: each dependency is met by
what is chosen already, else by the best alternative that does not clash with it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from maquina.errors import ImageError
from maquina.images.index import Atom, Index, Package


class Resolver:
    """The packages chosen so far, by name, in the order they were chosen."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self.chosen: dict[str, Package] = {}
        self._waiting: deque[tuple[tuple[Atom, ...], str]] = deque()

    def add(self, names: Iterable[str]) -> None:
        """Choose these packages and all they need. ImageError if that cannot be."""
        for name in names:
            self._choose(self._named(name), "you")
        while self._waiting:
            group, asker = self._waiting.popleft()
            if not any(self._is_met(atom) for atom in group):
                self._choose(self._best(group, asker), asker)

    def _named(self, name: str) -> Package:
        """A package the user named; a virtual one if a single package provides it."""
        if name not in self._index:
            providers = self._index.candidates(Atom(name))
            if len(providers) == 1:
                return providers[0]
        return self._index.get(name)

    def _choose(self, package: Package, asker: str) -> None:
        if package.name in self.chosen:
            return
        clash = self._clash(package)
        if clash:
            raise ImageError(
                f"{package.name}, which {asker} asked for, cannot be together with {clash}",
                "leave one of them out",
            )
        self.chosen[package.name] = package
        self._waiting.extend((group, package.name) for group in package.depends)

    def _is_met(self, atom: Atom) -> bool:
        return any(package.name in self.chosen for package in self._index.candidates(atom))

    def _best(self, group: tuple[Atom, ...], asker: str) -> Package:
        """Of all that would do: no clash, then what every Debian has (mawk before gawk), then the
        order given."""
        options = [package for atom in group for package in self._index.candidates(atom)]
        if not options:
            wanted = " or ".join(map(str, group))
            raise ImageError(
                f"{asker} needs {wanted}, which this suite does not have",
                "leave it out, or try again later if the suite is being updated",
            )
        return min(
            options, key=lambda each: (bool(self._clash(each)), each.priority != "required")
        )

    def _clash(self, package: Package) -> str:
        """A chosen package that this one cannot be together with; empty if there is none."""
        for other in self.chosen.values():
            if _excludes(package, other) or _excludes(other, package):
                return other.name
        return ""


def _excludes(package: Package, other: Package) -> bool:
    if package.name == other.name:
        return False
    for atom in package.conflicts:
        if atom.name == other.name and atom.admits(other.version):
            return True
        if any(atom.name == each.name and atom.admits(each.version) for each in other.provides):
            return True
    return False
