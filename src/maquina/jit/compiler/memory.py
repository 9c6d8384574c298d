"""Places in memory: struct fields, elements of pointers and arrays, tables."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Any

from maquina.jit.compiler.body import Body
from maquina.jit.compiler.conversions import adapted, convert, run_time
from maquina.jit.compiler.operands import (
    Caught,
    Const,
    Operand,
    Value,
    describe,
    is_float,
    is_pointer,
    llvm,
)
from maquina.jit.forms import Table
from maquina.jit.layout import Array, Struct, size_of
from maquina.jit.native import Native
from maquina.jit.words import u64


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value of type `kind` lies: an LLVM pointer."""

    kind: Any
    text: str


def is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Struct)


def index_of(body: Body, index: Operand, node: ast.AST) -> Value:
    """An index as 64 bits."""
    if isinstance(index, Const) and not hasattr(index.value, "__index__"):
        raise body.error(node, f"{index.value!r} is no index", "use a word or an int")
    return convert(body, index, u64, node)


def element(body: Body, base: Value, index: Operand, node: ast.AST) -> Place:
    """The place base[index]."""
    kind = base.kind.element
    i = index_of(body, index, node)
    step = f"[{size_of(kind)} x i8]"
    where = body.new(None, f"getelementptr {step}, ptr {base.text}, i64 {i.text}")
    return Place(kind, where.text)


def place(body: Body, node: ast.Attribute | ast.Subscript) -> Place:
    """The place that a field or an element is; sub-expressions are evaluated once."""
    base = body.expression(node.value)
    if isinstance(node, ast.Subscript):
        if not (isinstance(base, Value) and is_pointer(base.kind)):
            raise body.error(
                node, f"{describe(base)} has no elements", "Ptr, Array and Table have"
            )
        return element(body, base, body.expression(node.slice), node)
    return field_of(body, base, node)


def field_of(body: Body, base: Operand, node: ast.Attribute) -> Place:
    fields = base.kind.fields if isinstance(base, Value) and is_struct(base.kind) else {}
    if node.attr not in fields:
        remedy = f"it has {', '.join(fields)}" if fields else ""
        raise body.error(node, f"{describe(base)} has no field {node.attr}", remedy)
    assert isinstance(base, Value)
    field = fields[node.attr]
    if field.offset == 0:
        return Place(field.type, base.text)
    where = body.new(None, f"getelementptr i8, ptr {base.text}, i64 {field.offset}")
    return Place(field.type, where.text)


def load(body: Body, where: Place) -> Value:
    """What lies at a place; of a struct or array in place, the reference to it."""
    if is_struct(where.kind) or issubclass(where.kind, Array):
        return Value(where.kind, where.text)
    return body.new(where.kind, f"load {llvm(where.kind)}, ptr {where.text}, align 1")


def store(body: Body, where: Place, operand: Operand, node: ast.AST) -> None:
    if is_struct(where.kind) or issubclass(where.kind, Array):
        raise body.error(node, "a struct or array in place cannot be replaced", "store its parts")
    stored = adapted(body, operand, where.kind, node)
    body.put(f"store {llvm(stored.kind)} {stored.text}, ptr {where.text}, align 1")


def attribute(body: Body, node: ast.Attribute) -> Operand:
    if isinstance(node.value, ast.Name):
        local = body.frame.locals.get(node.value.id)
        if isinstance(local, Caught) and node.attr in ("cause", "value"):
            return local.cause if node.attr == "cause" else local.value
    base = body.expression(node.value)
    if isinstance(base, Const):
        return constant_attribute(body, base, node)
    if node.attr == "address" and (is_pointer(base.kind) or is_struct(base.kind)):
        return body.new(u64, f"ptrtoint ptr {base.text} to i64")
    if node.attr == "pattern" and is_float(base.kind):
        word = base.kind.word
        return body.new(word, f"bitcast {llvm(base.kind)} {base.text} to {llvm(word)}")
    return load(body, field_of(body, base, node))


def constant_attribute(body: Body, base: Const, node: ast.Attribute) -> Const:
    if isinstance(base.value, Native) and node.attr == "stand_in":
        raise body.error(node, "an address is only known when linked", "use address_of(f)")
    try:
        return Const(getattr(base.value, node.attr))
    except AttributeError as error:
        raise body.error(node, str(error)) from error


def subscript(body: Body, node: ast.Subscript) -> Operand:
    base = body.expression(node.value)
    if isinstance(base, Const):
        return constant_element(body, base, node)
    if is_pointer(base.kind):
        return load(body, element(body, base, body.expression(node.slice), node))
    raise body.error(node, f"{describe(base)} has no elements", "Ptr, Array and Table have")


def constant_element(body: Body, base: Const, node: ast.Subscript) -> Operand:
    index = body.expression(node.slice)
    if isinstance(base.value, Table):
        return table_element(body, base.value, index, node)
    if not isinstance(index, Const):
        kind = type(base.value).__name__
        raise body.error(node, f"a {kind} is indexed at run time", "make it a Table")
    try:
        return Const(base.value[index.value])
    except Exception as error:
        raise body.error(node, f"at compile time: {type(error).__name__}: {error}") from error


def table_element(body: Body, table: Table[Any], index: Operand, node: ast.AST) -> Operand:
    if isinstance(index, Const):
        item = table.items[int(index.value)]
        if not isinstance(item, Native):
            return Const(table.kind(item))
    kind, i = llvm(table.kind), index_of(body, index, node)
    base = body.module.table(table)
    where = body.new(None, f"getelementptr {kind}, ptr {base}, i64 {i.text}")
    return body.new(table.kind, f"load {kind}, ptr {where.text}")


def sibling(body: Body, node: ast.Call) -> Operand:
    """`struct.shifted(count)`."""
    assert isinstance(node.func, ast.Attribute)
    base = run_time(body, body.expression(node.func.value), node)
    if not is_struct(base.kind) or len(node.args) != 1:
        raise body.error(node, "shifted(count) is for structs")
    i = index_of(body, body.expression(node.args[0]), node)
    step = f"[{base.kind.size} x i8]"
    return body.new(base.kind, f"getelementptr {step}, ptr {base.text}, i64 {i.text}")
