"""What the functions of `integers` become."""

from __future__ import annotations

import ast

from maquina.jit import integers
from maquina.jit.compiler.body import Body, Lowering
from maquina.jit.compiler.calls import call
from maquina.jit.compiler.conversions import convert, run_time, same, value
from maquina.jit.compiler.expressions import note_division
from maquina.jit.compiler.operands import Const, Operand, Value, describe, is_word, llvm
from maquina.jit.division import divide_wide_by_halves
from maquina.jit.words import u64


def division(instruction: str) -> Lowering:
    """sdiv and udiv, srem and urem."""

    def lower(body: Body, node: ast.AST, left: Operand, right: Operand) -> Operand:
        a, b = same(body, left, right, node)
        note_division(body, a)
        sign = "s" if a.kind.signed else "u"
        return body.new(a.kind, f"{sign}{instruction} {llvm(a.kind)} {a.text}, {b.text}")

    return lower


def counted(name: str, *flags: str) -> Lowering:
    """An LLVM intrinsic from a word to a word of its type."""

    def lower(body: Body, node: ast.AST, operand: Operand) -> Operand:
        a = word(body, operand, node)
        if name == "bswap" and a.kind.bits % 16:
            raise body.error(
                node, f"byte_swap of {describe(a)}: the width must be a multiple of 16"
            )
        kind = llvm(a.kind)
        called = body.module.intrinsic(kind, f"llvm.{name}.{kind}", kind, *["i1"] * len(flags))
        tail = "".join(f", i1 {flag}" for flag in flags)
        return body.new(a.kind, f"call {kind} {called}({kind} {a.text}{tail})")

    return lower


def word(body: Body, operand: Operand, node: ast.AST) -> Value:
    a = run_time(body, operand, node)
    if not is_word(a.kind):
        raise body.error(node, f"this is {describe(a)} where a word is needed")
    return a


def rotation(name: str) -> Lowering:
    """A funnel shift of a word with itself; LLVM takes the amount modulo the width."""

    def lower(body: Body, node: ast.AST, operand: Operand, amount: Operand) -> Operand:
        a = word(body, operand, node)
        if isinstance(amount, Const):
            amount = Const(int(amount.value) % a.kind.bits)
        kind, n = llvm(a.kind), convert(body, amount, a.kind, node)
        called = body.module.intrinsic(kind, f"llvm.{name}.{kind}", kind, kind, kind)
        line = f"call {kind} {called}({kind} {a.text}, {kind} {a.text}, {kind} {n.text})"
        return body.new(a.kind, line)

    return lower


def divide_wide(body: Body, node: ast.AST, *operands: Operand) -> Operand:
    high, low, divisor = (value(body, operand, u64, node).text for operand in operands)
    if body.module.machine == "x86_64":
        asm = 'asm "divq $4", "={ax},={dx},{ax},{dx},r,~{flags}"'
        operand_list = f"(i64 {low}, i64 {high}, i64 {divisor})"
        return body.new((u64, u64), f"call {{ i64, i64 }} {asm}{operand_list}")
    return call(body, divide_wide_by_halves, list(operands), node)


INTEGERS: dict[object, Lowering] = {
    integers.quotient: division("div"),
    integers.remainder: division("rem"),
    integers.leading_zeros: counted("ctlz", "false"),
    integers.trailing_zeros: counted("cttz", "false"),
    integers.population: counted("ctpop"),
    integers.byte_swap: counted("bswap"),
    integers.rotate_left: rotation("fshl"),
    integers.rotate_right: rotation("fshr"),
    integers.divide_wide: divide_wide,
}
