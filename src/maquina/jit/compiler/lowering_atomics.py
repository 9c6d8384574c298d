"""What the functions of `atomics` become: LLVM's atomic instructions, sequentially consistent."""

from __future__ import annotations

import ast

from maquina.jit import atomics
from maquina.jit.compiler.body import Body, Lowering
from maquina.jit.compiler.conversions import run_time, value
from maquina.jit.compiler.operands import Const, Operand, Value, describe, is_pointer, llvm
from maquina.jit.layout import size_of


def pointed(body: Body, operand: Operand, node: ast.AST) -> Value:
    """The operand as a pointer to something atomic."""
    place = run_time(body, operand, node)
    if not is_pointer(place.kind):
        raise body.error(node, f"this is {describe(place)} where a Ptr is needed")
    try:
        atomics.check_atomic(place.kind.element)
    except TypeError as error:
        raise body.error(node, str(error)) from None
    return place


def load(body: Body, node: ast.AST, operand: Operand) -> Operand:
    place = pointed(body, operand, node)
    kind = place.kind.element
    line = f"load atomic {llvm(kind)}, ptr {place.text} seq_cst, align {size_of(kind)}"
    return body.new(kind, line)


def store(body: Body, node: ast.AST, operand: Operand, new: Operand) -> Operand:
    place = pointed(body, operand, node)
    kind = place.kind.element
    stored = value(body, new, kind, node)
    line = f"store atomic {llvm(kind)} {stored.text}, ptr {place.text} seq_cst"
    body.put(f"{line}, align {size_of(kind)}")
    return Const(None)


def change(unsigned: str, signed: str = "") -> Lowering:
    """An `atomicrmw`."""

    def lower(body: Body, node: ast.AST, operand: Operand, by: Operand) -> Operand:
        place = pointed(body, operand, node)
        kind = place.kind.element
        operation = signed if signed and kind.signed else unsigned
        amount = value(body, by, kind, node)
        line = f"atomicrmw {operation} ptr {place.text}, {llvm(kind)} {amount.text} seq_cst"
        return body.new(kind, f"{line}, align {size_of(kind)}")

    return lower


def compare_exchange(
    body: Body, node: ast.AST, operand: Operand, expected: Operand, new: Operand
) -> Operand:
    place = pointed(body, operand, node)
    kind = place.kind.element
    word = llvm(kind)
    old, stored = value(body, expected, kind, node), value(body, new, kind, node)
    line = f"cmpxchg ptr {place.text}, {word} {old.text}, {word} {stored.text} seq_cst seq_cst"
    both = body.new(None, f"{line}, align {size_of(kind)}")
    return body.new(kind, f"extractvalue {{ {word}, i1 }} {both.text}, 0")


def fence(body: Body, _: ast.AST) -> Operand:
    body.put("fence seq_cst")
    return Const(None)


ATOMICS: dict[object, Lowering] = {
    atomics.atomic_load: load,
    atomics.atomic_store: store,
    atomics.atomic_swap: change("xchg"),
    atomics.atomic_add: change("add"),
    atomics.atomic_sub: change("sub"),
    atomics.atomic_and: change("and"),
    atomics.atomic_or: change("or"),
    atomics.atomic_xor: change("xor"),
    atomics.atomic_min: change("umin", "min"),
    atomics.atomic_max: change("umax", "max"),
    atomics.compare_exchange: compare_exchange,
    atomics.fence: fence,
}
