"""Making operands have the type that is needed: only literals beside a word adapt."""

from __future__ import annotations

import ast
from typing import Any

from maquina.jit.compiler.body import Body
from maquina.jit.compiler.operands import (
    Const,
    Operand,
    Value,
    describe,
    is_float,
    is_pointer,
    is_word,
    literal,
    llvm,
    spelled,
)
from maquina.jit.layout import Struct
from maquina.jit.words import Float, Word, u64


def value(body: Body, operand: Operand, kind: Any, node: ast.AST) -> Value:
    """The operand as a run-time value of exactly `kind`."""
    if isinstance(operand, Const):
        operand = run_time(body, operand, node)
    if operand.kind != kind:
        wanted = spelled(kind)
        remedy = f"write {wanted}(...)" if is_word(kind) and is_word(operand.kind) else ""
        raise body.error(node, f"this is {describe(operand)} where {wanted} is needed", remedy)
    return operand


def run_time(body: Body, operand: Operand, node: ast.AST) -> Value:
    """The operand as a run-time value; an int has no machine type."""
    if isinstance(operand, Value):
        return operand
    constant = operand.value
    if isinstance(constant, Word | bool | Float):
        return Value(type(constant), literal(constant))
    if isinstance(constant, tuple) and constant:
        return aggregate(body, [run_time(body, Const(part), node) for part in constant])
    remedy = f"write e.g. u64({constant!r})" if isinstance(constant, int) else ""
    raise body.error(node, f"{constant!r} has no machine type", remedy)


def adapted(body: Body, operand: Operand, kind: Any, node: ast.AST) -> Value:
    """The operand of an operator as a value of `kind`: an int literal adapts if it fits."""
    if isinstance(operand, Const) and type(operand.value) is int and is_word(kind):
        if not kind.minimum <= operand.value <= kind.mask:
            raise body.error(node, f"{operand.value} does not fit in {kind.__name__}")
        return Value(kind, str(operand.value))
    return value(body, operand, kind, node)


def same(body: Body, left: Operand, right: Operand, node: ast.AST) -> tuple[Value, Value]:
    """Two operands of an operator as values of one type."""
    if isinstance(left, Const) and type(left.value) is int:
        right = run_time(body, right, node)
        return adapted(body, left, right.kind, node), right
    left = run_time(body, left, node)
    if not (isinstance(right, Const) and type(right.value) is int):
        right = run_time(body, right, node)
        if right.kind != left.kind:
            mine, other = describe(left), describe(right)
            raise body.error(node, f"{mine} with {other}", f"convert one side, e.g. {mine}(x)")
    return left, adapted(body, right, left.kind, node)


def convert(body: Body, operand: Operand, kind: type[Word], node: ast.AST) -> Value:
    """`kind(operand)` for a word type: the value modulo 2**bits."""
    if isinstance(operand, Const):
        try:
            return Value(kind, str(kind(operand.value).value))
        except (TypeError, AttributeError):
            message = f"{operand.value!r} cannot become a {kind.__name__}"
            raise body.error(node, message) from None
    have = operand.kind
    if have is bool:
        return body.new(kind, f"zext i1 {operand.text} to {llvm(kind)}")
    if not is_word(have):
        is_address = is_pointer(have) or (isinstance(have, type) and issubclass(have, Struct))
        remedy = "its number is `.address`" if is_address else ""
        remedy = "its bits are `.pattern`" if is_float(have) else remedy
        raise body.error(node, f"{describe(operand)} cannot become a {kind.__name__}", remedy)
    if have.bits == kind.bits:
        return Value(kind, operand.text)
    how = "trunc" if kind.bits < have.bits else "sext" if have.signed else "zext"
    return body.new(kind, f"{how} {llvm(have)} {operand.text} to {llvm(kind)}")


def aggregate(body: Body, values: list[Value]) -> Value:
    """A tuple of values."""
    kind, text = tuple(part.kind for part in values), "poison"
    for i, part in enumerate(values):
        line = f"insertvalue {llvm(kind)} {text}, {llvm(part.kind)} {part.text}, {i}"
        text = body.new(kind, line).text
    return Value(kind, text)


def parts(body: Body, whole: Value) -> list[Value]:
    """The members of a tuple value."""
    line = f"extractvalue {llvm(whole.kind)} {whole.text}"
    return [body.new(kind, f"{line}, {i}") for i, kind in enumerate(whole.kind)]


def to_pointer(body: Body, kind: Any, operand: Operand, node: ast.AST) -> Value:
    """The address `operand`, a u64, as a pointer or struct reference."""
    address = value(body, operand, u64, node)
    return body.new(kind, f"inttoptr i64 {address.text} to ptr")
