"""What the functions of `forms` and `layout` become."""

from __future__ import annotations

import ast
from typing import Any

from maquina.jit import forms, layout
from maquina.jit.compiler.body import Body, Lowering
from maquina.jit.compiler.calls import by_address, tuple_gathered
from maquina.jit.compiler.conversions import to_pointer
from maquina.jit.compiler.operands import Const, Operand, Value, llvm
from maquina.jit.compiler.statements import stray_tail_call
from maquina.jit.layout import Array, Ptr
from maquina.jit.native import Native
from maquina.jit.words import u64

# An array on the native stack larger than this would put a thread's stack, often 8 MiB and
# in musl 128 KiB, in danger.
LARGEST_LOCAL_ARRAY = 16384


def hint(_: Body, __: ast.AST, operand: Operand) -> Operand:
    """`likely(x)` away from a test means nothing natively."""
    return operand


def views(view: Any, kind: Any) -> Any:
    """`view[kind]`, where both are known at run time only."""
    return view[kind]


def local_array(body: Body, node: ast.AST, kind: Operand, count: Operand) -> Operand:
    if not isinstance(kind, Const) or not isinstance(count, Const):
        raise body.error(node, "local_array(kind, count) takes compile-time constants")
    size = layout.size_of(kind.value) * int(count.value)
    if not 0 < size <= LARGEST_LOCAL_ARRAY:
        raise body.error(node, f"a local_array of {size} bytes", f"at most {LARGEST_LOCAL_ARRAY}")
    element = llvm(kind.value)
    # A struct is bytes; an array of words keeps its element type, which sroa likes.
    whole = f"[{size} x i8]" if element == "ptr" else f"[{int(count.value)} x {element}]"
    body.count += 1
    name = f"%array.{body.count}"
    body.slots.append(f"  {name} = alloca {whole}, align 8")
    body.put(f"store {whole} zeroinitializer, ptr {name}")
    return Value(views(Array, kind.value), name)


def pointer(body: Body, node: ast.AST, kind: Operand, address: Operand) -> Operand:
    if not isinstance(kind, Const):
        raise body.error(node, "pointer(kind, address) takes a compile-time type")
    return to_pointer(body, views(Ptr, kind.value), address, node)


def address_of(body: Body, node: ast.AST, function: Operand) -> Operand:
    if not isinstance(function, Const) or not isinstance(function.value, Native):
        raise body.error(node, "address_of takes a native function")
    symbol = body.module.use(body.module.replaced(function.value))
    return body.new(u64, f'ptrtoint ptr @"{symbol}" to i64')


FORMS: dict[object, Lowering] = {
    forms.likely: hint,
    forms.unlikely: hint,
    forms.gather: tuple_gathered,
    forms.tail_call: stray_tail_call,
    forms.call_address: by_address,
    forms.address_of: address_of,
    layout.local_array: local_array,
    layout.pointer: pointer,
}
