"""Programs: native functions linked by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from maquina.jit import Native, Program, Trap, cache, native, s64, u64


@native
def double(a: u64) -> u64:
    return a * 2


@native
def negative(a: s64) -> s64:
    return -a


@native
def fail(a: u64) -> u64:
    if a == 0:
        raise Trap(u64(1), a)
    return a


class Maker:
    """Counts how often the functions themselves were asked for."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> Mapping[str, Native[..., Any]]:
        self.calls += 1
        return {"double": double, "negative": negative, "fail": fail}


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = tmp_path / "source.py"
    source.write_text("first version")
    return [source]


def test_functions_are_called_by_name(sources: list[Path]) -> None:
    program = Program(sources, Maker())
    assert program.entry("double")(21) == 42
    assert program.entry("negative")(21) == -21
    assert program.address("fail") != program.address("double")


def test_what_was_kept_is_linked_without_the_functions(sources: list[Path]) -> None:
    make = Maker()
    Program(sources, make)
    assert make.calls == 1
    assert Program(sources, make).entry("double")(4) == 8
    assert make.calls == 1


def test_other_sources_are_another_program(sources: list[Path]) -> None:
    make = Maker()
    Program(sources, make)
    sources[0].write_text("second version")
    Program(sources, make)
    assert make.calls == 2


def test_a_damaged_file_is_made_again(sources: list[Path]) -> None:
    make = Maker()
    Program(sources, make)
    for path in cache.directory().iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    assert Program(sources, make).entry("double")(5) == 10
    assert make.calls == 2


def test_a_function_that_raises_has_an_address_only(sources: list[Path]) -> None:
    program = Program(sources, Maker())
    with pytest.raises(TypeError, match="traps"):
        program.entry("fail")
