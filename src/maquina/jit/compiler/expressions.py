"""Names, constants, operators and tuples."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

from maquina.errors import NativeError
from maquina.jit.compiler import conditions, memory
from maquina.jit.compiler.body import Body
from maquina.jit.compiler.calls import arguments, call_expression
from maquina.jit.compiler.conversions import adapted, aggregate, convert, run_time, same
from maquina.jit.compiler.operands import (
    Caught,
    Const,
    Operand,
    Slot,
    Value,
    describe,
    is_float,
    is_pointer,
    is_word,
    llvm,
)
from maquina.jit.compiler.refusals import instead_of
from maquina.jit.compiler.static import UNKNOWN

OPERATORS: dict[type[ast.operator], tuple[Callable[[Any, Any], Any], str, str]] = {
    ast.Add: (operator.add, "add", "add"),  # the Python operator, unsigned, signed
    ast.Sub: (operator.sub, "sub", "sub"),
    ast.Mult: (operator.mul, "mul", "mul"),
    ast.BitAnd: (operator.and_, "and", "and"),
    ast.BitOr: (operator.or_, "or", "or"),
    ast.BitXor: (operator.xor, "xor", "xor"),
    ast.LShift: (operator.lshift, "shl", "shl"),
    ast.RShift: (operator.rshift, "lshr", "ashr"),
    ast.FloorDiv: (operator.floordiv, "udiv", ""),
    ast.Mod: (operator.mod, "urem", ""),
}


WIDEST_DIVISION = 64  # bits that hosts divide with one instruction


def constant(_: Body, node: ast.Constant) -> Operand:
    return Const(node.value)


def name(body: Body, node: ast.Name) -> Operand:
    frame = body.frame
    if node.id in frame.bound:
        return Const(frame.bound[node.id])
    local = frame.locals.get(node.id)
    if local is None and node.id not in frame.function.python.__code__.co_varnames:
        return free_name(body, node)
    if node.id not in frame.assigned:
        raise body.error(
            node, f"{node.id} may have no value here", "assign it before, on every path"
        )
    assert local is not None
    if isinstance(local, Slot):
        return body.new(local.kind, f"load {llvm(local.kind)}, ptr {local.text}")
    if isinstance(local, Caught):
        raise body.error(node, "a caught Trap only has .cause and .value")
    return local


def free_name(body: Body, node: ast.Name) -> Operand:
    found = conditions.static(body, node)
    if found is UNKNOWN:
        raise body.error(node, f"{node.id} is neither a local nor a name of the enclosing module")
    return Const(found)


def tuple_of(body: Body, node: ast.Tuple) -> Operand:
    parts = arguments(body, node.elts)
    constants = [part.value for part in parts if isinstance(part, Const)]
    if len(constants) == len(parts):
        return Const(tuple(constants))
    return aggregate(body, [run_time(body, part, node) for part in parts])


def unary(body: Body, node: ast.UnaryOp) -> Operand:
    if isinstance(node.op, ast.Not):
        return conditions.negated(body, node)
    operand = body.expression(node.operand)
    if isinstance(node.op, ast.UAdd):
        raise body.error(node, "unary + is not in the native subset", "leave it out")
    negative = isinstance(node.op, ast.USub)
    if isinstance(operand, Const):
        return Const(-operand.value if negative else ~operand.value)
    if not is_word(operand.kind):
        raise no_operator(body, operand, node)
    kind = llvm(operand.kind)
    line = f"sub {kind} 0, {operand.text}" if negative else f"xor {kind} {operand.text}, -1"
    return body.new(operand.kind, line)


def binary_expression(body: Body, node: ast.BinOp) -> Operand:
    return binary(body, node.op, body.expression(node.left), body.expression(node.right), node)


def binary(body: Body, op: ast.operator, left: Operand, right: Operand, node: ast.AST) -> Operand:
    if type(op) not in OPERATORS:
        name = type(op).__name__
        raise body.error(node, f"{name} is not in the native subset", instead_of(type(op)))
    python, unsigned, signed = OPERATORS[type(op)]
    if isinstance(left, Const) and isinstance(right, Const):
        return folded(body, python, left, right, node)
    if isinstance(left, Value) and is_pointer(left.kind) and isinstance(op, ast.Add):
        return Value(left.kind, memory.element(body, left, right, node).text)
    if isinstance(op, ast.LShift | ast.RShift):
        a, b = shifted(body, left, right, node)
    else:
        a, b = same(body, left, right, node)
    if not is_word(a.kind):
        raise no_operator(body, a, node)
    instruction = signed if a.kind.signed else unsigned
    if not instruction:
        remedy = "write quotient(a, b) or remainder(a, b), which truncate"
        raise body.error(node, f"// and % on {a.kind.__name__}", remedy)
    if unsigned in ("udiv", "urem"):
        note_division(body, a)
    return body.new(a.kind, f"{instruction} {llvm(a.kind)} {a.text}, {b.text}")


def folded(
    body: Body, python: Callable[[Any, Any], Any], left: Const, right: Const, node: ast.AST
) -> Const:
    try:
        return Const(python(left.value, right.value))
    except Exception as error:
        raise body.error(node, f"at compile time: {type(error).__name__}: {error}") from error


def shifted(body: Body, left: Operand, right: Operand, node: ast.AST) -> tuple[Value, Value]:
    """The operands of a shift: the amount may be any word."""
    value = run_time(body, left, node)
    if not is_word(value.kind):
        raise no_operator(body, value, node)
    if isinstance(right, Const):
        amount = int(right.value)
        if not 0 <= amount < value.kind.bits:
            raise body.error(
                node, f"{value.kind.__name__} shifted by {amount}: undefined natively"
            )
        return value, adapted(body, Const(amount), value.kind, node)
    return value, convert(body, right, value.kind, node)


def no_operator(body: Body, operand: Value, node: ast.AST) -> NativeError:
    remedy = "use the functions of `floats`" if is_float(operand.kind) else ""
    return body.error(node, f"{describe(operand)} has no such operator", remedy)


def note_division(body: Body, a: Value) -> None:
    """LLVM may turn a wide division into calls of a run-time library."""
    if a.kind.bits > WIDEST_DIVISION:
        body.module.divides_wide = True


EXPRESSIONS: dict[type[ast.expr], Callable[[Body, Any], Operand]] = {
    ast.Attribute: memory.attribute,
    ast.BinOp: binary_expression,
    ast.BoolOp: conditions.combined,
    ast.Call: call_expression,
    ast.Compare: conditions.compare,
    ast.Constant: constant,
    ast.IfExp: conditions.conditional,
    ast.Name: name,
    ast.Subscript: memory.subscript,
    ast.Tuple: tuple_of,
    ast.UnaryOp: unary,
}
