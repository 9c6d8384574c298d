"""Package lists and the choice of packages from them."""

from __future__ import annotations

import pytest

from maquina.errors import FormatError, ImageError
from maquina.images.index import Atom, Index, parse_relations
from maquina.images.resolve import Resolver


def index_of(*stanzas: str) -> Index:
    more = f"Filename: pool/x.deb\nSize: 10\nSHA256: {'0' * 64}\n"
    return Index("\n".join(f"{stanza}\n{more}" for stanza in stanzas).encode())


def chosen(index: Index, *names: str) -> set[str]:
    resolver = Resolver(index)
    resolver.add(names)
    return set(resolver.chosen)


def test_relations() -> None:
    assert parse_relations("libc6 (>= 2.36), python3:any | perl, , x(=1)") == (
        (Atom("libc6", ">=", "2.36"),),
        (Atom("python3"), Atom("perl")),
        (Atom("x", "=", "1"),),
    )


def test_the_newest_version_counts() -> None:
    index = index_of("Package: a\nVersion: 1.9", "Package: a\nVersion: 1.10")
    assert index.get("a").version == "1.10"


def test_alternatives_and_virtual_packages() -> None:
    index = index_of(
        "Package: a\nVersion: 1\nDepends: missing | awk, x",
        "Package: gawk\nVersion: 5\nProvides: awk",
        "Package: mawk\nVersion: 1\nPriority: required\nProvides: awk",
        "Package: x\nVersion: 1\nDepends: a (>= 1), y (<< 2) | z",
        "Package: y\nVersion: 2",
        "Package: z\nVersion: 1",
    )
    assert chosen(index, "a") == {"a", "mawk", "x", "z"}
    assert chosen(index, "gawk", "a") == {"a", "gawk", "x", "z"}


def test_a_versioned_dependency_needs_a_versioned_provider() -> None:
    index = index_of(
        "Package: a\nVersion: 1\nDepends: api (>= 2)",
        "Package: plain\nVersion: 9\nProvides: api",
        "Package: old\nVersion: 9\nProvides: api (= 1)",
        "Package: new\nVersion: 9\nProvides: other, api (= 2)",
    )
    assert chosen(index, "a") == {"a", "new"}


def test_a_clash_is_avoided_or_told() -> None:
    index = index_of(
        "Package: a\nVersion: 1\nDepends: x | y",
        "Package: b\nVersion: 1\nConflicts: x",
        "Package: c\nVersion: 1\nBreaks: x (<< 1)",
        "Package: x\nVersion: 1",
        "Package: y\nVersion: 1",
    )
    assert chosen(index, "b", "a") == {"a", "b", "y"}
    assert chosen(index, "c", "x") == {"c", "x"}
    with pytest.raises(ImageError, match="b, which you asked for, cannot be together with x"):
        chosen(index, "x", "b")


def test_a_name_that_one_package_provides() -> None:
    index = index_of("Package: mawk\nVersion: 1\nProvides: awk")
    assert chosen(index, "awk") == {"mawk"}


def test_unknown_names_have_neighbours() -> None:
    index = index_of("Package: python3\nVersion: 3", "Package: perl\nVersion: 5")
    with pytest.raises(ImageError, match="did you mean python3"):
        index.get("phyton3")


def test_a_stanza_without_a_hash_is_refused() -> None:
    index = Index(b"Package: a\nVersion: 1\nSize: 10\nSHA256: 12\n")
    with pytest.raises(FormatError, match="stanza of a"):
        index.get("a")


def test_required_packages() -> None:
    index = index_of(
        "Package: a\nEssential: yes\nVersion: 1",
        "Package: b\nVersion: 1\nPriority: required",
        "Package: c\nVersion: 1\nPriority: optional",
    )
    assert index.required() == ["a", "b"]
