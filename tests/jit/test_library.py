"""Libraries: entries, life time, threads, and the object cache under attack."""

import ctypes
import gc
import importlib.util
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from maquina.errors import NativeError
from maquina.jit import (
    Library,
    Native,
    Ptr,
    Struct,
    Table,
    Trap,
    Word,
    atomic_load,
    cache,
    f32,
    f64,
    link,
    native,
    s8,
    s32,
    s64,
    u8,
    u16,
    u32,
    u64,
    u256,
)
from maquina.jit.compiler.module import Module
from maquina.jit.fingerprint import fingerprint
from maquina.jit.native import by_address


class Pair(Struct):
    first: u64
    second: u64


@native
def narrow(a: s8, b: u16, c: bool) -> s8:
    return a + s8(b) if c else -a


@native
def follow(pair: Pair, step: u64) -> Ptr[u64]:
    return Ptr[u64](pair.address) + step


@native
def same_pair(pair: Pair) -> Pair:
    return pair.shifted(1)


@native
def negated(x: f64, y: f32) -> f64:
    return f64(x.pattern ^ u64(y.pattern) << 32)


@native
def rounded(x: f32) -> f32:
    return f32(x.pattern + 1)


@native
def is_odd(a: u64) -> bool:
    return a & 1 != 0


@native
def wide(a: u256, b: s32) -> tuple[u256, bool, f32, s64]:
    if a == 3:
        raise Trap(u64(5), u64(a))
    return a * a, b < 0, f32(u32(b)), s64(b)


EVERY: list[Native[..., Any]] = [narrow, follow, same_pair, negated, rounded, is_odd, wide]


def test_every_type_crosses_the_border() -> None:
    library = Library(EVERY)
    pair = Pair.at(u64(0x1000))
    for word in (u8(0), u8(7), u8(200), u8(255)):
        crossings: list[tuple[Native[..., Any], tuple[Any, ...]]] = [
            (narrow, (s8(word), u16(word) << 4, bool(word.value & 1))),
            (follow, (pair, u64(word))),
            (same_pair, (pair,)),
            (negated, (f64(u64(word)), f32(u32(word) << 24))),
            (rounded, (f32(u32(word)),)),
            (is_odd, (u64(word),)),
            (wide, (u256(word) << 240, s32(s8(word)))),
        ]
        for function, values in crossings:
            compiled: Callable[..., Any] = library(function)
            assert repr(compiled(*values)) == repr(function(*values)), function
    with pytest.raises(Trap) as caught:
        library(wide)(u256(3), s32(0))
    assert (int(caught.value.cause), int(caught.value.value)) == (5, 3)


def test_entries_take_and_give_integers() -> None:
    library = Library(EVERY)
    assert library.entry(narrow)(-5, 3, True) == -2
    assert library.entry(narrow)(5, 3, False) == -5
    assert library.entry(follow)(0x1000, 3) == 0x1018
    assert library.entry(is_odd)(7) == 1
    assert library.entry(rounded)(7) == 8
    with pytest.raises(TypeError, match="wide has wide values, several results or traps"):
        library.entry(wide)


def test_words_are_checked_at_the_border() -> None:
    library = Library([is_odd])
    with pytest.raises(TypeError, match="is_odd: 5 where u64 is needed"):
        library(is_odd)(5)  # type: ignore[arg-type]


def test_addresses_are_forgotten_with_the_library() -> None:
    library = Library([is_odd])
    address = library.address(is_odd)
    assert by_address[address] is is_odd
    call = library(is_odd)
    del library
    gc.collect()
    assert call(u64(3))  # keeps the library
    del call
    gc.collect()
    assert address not in by_address


@native
def spin(flag: Ptr[u64], rounds: u64) -> u64:
    count = u64(0)
    while atomic_load(flag) == 0 and count < rounds:
        count += 1
    return count


def test_calls_release_the_gil() -> None:
    cells = (ctypes.c_uint64 * 2)()
    run = Library([spin]).entry(spin)
    thread = threading.Thread(target=run, args=(ctypes.addressof(cells), 1 << 40))
    thread.start()
    time.sleep(0.01)
    cells[0] = 1  # unreachable if the thread held the interpreter
    thread.join(10)
    assert not thread.is_alive()


