"""`raise Trap(cause, value)` and `try: ... except Trap as trap: ...`."""

from __future__ import annotations

import ast

from maquina.jit.compiler import flow
from maquina.jit.compiler.body import Body, Handler
from maquina.jit.compiler.conditions import static
from maquina.jit.compiler.conversions import value
from maquina.jit.compiler.operands import Caught, Value, llvm
from maquina.jit.traps import Trap
from maquina.jit.words import u64


def throw(body: Body, code: Value, reason: Value, node: ast.AST) -> None:
    """Send (cause + 1, value) to the enclosing `try`, or else to the caller."""
    if not body.open:
        return
    if body.handlers:
        handler = body.handlers[-1]
        handler.raised.append((code.text, reason.text, body.block))
        body.jump(handler.label)
        return
    if not flow.raises(body.outer):
        raise body.error(
            node,
            f"a Trap would leave {body.outer.name}, whose callers do not expect it",
            "put it in try / except Trap",
        )
    result = llvm(body.outer.result)
    first = "" if result == "void" else f"{result}, "
    kind, at = f"{{ {first}i64, i64 }}", 1 if first else 0
    one = body.new(None, f"insertvalue {kind} poison, i64 {code.text}, {at}")
    two = body.new(None, f"insertvalue {kind} {one.text}, i64 {reason.text}, {at + 1}")
    body.put(f"ret {kind} {two.text}")
    body.open = False


def raise_statement(body: Body, node: ast.Raise) -> None:
    call = node.exc
    if not isinstance(call, ast.Call) or static(body, call.func) is not Trap or node.cause:
        raise body.error(
            node, "the only exception of the native subset is raise Trap(cause, value)"
        )
    if len(call.args) != 2 or call.keywords:
        raise body.error(node, "write raise Trap(cause, value)")
    cause, reason = (value(body, body.expression(part), u64, node) for part in call.args)
    throw(body, body.new(u64, f"add i64 {cause.text}, 1"), reason, node)


def try_statement(body: Body, node: ast.Try) -> None:
    handler = node.handlers[0] if len(node.handlers) == 1 else None
    if handler is None or node.finalbody or node.orelse or handler.type is None:
        raise body.error(node, "write try: ... except Trap as trap: ..., without else or finally")
    if static(body, handler.type) is not Trap:
        raise body.error(handler, "Trap is the only exception of the native subset")
    caught, end = Handler(body.label("except")), body.label("end")
    body.handlers.append(caught)
    body.suite(node.body)
    body.handlers.pop()
    body.jump(end)
    body.start(caught.label)
    if body.open:
        handle(body, handler, caught)
    body.jump(end)
    body.start(end)


def handle(body: Body, node: ast.ExceptHandler, caught: Handler) -> None:
    code = body.join(u64, [(text, block) for text, _, block in caught.raised])
    reason = body.join(u64, [(text, block) for _, text, block in caught.raised])
    cause = body.new(u64, f"sub i64 {code.text}, 1")
    if node.name is not None:
        body.frame.locals[node.name] = Caught(cause, reason)
        body.frame.assigned |= {node.name}
    body.suite(node.body)
    if node.name is not None:
        body.frame.locals.pop(node.name)
        body.frame.assigned -= {node.name}
