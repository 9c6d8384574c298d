"""One function being compiled: its lines so far, and where in the Python source it stands.

The compiler inlines by itself, so that a return of an inlined function is a jump to the end of
the call and a raise a jump to the caller's `except`; the `Frame` tells whose source is being
read. Labels remember from where they are reached, which answers three questions at once: whether
code is reachable, which locals are certainly assigned, and what a phi joins.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from maquina.errors import NativeError
from maquina.jit.compiler import flow
from maquina.jit.compiler.operands import Local, Operand, Slot, Value, describe, llvm, spelled
from maquina.jit.compiler.refusals import instead_of
from maquina.jit.native import Native

if TYPE_CHECKING:
    from maquina.jit.compiler.module import Module

Lowering = Callable[..., Operand]


@dataclass(frozen=True)
class Language:
    """What each kind of syntax node, and each function with a form of its own, compiles to."""

    expressions: dict[type[ast.expr], Callable[[Body, Any], Operand]]
    statements: dict[type[ast.stmt], Callable[[Body, Any], None]]
    intrinsics: dict[Any, Lowering]


@dataclass(slots=True, eq=False)
class Label:
    """A block's name, whose frame it is in, the (block, assigned names) it is reached from."""

    name: str
    frame: Frame
    reached: list[tuple[str, frozenset[str]]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class End:
    """Where the returns of an inlined function go, with the values they bring."""

    label: Label
    values: list[tuple[Value, str]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Handler:
    """An enclosing `except Trap`: its label and the (code, value, block) of each raise."""

    label: Label
    raised: list[tuple[str, str, str]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Frame:
    """A function whose source is being read: the one compiled, or one inlined into it."""

    function: Native[..., Any]
    end: End | None = None  # None: a return leaves the compiled function
    locals: dict[str, Local] = field(default_factory=dict)
    bound: dict[str, Any] = field(default_factory=dict)  # compile-time names of unrolled loops
    assigned: frozenset[str] = frozenset()
    scope: int = 0  # of its lines, and where it is inlined
    inlined_at: int | None = None
    loops: list[tuple[Label, Label]] = field(default_factory=list)  # (continue, break)

    @property
    def node(self) -> ast.FunctionDef:
        return self.function.node


class Body:
    """The LLVM text of one function being made."""

    def __init__(self, module: Module, function: Native[..., Any], symbol: str) -> None:
        self.module = module
        self.outer = function
        self.symbol = symbol
        self.frame = Frame(function, scope=module.lines.function(function, symbol))
        self.line = function.python.__code__.co_firstlineno
        self.mark = ""  # the line information that instructions get
        self.at(self.line)
        self.inlining: list[Native[..., Any]] = [function]
        self.handlers: list[Handler] = []
        self.attributes = {"nounwind", "cold noinline"} if function.cold else {"nounwind"}
        self.lines: list[str] = []
        self.slots: list[str] = []
        self.count = 0
        self.jump_mark = ""  # of the last jump
        self.block = "entry"
        self.open = True  # whether control reaches the next line
        values = {name: Value(kind, f"%{name}") for name, kind in function.parameters.items()}
        self.bind_parameters(values)

    # ---- refusing ----
    def error(self, node: ast.AST, message: str, remedy: str = "") -> NativeError:
        """To raise: what is wrong with the source, at which line, and what to write instead."""
        line = getattr(node, "lineno", self.frame.node.lineno)
        return NativeError(f"{self.frame.function.file}:{line}: {message}", remedy)

    # ---- text ----
    def at(self, line: int) -> None:
        """What follows comes from a line of the function being read."""
        self.line = line
        frame = self.frame
        lines = self.module.lines
        mark = lines.mark(lines.line(line, frame.scope, frame.inlined_at))
        self.mark = f",{mark}" if mark else ""

    def put(self, line: str) -> None:
        if self.open:
            self.lines.append(f"  {line}{self.mark}")

    def new(self, kind: Any, line: str) -> Value:
        """The value that an LLVM instruction computes."""
        if not self.open:
            return Value(kind, "poison")
        self.count += 1
        self.lines.append(f"  %.{self.count} = {line}{self.mark}")
        return Value(kind, f"%.{self.count}")

    def slot(self, kind: Any, hint: str) -> Slot:
        self.count += 1
        name = f"%{hint}.{self.count}"
        self.slots.append(f"  {name} = alloca {llvm(kind)}")
        return Slot(kind, name)

    # ---- control ----
    def label(self, hint: str) -> Label:
        self.count += 1
        return Label(f"{hint}.{self.count}", self.frame)

    def reach(self, label: Label) -> None:
        """Note that control goes from here to `label`."""
        if self.open:
            label.reached.append((self.block, label.frame.assigned))

    def start(self, label: Label, *, is_loop: bool = False) -> None:
        """Go on at `label`; if nothing reaches it, what follows is dropped."""
        self.open = bool(label.reached)
        if not self.open:
            return
        label.frame.assigned = frozenset.intersection(*(names for _, names in label.reached))
        jump = f"  br label %{label.name}{self.jump_mark}"
        if len(label.reached) == 1 and self.lines and self.lines[-1] == jump and not is_loop:
            self.lines.pop()
            self.block = label.reached[0][0]
        else:
            self.lines.append(f"{label.name}:")
            self.block = label.name

    def jump(self, label: Label) -> None:
        self.reach(label)
        self.put(f"br label %{label.name}")
        self.jump_mark = self.mark
        self.open = False

    def fork(self, test: str, yes: Label, no: Label, weights: str = "") -> None:
        """Go to `yes` if the i1 `test` holds, else to `no`."""
        self.reach(yes)
        self.reach(no)
        self.put(f"br i1 {test}, label %{yes.name}, label %{no.name}{weights}")
        self.open = False

    def join(self, kind: Any, values: list[tuple[str, str]]) -> Value:
        """The one of some (operand, block it comes from) that control brought here."""
        if len(values) == 1 or not self.open:
            return Value(kind, values[0][0] if values else "poison")
        arms = ", ".join(f"[ {text}, %{block} ]" for text, block in values)
        return self.new(kind, f"phi {llvm(kind)} {arms}")

    # ---- locals ----
    def bind_parameters(self, values: dict[str, Value]) -> None:
        assigned = flow.assigned(self.frame.node)
        self.frame.assigned |= frozenset(values)
        for name, value in values.items():
            if name in assigned.names:
                slot = self.frame.locals[name] = self.slot(value.kind, name)
                self.put(f"store {llvm(value.kind)} {value.text}, ptr {slot.text}")
            else:
                self.frame.locals[name] = value

    def assign_local(self, name: str, value: Value, node: ast.AST) -> None:
        local = self.frame.locals.get(name)
        self.frame.assigned |= {name}
        if local is None and name in flow.assigned(self.frame.node).once:
            self.frame.locals[name] = value
            return
        if local is None:
            local = self.frame.locals[name] = self.slot(value.kind, name)
        if not isinstance(local, Slot) or local.kind != value.kind:
            raise self.error(
                node,
                f"{name} is already {describe(local)} and cannot also hold {spelled(value.kind)}",
                "convert it, or use another name",
            )
        self.put(f"store {llvm(value.kind)} {value.text}, ptr {local.text}")

    # ---- dispatch ----
    def expression(self, node: ast.expr) -> Operand:
        compile_node = self.module.language.expressions.get(type(node))
        if compile_node is None:
            name = type(node).__name__
            raise self.error(node, f"{name} is not in the native subset", instead_of(type(node)))
        return compile_node(self, node)

    def suite(self, statements: list[ast.stmt]) -> None:
        for node in statements:
            if not self.open:  # after return, break, continue or raise
                return
            compile_node = self.module.language.statements.get(type(node))
            if compile_node is None:
                name = type(node).__name__
                raise self.error(
                    node, f"{name} is not in the native subset", instead_of(type(node))
                )
            self.at(node.lineno)
            compile_node(self, node)
