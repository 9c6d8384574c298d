"""Line information, and the ways to look at what was compiled."""

import ctypes
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from maquina.jit import Library, Ptr, native, rotate_left, span, u64
from maquina.jit.__main__ import main
from maquina.jit.compiler.lines import quoted
from maquina.jit.compiler.module import Module
from maquina.jit.profile import functions

PROGRAM = """\
import ctypes
from maquina.jit import *

@native(inline=True)
def step(a: u64) -> u64:
    b = rotate_left(a, 5) * 3
    return b ^ 0x1234567

@native
def spin(cell: Ptr[u64], n: u64) -> u64:
    a = u64(1)
    for i in span(n):
        a = step(a) + i
        cell[0] = a
    return a

if __name__ == "__main__":
    cell = ctypes.c_uint64()
    Library([spin]).entry(spin)(ctypes.addressof(cell), 1000)
"""


@native(inline=True)
def step(a: u64) -> u64:
    b = rotate_left(a, 5) * 3
    return b ^ 0x1234567


@native
def spin(cell: Ptr[u64], n: u64) -> u64:
    a = u64(1)
    for i in span(n):
        a = step(a) + i
        cell[0] = a
    return a


def test_instructions_know_their_line() -> None:
    text = Module([spin]).text()
    first = step.python.__code__.co_firstlineno
    (shift,) = re.findall(r"xor i64 .*, 19088743, !dbg !(\d+)", text)
    (place,) = re.findall(
        rf"^!{shift} = !DILocation\(line: (\d+), .*inlinedAt: !(\d+)\)", text, re.MULTILINE
    )
    assert int(place[0]) == first + 3
    (call,) = re.findall(rf"^!{place[1]} = distinct !DILocation\(line: (\d+)", text, re.MULTILINE)
    assert int(call) == spin.python.__code__.co_firstlineno + 4


def test_lines_change_no_instruction() -> None:
    def bare(text: str) -> str:
        return re.sub(
            r",? !dbg !\d+|^!(?:\d+ = (?:distinct )?!DI|llvm|\d+ = !\{i32).*\n",
            "",
            text,
            flags=re.MULTILINE,
        )

    with_lines = bare(Module([spin]).text())
    assert with_lines == Module([spin], has_lines=False).text()


def test_names_are_quoted() -> None:
    assert quoted('a "b"\\é') == "a\\20\\22b\\22\\5C\\C3\\A9"


def test_functions_of_an_object_are_found() -> None:
    from maquina.jit import cache

    library = Library([spin])
    code = cache.load(library.key)
    assert code is not None
    found = {name: (at, size) for name, at, size in functions(code)}
    assert set(found) == {"spin", "entry:spin"}
    entry: Any = library.entry(spin)
    distance = (ctypes.cast(entry, ctypes.c_void_p).value or 0) - library.address(spin)
    assert distance == found["entry:spin"][0] - found["spin"][0]
    assert all(size > 0 for _, size in found.values())


def run(tmp_path: Path, *command: str, **environment: str) -> str:
    (tmp_path / "program.py").write_text(PROGRAM)
    full = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), **environment}
    done = subprocess.run(
        command, cwd=tmp_path, env=full, capture_output=True, text=True, check=True, timeout=100
    )
    return done.stdout


@pytest.mark.skipif(shutil.which("gdb") is None, reason="gdb is not installed")
def test_gdb_stops_at_lines_of_python(tmp_path: Path) -> None:
    commands = ["set breakpoint pending on", "break program.py:7", "run", "bt 2", "list"]
    options = [word for command in commands for word in ("-ex", command)]
    command = ["gdb", "-nx", "-q", "-batch", *options, "--args", sys.executable, "program.py"]
    said = run(tmp_path, *command, MAQUINA_DEBUG_NATIVE="1")
    assert re.search(r"#0 .*step \(\) at .*program\.py:7", said), said
    assert re.search(r"#1 .*spin \(\) at .*program\.py:13", said), said
    assert "return b ^ 0x1234567" in said


def test_perf_is_told_names(tmp_path: Path) -> None:
    show = (
        "import os, program; program.Library([program.spin])\n"
        "name = f'/tmp/perf-{os.getpid()}.map'\n"
        "print(open(name).read())\n"
        "os.unlink(name)"
    )
    said = run(tmp_path, sys.executable, "-c", show, MAQUINA_DEBUG_NATIVE="1")
    assert re.search(r"^[0-9a-f]+ [0-9a-f]+ spin$", said, re.MULTILINE)


def test_the_command_shows_what_was_compiled(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["maquina.jit.division:divide_128", "--text"]) == 0
    assert "udiv i64" in capsys.readouterr().out
    assert main(["maquina.jit.division:RUN_TIME[0]", "--optimised"]) == 0
    assert "define i128 @__udivti3(" in capsys.readouterr().out
    assert main(["maquina.jit.division:unsigned_quotient"]) == 0
    assert "retq" in capsys.readouterr().out
    for wrong in ("nothing", "maquina.jit:nothing", "maquina.jit:u64", "no.module:x"):
        assert main([wrong]) == 1
        assert wrong in capsys.readouterr().err