# ---- the object cache ----
@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """An empty cache; the list grows with each compilation."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "fresh"))
    made: list[int] = []
    compile_text = link.object_code

    def counted(text: str) -> bytes:
        made.append(len(text))
        return compile_text(text)

    monkeypatch.setattr(link, "object_code", counted)
    return made


def works(library: Library) -> bool:
    return library(is_odd)(u64(5)) and not library(is_odd)(u64(6))


def test_the_second_library_comes_from_the_cache(
    compilations: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert works(Library([is_odd]))

    def nothing(*_: object) -> None:
        raise AssertionError("compiled again")

    monkeypatch.setattr(Module, "__init__", nothing)
    assert works(Library([is_odd]))
    assert len(compilations) == 1


@pytest.mark.parametrize("damage", ["empty", "truncated", "flipped", "foreign", "directory"])
def test_a_damaged_file_is_made_again(compilations: list[int], damage: str) -> None:
    library = Library([is_odd])
    path = cache.directory() / library.key
    whole = path.read_bytes()
    path.unlink()
    if damage == "directory":
        path.mkdir()
    else:
        flipped = bytearray(whole)
        flipped[-5] ^= 1
        contents = {
            "empty": b"",
            "truncated": whole[:-9],
            "flipped": flipped,
            "foreign": b"\0" * 99,
        }
        path.write_bytes(bytes(contents[damage]))
    assert works(Library([is_odd]))
    assert len(compilations) == 2
    assert damage == "directory" or path.read_bytes() == whole
    assert not list(cache.directory().glob(".*"))  # nothing half-made is left


def test_without_a_writable_directory_nothing_is_kept(
    compilations: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "no directory"
    file.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))
    assert works(Library([is_odd]))
    assert works(Library([is_odd]))
    assert len(compilations) == 2


def test_the_oldest_files_go_first(tmp_path: Path) -> None:
    for age in range(6):
        path = tmp_path / f"{age}"
        path.write_bytes(bytes(100))
        os.utime(path, (1000 - age, 1000 - age))
    cache.evict(tmp_path, 350)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2"]


def test_two_processes_at_once(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "from maquina.jit import *\n"
        "@native\n"
        "def f(a: u64) -> u64:\n"
        "    return a * 3\n"
        "for n in range(30):\n"
        "    assert Library([f])(f)(u64(5)) == 15\n"
        "    from maquina.jit import cache\n"
        "    if n % 3 == 0:\n"
        "        for path in cache.directory().iterdir(): path.unlink(missing_ok=True)\n"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    running = [
        subprocess.Popen([sys.executable, program], env=environment, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    for process in running:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors.decode()


# ---- what the key depends on ----
SOURCE = """
from maquina.jit import *
import {helper} as helper

FACTOR = {factor}

class Cell(Struct):
    a: u64
    b: {field}

TABLE = Table(u64, {table}, "table")

@native(inline=True)
def inner(a: u64) -> u64:
    return a * FACTOR + helper.OFFSET

@native
def f(a: u64, cell: Ptr[Cell]) -> u64:
    return inner(a) {operator} TABLE[a & 1]
"""
PLAIN = {"helper": "helper_1", "factor": "3", "field": "u8", "table": "[1, 2]", "operator": "+"}


def made(tmp_path: Path, name: str, **changes: str) -> ModuleType:
    path = tmp_path / f"{name}.py"
    path.write_text(SOURCE.format(**{**PLAIN, **changes}))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_the_key_follows_all_that_code_depends_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        helper = ModuleType(f"helper_{number}")
        helper.__dict__["OFFSET"] = number
        monkeypatch.setitem(sys.modules, helper.__name__, helper)
    monkeypatch.setitem(sys.modules, "keyed", None)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def key(**changes: str) -> str:
        return fingerprint([made(tmp_path, "keyed", **changes).f], "host")

    assert key() == key()
    changes = [
        {"factor": "4"},
        {"field": "u16"},
        {"table": "[1, 3]"},
        {"operator": "^"},
        {"helper": "helper_2"},
    ]
    assert len({key(), *(key(**change) for change in changes)}) == 1 + len(changes)
    function = made(tmp_path, "keyed").f
    assert fingerprint([function], "host") != fingerprint([function], "another host")


def scaled(factor: int, table: Table[u64]) -> Native[[u64], u64]:
    @native
    def scale(a: u64) -> u64:
        return a * factor + table[a & 1]

    return scale


def test_the_key_follows_what_factories_close_over() -> None:
    one, other = Table(u64, [1, 2], "t"), Table(u64, [1, 3], "t")
    functions = [scaled(3, one), scaled(4, one), scaled(3, other)]
    assert len({fingerprint([function], "") for function in functions}) == 3
    assert fingerprint([scaled(3, one)], "") == fingerprint([functions[0]], "")


def half_of(kind: type[Word]) -> int:
    return kind.bits // 2


@native
def upper(a: u256) -> u256:
    return a >> half_of(u256)


def test_compile_time_functions_are_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint([upper], "")
    monkeypatch.setattr(half_of, "__code__", (lambda kind: kind.bits // 4).__code__)
    assert fingerprint([upper], "") != before


def test_a_key_is_the_same_in_every_process(tmp_path: Path) -> None:
    program = "import test_keys_here as t; print(t.key())"
    (tmp_path / "test_keys_here.py").write_text(
        "from maquina.jit import *\nfrom maquina.jit.fingerprint import fingerprint\n"
        "NAMES = {'b', 'a', 'c'}\n"
        "@native\ndef f(a: u64) -> u64:\n    return a + len(NAMES)\n"
        "def key() -> str: return fingerprint([f], '')\n"
    )
    keys = set()
    for seed in ("1", "2", "3"):
        path = os.pathsep.join([str(tmp_path), *sys.path])
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path}
        command = [sys.executable, "-c", program]
        run = subprocess.run(command, env=environment, capture_output=True, check=True)
        keys.add(run.stdout)
    assert len(keys) == 1


def test_a_file_changed_since_its_import_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "changing.py"
    path.write_text("from maquina.jit import *\n@native\ndef f(a: u64) -> u64:\n    return a\n")
    spec = importlib.util.spec_from_file_location("changing", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    path.write_text(path.read_text().replace("return a", "return a + 1"))
    os.utime(path, (1, 1))
    with pytest.raises(NativeError, match="changed since it was imported"):
        Module([module.f])


def test_llvm_is_not_loaded_with_the_package() -> None:
    program = "import sys, maquina.jit; print('llvmlite' in sys.modules, 'ast' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert run.stdout == b"False False\n"
