"""The names that `maquina` offers, and that offering them costs nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

import maquina

HEAVY = ("llvmlite", "click", "httpx", "rich", "maquina.boards", "maquina.images")


@pytest.mark.parametrize("name", maquina.__all__)
def test_every_exported_name_is_there(name: str) -> None:
    assert getattr(maquina, name).__name__ == name
    assert name in dir(maquina)


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = maquina.nothing


def test_importing_it_loads_nothing_heavy() -> None:
    code = f"import maquina, sys; print([n for n in {HEAVY!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
