"""What can be said about a function before compiling it: what it assigns, whether it raises."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from maquina.jit import forms
from maquina.jit.compiler.static import UNKNOWN, decided, evaluate
from maquina.jit.native import Native


@dataclass(frozen=True)
class Assigned:
    """The names a function assigns, and those that one statement alone assigns.

    The latter need no slot: a use that the assignment certainly precedes is dominated by it.
    """

    names: frozenset[str]
    once: frozenset[str]


@cache
def assigned(node: ast.FunctionDef) -> Assigned:
    counts: dict[str, int] = {}
    for name, weight in _stores(node, 1):
        counts[name] = counts.get(name, 0) + weight
    once = frozenset(name for name, count in counts.items() if count == 1)
    return Assigned(frozenset(counts), once)


def _stores(node: ast.AST, weight: int) -> Iterator[tuple[str, int]]:
    """Each assigned name; with weight 2 where one statement may be compiled several times."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id, weight
    if isinstance(node, ast.AugAssign):
        weight = 2
    if isinstance(node, ast.For):
        yield from _stores(node.target, weight)
        weight = weight if _counts(node.iter) else 2
    for child in node.body if isinstance(node, ast.For) else ast.iter_child_nodes(node):
        yield from _stores(child, weight)


def _counts(source: ast.expr) -> bool:
    """Whether a loop is over `span`, whose statements are compiled once."""
    called = source.func if isinstance(source, ast.Call) else None
    return isinstance(called, ast.Name) and called.id == "span"


def raises(function: Native[..., Any]) -> bool:
    """Whether a Trap can leave the function: it, or one it calls, has a `raise` outside `try`."""
    known = function.__dict__.get("raises")
    if known is None:
        seen: set[Native[..., Any]] = set()
        known = _reaches_raise(function, seen)
        for one in [function] if known else seen:
            one.__dict__["raises"] = known
    return bool(known)


def _reaches_raise(function: Native[..., Any], seen: set[Native[..., Any]]) -> bool:
    if function in seen:
        return False
    seen.add(function)
    if "raises" in function.__dict__:
        return bool(function.__dict__["raises"])
    if function.external:
        return False
    has_raise, callees = _Escapes(function).found()
    return has_raise or any(_reaches_raise(callee, seen) for callee in callees)


TELLING = (ast.Raise, ast.Call, ast.Try, ast.If, ast.IfExp, ast.For)


@cache
def _telling(node: ast.AST) -> tuple[ast.AST, ...]:
    """The nodes next below this one that have to do with raising."""
    found: list[ast.AST] = []
    for child in ast.iter_child_nodes(node):
        found += [child] if isinstance(child, TELLING) else _telling(child)
    return tuple(found)


NAMING_A_CALLEE = (forms.gather, forms.tail_call, forms.call_address)


class _Escapes:
    """A walk over what a function does outside `try`, as far as compile-time tests let it."""

    def __init__(self, function: Native[..., Any]) -> None:
        self.names = function.names
        self.run_time = set(function.python.__code__.co_varnames)
        self.statements = function.node.body
        self.bound: dict[str, Any] = {}
        self.has_raise = False
        self.callees: set[Native[..., Any]] = set()

    def found(self) -> tuple[bool, set[Native[..., Any]]]:
        self.all(self.statements, guarded=False)
        return self.has_raise, self.callees

    def visit(self, node: ast.AST, *, guarded: bool) -> None:
        if isinstance(node, ast.Raise) and not guarded:
            self.has_raise = True
        elif isinstance(node, ast.Call):
            self.call(node, guarded)
        elif isinstance(node, ast.Try):
            self.all(node.body, guarded=True)
            self.all([*node.handlers, *node.orelse, *node.finalbody], guarded=guarded)
            return
        elif isinstance(node, ast.If | ast.IfExp):
            self.choice(node, guarded)
            return
        elif isinstance(node, ast.For):
            self.loop(node, guarded)
            return
        self.all(_telling(node), guarded=guarded)

    def all(self, nodes: Any, *, guarded: bool) -> None:
        for node in nodes:
            self.visit(node, guarded=guarded)

    def evaluate(self, node: ast.expr) -> Any:
        try:
            return evaluate(node, self.names, self.bound, self.run_time)
        except Exception:  # the compiler proper meets it again, and says where
            return UNKNOWN

    def choice(self, node: ast.If | ast.IfExp, guarded: bool) -> None:
        truth = decided(node.test, self.evaluate)
        arms: list[Any] = [node.test]
        for arm, dropped in ((node.body, False), (node.orelse, True)):
            if truth is UNKNOWN or bool(truth) is not dropped:
                arms += arm if isinstance(arm, list) else [arm]
        self.all(arms, guarded=guarded)

    def loop(self, node: ast.For, guarded: bool) -> None:
        items = UNKNOWN
        if isinstance(node.iter, ast.Call) and self.evaluate(node.iter.func) is forms.unrolled:
            items = self.evaluate(node.iter.args[0])
        if items is UNKNOWN:
            self.all(_telling(node), guarded=guarded)
            return
        for item in items:
            before = dict(self.bound)
            self.bound |= bindings(node.target, item)
            self.all(node.body, guarded=guarded)
            self.bound = before

    def call(self, node: ast.Call, guarded: bool) -> None:
        callee = self.evaluate(node.func)
        functions: Any = callee
        if any(callee is form for form in NAMING_A_CALLEE) and node.args:
            functions = self.evaluate(node.args[0])
        if guarded and callee is not forms.tail_call:  # a jump leaves the `try` behind
            return
        for one in functions if isinstance(functions, tuple | list) else (functions,):
            if isinstance(one, Native):
                self.callees.add(one)


def bindings(target: ast.expr, item: Any) -> dict[str, Any]:
    """What the names of an unrolled loop's target mean for one item."""
    if isinstance(target, ast.Name):
        return {target.id: item}
    found: dict[str, Any] = {}
    if isinstance(target, ast.Tuple):
        for element, part in zip(target.elts, item, strict=True):
            found |= bindings(element, part)
    return found
