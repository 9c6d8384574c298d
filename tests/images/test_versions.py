"""Debian versions sort as dpkg sorts them."""

from __future__ import annotations

import itertools
import shutil
import subprocess

import pytest

from maquina.images.versions import compare, satisfies

ASCENDING = [
    "0~", "0", "0.1~rc1", "0.1", "0.1-0ubuntu1", "0.1-1", "0.1-1+b1", "0.1-1.1", "0.1-10",
    "0.1a-1", "0.1+dfsg-1", "0.1.0-1", "0.2~~-1", "0.2~-1", "0.2~beta-1", "0.2-1", "0.10-1",
    "2.41-12+deb13u4", "1:0.0-1", "1:4.17.4-2", "2:0",
]  # fmt: skip


def test_ascending_versions() -> None:
    for index, older in enumerate(ASCENDING):
        assert compare(older, older) == 0
        for newer in ASCENDING[index + 1 :]:
            assert compare(older, newer) < 0, (older, newer)
            assert compare(newer, older) > 0, (older, newer)


def test_spellings_of_one_version_are_equal() -> None:
    assert compare("1.0", "0:1.0") == 0
    assert compare("1.0", "1.0-0") == 0
    assert compare("1.01", "1.1") == 0


def test_relations() -> None:
    assert satisfies("2.41-12", ">=", "2.36")
    assert not satisfies("2.41-12", "<<", "2.41")
    assert satisfies("1.0", "=", "1.0")


@pytest.mark.conformance
def test_dpkg_agrees() -> None:
    dpkg = shutil.which("dpkg")
    if dpkg is None:
        pytest.skip("needs dpkg")
    for older, newer in itertools.pairwise(ASCENDING):
        done = subprocess.run([dpkg, "--compare-versions", older, "lt", newer], check=False)
        assert done.returncode == 0, (older, newer)
