"""LLVM text of some native functions and of everything they call."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from typing import Any

from maquina.errors import NativeError
from maquina.jit.compiler import calls
from maquina.jit.compiler.body import Body, Language
from maquina.jit.compiler.expressions import EXPRESSIONS
from maquina.jit.compiler.intrinsics import INTRINSICS
from maquina.jit.compiler.lines import Lines
from maquina.jit.compiler.operands import llvm
from maquina.jit.compiler.statements import STATEMENTS
from maquina.jit.division import RUN_TIME
from maquina.jit.forms import Table
from maquina.jit.names import Symbols
from maquina.jit.native import Native

WEIGHTS = (
    '!0 = !{!"branch_weights", i32 2000, i32 1}',
    '!1 = !{!"branch_weights", i32 1, i32 2000}',
)


class Module:
    """The functions of `exports` and all they reach, compiled on construction.

    `replace` swaps callees, e.g. a slow path by an exit. `machine` is the host's architecture;
    `has_lines` whether instructions say which line of Python they come from.
    """

    def __init__(
        self,
        exports: Iterable[Native[..., Any]],
        replace: Mapping[Native[..., Any], Native[..., Any]] | None = None,
        *,
        machine: str = platform.machine(),
        has_lines: bool = True,
    ) -> None:
        self.language = Language(EXPRESSIONS, STATEMENTS, INTRINSICS)
        self.machine = machine
        self.replace = dict(replace or {})
        self.exports = [self.replaced(function) for function in exports]
        self.names = Symbols()
        self.lines = Lines(len(WEIGHTS), are_wanted=has_lines)
        self.declared: dict[str, str] = {}
        self.tables: dict[int, str] = {}
        self.definitions: dict[Native[..., Any], str] = {}
        self.calls: dict[Native[..., Any], dict[Native[..., Any], str]] = {}
        self.divides_wide = False
        self.waiting: list[Native[..., Any]] = []
        for function in self.exports:
            self.use(function)
        self._compile_waiting()
        if self.divides_wide:
            self.exports += RUN_TIME
            for function in RUN_TIME:
                self.use(function)
            self._compile_waiting()
        self._refuse_recursion()

    def replaced(self, function: Native[..., Any]) -> Native[..., Any]:
        return self.replace.get(function, function)

    def use(self, function: Native[..., Any]) -> str:
        """The symbol of a function, which is now known to be needed."""
        if function not in self.names.of:
            self.waiting.append(function)
        return self.names.add(function)

    def called(self, caller: Native[..., Any], callee: Native[..., Any], where: str) -> None:
        """Note a call that needs room on the stack."""
        self.calls.setdefault(caller, {}).setdefault(callee, where)

    def intrinsic(self, result: str, name: str, *parameters: str) -> str:
        """An LLVM intrinsic, declared."""
        self.declared[name] = f"declare {result} @{name}({', '.join(parameters)})"
        return f"@{name}"

    def table(self, table: Table[Any]) -> str:
        """A table's global name."""
        if id(table) not in self.tables:
            symbol = f'@"{table.name}.{len(self.tables)}"'
            self.tables[id(table)] = symbol
            whole = f"[{len(table.items)} x {llvm(table.kind)}]"
            text = f"{symbol} = internal unnamed_addr constant {whole} {self._items(table)}"
            self.declared[symbol] = text
        return self.tables[id(table)]

    def _items(self, table: Table[Any]) -> str:
        if isinstance(table.items, bytes) and table.kind.bits == 8:
            return 'c"' + "".join(f"\\{byte:02X}" for byte in table.items) + '"'
        kind = llvm(table.kind)
        return "[" + ", ".join(f"{kind} {self._item(item)}" for item in table.items) + "]"

    def _item(self, item: Any) -> str:
        if isinstance(item, Native):
            return f'ptrtoint (ptr @"{self.use(self.replaced(item))}" to i64)'
        return str(int(item))

    def _compile_waiting(self) -> None:
        while self.waiting:
            self._compile(self.waiting.pop())

    def _compile(self, function: Native[..., Any]) -> None:
        if function.external:
            raise NativeError(
                f"{function.place}: {function.name} is external: there is no code to link",
                "call it by address: call_address(signature, address, ...)",
            )
        symbol = self.names.of[function]
        body = Body(self, function, symbol)
        body.suite(function.node.body)
        if body.open:
            calls.give(body, None, function.node)
        convention, result = calls.signature(function)
        linkage = "" if function in self.exports else "internal "
        kinds = function.parameters.items()
        parameters = ", ".join(f"{llvm(kind)} %{name}" for name, kind in kinds)
        head = f'define {linkage}{convention}{result} @"{symbol}"({parameters})'
        attributes = " ".join(sorted(body.attributes))
        scope = self.lines.function(function, symbol)
        head = f"{head} {attributes}{self.lines.mark(scope)} {{"
        self.definitions[function] = "\n".join([head, "entry:", *body.slots, *body.lines, "}"])

    def _refuse_recursion(self) -> None:
        """Nothing bounds the stack that recursion takes, and what a guest does may drive it."""
        done: set[Native[..., Any]] = set()
        for function in self.calls:
            self._walk(function, [], done)

    def _walk(
        self, function: Native[..., Any], path: list[Native[..., Any]], done: set[Native[..., Any]]
    ) -> None:
        if function in path:
            where = self.calls[path[-1]][function]
            names = " calls ".join(f.name for f in [*path[path.index(function) :], function])
            raise NativeError(f"{where}: {names}", "recursion has no bound here; write a loop")
        if function in done:
            return
        for callee in self.calls.get(function, {}):
            self._walk(callee, [*path, function], done)
        done.add(function)

    def text(self) -> str:
        """The whole module for LLVM's parser."""
        texts = [*WEIGHTS, *self.declared.values(), *self.definitions.values()]
        return "\n".join([*texts, *self.lines.text(), ""])
