"""Line information: which line of Python each instruction comes from, as LLVM metadata.

Debuggers and profilers see the Python source, and functions that the compiler inlined as inlined
ones. It adds nothing to the code itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from maquina.jit.native import Native

FLAGS = ('!{i32 2, !"Debug Info Version", i32 3}', '!{i32 7, !"Dwarf Version", i32 4}')


class Lines:
    """The numbered metadata of a module, beginning at `first`."""

    def __init__(self, first: int, *, are_wanted: bool) -> None:
        self._are_wanted = are_wanted
        self._first = first
        self._nodes: list[str] = []
        self._known: dict[Any, int] = {}
        self._flags = [self._add(flag) for flag in FLAGS]
        self._unit = -1
        self._types = self._add("!DISubroutineType(types: !{})")

    def _add(self, node: str) -> int:
        self._nodes.append(node)
        return self._first + len(self._nodes) - 1

    def file(self, path: str) -> int:
        if path not in self._known:
            place = Path(path)
            name, directory = quoted(place.name), quoted(str(place.parent))
            self._known[path] = self._add(f'!DIFile(filename: "{name}", directory: "{directory}")')
        return self._known[path]

    def unit(self, path: str) -> int:
        """The compile unit: one for the module, named after its first file."""
        if self._unit < 0:
            self._unit = self._add(
                f"distinct !DICompileUnit(language: DW_LANG_C99, file: !{self.file(path)}, "
                'producer: "maquina.jit", isOptimized: true, emissionKind: LineTablesOnly)'
            )
        return self._unit

    def function(self, function: Native[..., Any], name: str) -> int:
        """The scope that a function's lines are in."""
        if function not in self._known:
            line = function.python.__code__.co_firstlineno
            file, unit = self.file(function.file), self.unit(function.file)
            self._known[function] = self._add(
                f'distinct !DISubprogram(name: "{quoted(name)}", scope: !{file}, file: !{file}, '
                f"line: {line}, type: !{self._types}, scopeLine: {line}, unit: !{unit}, "
                "spFlags: DISPFlagDefinition | DISPFlagOptimized)"
            )
        return self._known[function]

    def line(self, line: int, scope: int, inlined_at: int | None) -> int:
        """A line in the scope of a function, inlined where another location says."""
        key = line, scope, inlined_at
        if key not in self._known:
            where = "" if inlined_at is None else f", inlinedAt: !{inlined_at}"
            self._known[key] = self._add(f"!DILocation(line: {line}, scope: !{scope}{where})")
        return self._known[key]

    def call(self, line: int, scope: int, inlined_at: int | None) -> int:
        """The location of one call that is inlined: another each time."""
        where = "" if inlined_at is None else f", inlinedAt: !{inlined_at}"
        return self._add(f"distinct !DILocation(line: {line}, scope: !{scope}{where})")

    def mark(self, number: int) -> str:
        """What stands in a definition of a scope."""
        return f" !dbg !{number}" if self._are_wanted else ""

    def text(self) -> list[str]:
        """The metadata as LLVM text."""
        if self._unit < 0 or not self._are_wanted:
            return []
        flags = ", ".join(f"!{flag}" for flag in self._flags)
        nodes = [f"!{number} = {node}" for number, node in enumerate(self._nodes, self._first)]
        return [*nodes, f"!llvm.module.flags = !{{{flags}}}", f"!llvm.dbg.cu = !{{!{self._unit}}}"]


def quoted(text: str) -> str:
    """A string's contents in LLVM text."""
    plain = (33 <= byte < 127 and byte not in b'"\\' for byte in text.encode())
    return "".join(
        chr(byte) if is_plain else f"\\{byte:02X}"
        for byte, is_plain in zip(text.encode(), plain, strict=True)
    )
