"""`while`, `for ... in span(...)` at run time, `for ... in unrolled(...)` at compile time."""

from __future__ import annotations

import ast

from maquina.jit import forms
from maquina.jit.compiler import conditions
from maquina.jit.compiler.body import Body, Label
from maquina.jit.compiler.conversions import same
from maquina.jit.compiler.flow import bindings
from maquina.jit.compiler.operands import Const, Operand, Slot, Value, is_word, llvm


def while_statement(body: Body, node: ast.While) -> None:
    no_else(body, node)
    head, inside, end = body.label("while"), body.label("do"), body.label("done")
    body.jump(head)
    body.start(head, is_loop=True)
    conditions.branch(body, node.test, inside, end)
    body.start(inside)
    looped(body, node.body, head, end)
    body.jump(head)
    body.start(end)


def no_else(body: Body, node: ast.While | ast.For) -> None:
    if node.orelse:
        raise body.error(node, "`else` of a loop is not in the native subset", "use a flag")


def looped(body: Body, statements: list[ast.stmt], again: Label, end: Label) -> None:
    body.frame.loops.append((again, end))
    body.suite(statements)
    body.frame.loops.pop()


def break_statement(body: Body, _: ast.Break) -> None:
    body.jump(body.frame.loops[-1][1])


def continue_statement(body: Body, _: ast.Continue) -> None:
    body.jump(body.frame.loops[-1][0])


def for_statement(body: Body, node: ast.For) -> None:
    no_else(body, node)
    source = node.iter
    form = conditions.static(body, source.func) if isinstance(source, ast.Call) else None
    if isinstance(source, ast.Call) and form is forms.span:
        for_span(body, node, [body.expression(part) for part in source.args])
        return
    if isinstance(source, ast.Call) and form is forms.unrolled and len(source.args) == 1:
        items = body.expression(source.args[0])
        if isinstance(items, Const):
            for_unrolled(body, node, items)
            return
    remedy = "loop over span(first, stop) at run time, unrolled(constants) at compile time"
    raise body.error(node, "this loop is not in the native subset", remedy)


def for_span(body: Body, node: ast.For, bounds: list[Operand]) -> None:
    if not isinstance(node.target, ast.Name) or len(bounds) not in (1, 2):
        raise body.error(node, "write for i in span(stop) or span(first, stop)")
    begin, limit = bounds if len(bounds) == 2 else (Const(0), bounds[0])
    first, stop = same(body, begin, limit, node)
    if not is_word(first.kind):
        raise body.error(node, "span counts in words")
    counter, kind = body.slot(first.kind, "counter"), llvm(first.kind)
    body.put(f"store {kind} {first.text}, ptr {counter.text}")
    head, inside, step, end = (body.label(hint) for hint in ("for", "do", "step", "done"))
    body.jump(head)
    body.start(head, is_loop=True)
    now = counted(body, counter)
    order = "slt" if first.kind.signed else "ult"
    test = body.new(bool, f"icmp {order} {kind} {now.text}, {stop.text}")
    body.fork(test.text, inside, end)
    body.start(inside)
    body.assign_local(node.target.id, now, node)
    looped(body, node.body, step, end)
    body.jump(step)
    body.start(step)
    following = body.new(first.kind, f"add {kind} {counted(body, counter).text}, 1")
    body.put(f"store {kind} {following.text}, ptr {counter.text}")
    body.jump(head)
    body.start(end)


def counted(body: Body, counter: Slot) -> Value:
    return body.new(counter.kind, f"load {llvm(counter.kind)}, ptr {counter.text}")


def for_unrolled(body: Body, node: ast.For, items: Const) -> None:
    end = body.label("done")
    before = body.frame.bound
    for item in items.value:
        try:
            body.frame.bound = before | bindings(node.target, item)
        except (TypeError, ValueError):
            message = f"{item!r} does not unpack into the loop's names"
            raise body.error(node, message) from None
        following = body.label("next")
        looped(body, node.body, following, end)
        body.jump(following)
        body.start(following)
        if not body.open:
            break
    body.frame.bound = before
    body.jump(end)
    body.start(end)
