"""Compile-time evaluation: expressions whose names all mean compile-time constants."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Container, Mapping
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
    loaded, called = _loads(node)
    if any(name in run_time and name not in bound for name in loaded):
        return UNKNOWN
    if any(name not in bound and name not in names and not _builtin(name) for name in loaded):
        return UNKNOWN
    for function in called:
        if not _is_plain(evaluate(function, names, bound, run_time)):
            return UNKNOWN
    return eval(_compiled(node), names, dict(bound))


def _is_plain(function: Any) -> bool:
    return function is not UNKNOWN and not isinstance(function, Native)


def _builtin(name: str) -> bool:
    return hasattr(builtins, name)
