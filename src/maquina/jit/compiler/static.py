"""Compile-time evaluation: expressions whose names all mean compile-time constants."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Container, Mapping
from functools import cache
from typing import Any

from maquina.jit.native import Native

UNKNOWN: Any = object()


@cache
def _compiled(node: ast.expr) -> Any:
    return compile(ast.Expression(node), "<compile time>", "eval")


@cache
def _loads(node: ast.expr) -> tuple[frozenset[str], tuple[ast.expr, ...]]:
    """The names an expression reads, and the functions it calls."""
    inside = list(ast.walk(node))
    names = frozenset(n.id for n in inside if isinstance(n, ast.Name))
    return names, tuple(n.func for n in inside if isinstance(n, ast.Call))


def evaluate(
    node: ast.expr, names: dict[str, Any], bound: Mapping[str, Any], run_time: Container[str]
) -> Any:
    """The Python value of an expression, or UNKNOWN if it is not one at compile time.

    names: what free names mean. bound: names bound by unrolled loops. run_time: the function's
    locals. A call of a native function is never a compile-time value.
    """
    if isinstance(node, ast.Name):
        return _meaning(node.id, names, bound, run_time)
    loaded, called = _loads(node)
    for name in loaded:
        if _meaning(name, names, bound, run_time) is UNKNOWN:
            return UNKNOWN
    for function in called:
        if not _is_plain(evaluate(function, names, bound, run_time)):
            return UNKNOWN
    return eval(_compiled(node), names, dict(bound))


def decided(test: ast.expr, find: Callable[[ast.expr], Any]) -> Any:
    """The value of a test, or UNKNOWN: of `a and b` it is enough to know one that is false.

    `find` gives the value of an expression or UNKNOWN.
    """
    if isinstance(test, ast.BoolOp):
        decisive = isinstance(test.op, ast.Or)
        truths = [decided(part, find) for part in test.values]
        settled = [truth for truth in truths if truth is not (not decisive)]
        return not decisive if not settled else settled[0]
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        inside = decided(test.operand, find)
        return inside if inside is UNKNOWN else not inside
    return find(test)


def _meaning(
    name: str, names: dict[str, Any], bound: Mapping[str, Any], run_time: Container[str]
) -> Any:
    if name in bound:
        return bound[name]
    if name in run_time:
        return UNKNOWN
    return names[name] if name in names else getattr(builtins, name, UNKNOWN)


def _is_plain(function: Any) -> bool:
    return function is not UNKNOWN and not isinstance(function, Native)
