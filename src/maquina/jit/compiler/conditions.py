"""Tests: comparisons, `and`, `or`, `not`, conditional expressions, and branching on them.

A test made of compile-time constants is decided here and now, and the other arm dropped.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

from maquina.jit import forms
from maquina.jit.compiler.body import Body, Label
from maquina.jit.compiler.conversions import run_time, same, value
from maquina.jit.compiler.operands import (
    Const,
    Operand,
    Value,
    describe,
    is_float,
    is_word,
    llvm,
)
from maquina.jit.compiler.refusals import instead_of
from maquina.jit.compiler.static import UNKNOWN, decided, evaluate

COMPARISONS: dict[type[ast.cmpop], tuple[Callable[[Any, Any], Any], str, str]] = {
    ast.Eq: (operator.eq, "eq", "eq"),  # the Python operator, unsigned, signed
    ast.NotEq: (operator.ne, "ne", "ne"),
    ast.Lt: (operator.lt, "ult", "slt"),
    ast.LtE: (operator.le, "ule", "sle"),
    ast.Gt: (operator.gt, "ugt", "sgt"),
    ast.GtE: (operator.ge, "uge", "sge"),
}
WEIGHTS = {forms.likely: ", !prof !0", forms.unlikely: ", !prof !1"}


def static(body: Body, node: ast.expr) -> Any:
    """The Python value of an expression of compile-time constants, or UNKNOWN."""
    frame = body.frame
    code = frame.function.python.__code__
    try:
        return evaluate(node, frame.function.names, frame.bound, code.co_varnames)
    except Exception as error:
        raise body.error(node, f"at compile time: {type(error).__name__}: {error}") from error


def known(body: Body, test: ast.expr) -> bool | None:
    """Whether a test holds, if compile-time constants decide it."""
    found = decided(test, lambda part: static(body, part))
    if found is UNKNOWN:
        return None
    if not isinstance(found, bool):
        raise body.error(test, f"{found!r} is no truth value", "write a comparison")
    return found


def branch(body: Body, node: ast.expr, yes: Label, no: Label, weights: str = "") -> None:
    """Go to `yes` if the test holds, else to `no`; parts are evaluated only as far as needed."""
    truth = known(body, node)
    if truth is not None:
        body.jump(yes if truth else no)
        return
    if isinstance(node, ast.BoolOp):
        is_and = isinstance(node.op, ast.And)
        for part in node.values[:-1]:
            further = body.label("further")
            branch(body, part, *((further, no) if is_and else (yes, further)), weights)
            body.start(further)
        branch(body, node.values[-1], yes, no, weights)
        return
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        branch(body, node.operand, no, yes)
        return
    if isinstance(node, ast.Call) and len(node.args) == 1:
        hint = static(body, node.func)
        if hint is forms.likely or hint is forms.unlikely:
            branch(body, node.args[0], yes, no, WEIGHTS[hint])
            return
    operand = body.expression(node)
    body.fork(truth_value(body, operand, node).text, yes, no, weights)


def truth_value(body: Body, operand: Operand, node: ast.AST) -> Value:
    if isinstance(operand, Value) and operand.kind is not bool:
        raise body.error(node, f"{describe(operand)} is no truth value", "write x != 0")
    return value(body, operand, bool, node)


def negated(body: Body, node: ast.UnaryOp) -> Operand:
    inside = body.expression(node.operand)
    if isinstance(inside, Const):
        return Const(not inside.value)
    return body.new(bool, f"xor i1 {truth_value(body, inside, node).text}, true")


def compare(body: Body, node: ast.Compare) -> Operand:
    """A comparison; `a < b < c` does not evaluate c if a < b fails."""
    left = body.expression(node.left)
    right = body.expression(node.comparators[0])
    first = compared(body, node.ops[0], left, right, node)
    if len(node.ops) == 1:
        return first
    end = body.label("end")
    failed: list[tuple[str, str]] = []
    for op, comparator in zip(node.ops[1:], node.comparators[1:], strict=True):
        further = body.label("further")
        test = value(body, first, bool, node)
        failed += [("false", body.block)] if body.open else []
        body.fork(test.text, further, end)
        body.start(further)
        left, right = right, body.expression(comparator)
        first = compared(body, op, left, right, node)
    last = value(body, first, bool, node)
    arms = [*failed, (last.text, body.block)] if body.open else failed
    body.jump(end)
    body.start(end)
    return body.join(bool, arms)


def compared(body: Body, op: ast.cmpop, left: Operand, right: Operand, node: ast.AST) -> Operand:
    if type(op) not in COMPARISONS:
        name = type(op).__name__
        raise body.error(node, f"`{name}` is not in the native subset", instead_of(type(op)))
    python, unsigned, signed = COMPARISONS[type(op)]
    if isinstance(left, Const) and isinstance(right, Const):
        return Const(python(left.value, right.value))
    for operand, other in ((left, right), (right, left)):
        if isinstance(operand, Const) and isinstance(other, Value) and is_word(other.kind):
            check_comparand(body, operand.value, other.kind, node)
    a, b = same(body, left, right, node)
    if is_float(a.kind):
        raise body.error(node, f"{a.kind.__name__} compared", "use the comparisons of `floats`")
    if not is_word(a.kind) and unsigned not in ("eq", "ne"):
        raise body.error(node, f"{describe(a)} has no order")
    order = signed if getattr(a.kind, "signed", False) else unsigned
    return body.new(bool, f"icmp {order} {llvm(a.kind)} {a.text}, {b.text}")


def check_comparand(body: Body, constant: Any, kind: Any, node: ast.AST) -> None:
    if type(constant) is int and not kind.minimum <= constant <= kind.maximum:
        raise body.error(
            node,
            f"{kind.__name__} compared with {constant}, never equal to it",
            f"write {kind.__name__}({constant})",
        )


def combined(body: Body, node: ast.BoolOp) -> Operand:
    """`and`, `or` as a value."""
    truth = known(body, node)
    return (
        Const(truth)
        if truth is not None
        else chosen(body, node, lambda: Const(True), lambda: Const(False), node)
    )


def conditional(body: Body, node: ast.IfExp) -> Operand:
    """`a if test else b`."""
    truth = known(body, node.test)
    if truth is not None:
        return body.expression(node.body if truth else node.orelse)
    return chosen(
        body,
        node.test,
        lambda: body.expression(node.body),
        lambda: body.expression(node.orelse),
        node,
    )


def chosen(
    body: Body,
    test: ast.expr,
    left: Callable[[], Operand],
    right: Callable[[], Operand],
    node: ast.AST,
) -> Value:
    """What one of two expressions gives."""
    yes, no, end = body.label("then"), body.label("else"), body.label("end")
    branch(body, test, yes, no)
    arms: list[Value] = []
    values: list[tuple[str, str]] = []
    for label, arm in ((yes, left), (no, right)):
        body.start(label)
        arms.append(run_time(body, arm(), node))
        if body.open:
            values.append((arms[-1].text, body.block))
        body.jump(end)
    if arms[0].kind != arms[1].kind:
        raise body.error(node, f"one side is {describe(arms[0])}, the other {describe(arms[1])}")
    body.start(end)
    return body.join(arms[0].kind, values)
