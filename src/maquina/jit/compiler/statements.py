"""Assignments, `if`, `match`, `return`, expressions."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from maquina.jit import forms
from maquina.jit.compiler import calls, conditions, loops, memory, traps
from maquina.jit.compiler.body import Body, Label
from maquina.jit.compiler.conversions import adapted, parts, run_time
from maquina.jit.compiler.expressions import binary, name
from maquina.jit.compiler.operands import Const, Operand, Value, describe, is_word, llvm


def nothing(body: Body, node: ast.Pass | ast.Assert) -> None:
    """`pass`; and `assert`, which the reference alone checks."""


def expression_statement(body: Body, node: ast.Expr) -> None:
    if not isinstance(node.value, ast.Constant):
        body.expression(node.value)


def assignment(body: Body, node: ast.Assign) -> None:
    operand = body.expression(node.value)
    for target in node.targets:
        assign(body, target, operand)


def annotated(body: Body, node: ast.AnnAssign) -> None:
    if node.value is not None:
        assign(body, node.target, body.expression(node.value))


def augmented(body: Body, node: ast.AugAssign) -> None:
    if isinstance(node.target, ast.Name):
        now = name(body, node.target)
        operand = binary(body, node.op, now, body.expression(node.value), node)
        assign(body, node.target, operand)
        return
    where = memory.place(body, node.target)
    now = memory.load(body, where)
    memory.store(body, where, binary(body, node.op, now, body.expression(node.value), node), node)


def assign(body: Body, target: ast.expr, operand: Operand) -> None:
    if isinstance(target, ast.Name):
        if target.id in body.frame.bound:
            raise body.error(target, f"{target.id} is the compile-time name of an unrolled loop")
        body.assign_local(target.id, run_time(body, operand, target), target)
    elif isinstance(target, ast.Tuple):
        unpack(body, target, operand)
    elif isinstance(target, ast.Attribute | ast.Subscript):
        memory.store(body, memory.place(body, target), operand, target)
    else:
        raise body.error(target, f"{type(target).__name__} cannot be assigned to natively")


def unpack(body: Body, target: ast.Tuple, operand: Operand) -> None:
    whole = run_time(body, operand, target)
    if not isinstance(whole.kind, tuple) or len(whole.kind) != len(target.elts):
        raise body.error(
            target, f"{describe(whole)} does not unpack into {len(target.elts)} names"
        )
    for element, part in zip(target.elts, parts(body, whole), strict=True):
        assign(body, element, part)


def return_statement(body: Body, node: ast.Return) -> None:
    call = node.value
    if isinstance(call, ast.Call) and conditions.static(body, call.func) is forms.tail_call:
        calls.tail(body, call)
        return
    calls.give(body, None if call is None else body.expression(call), node)


def stray_tail_call(body: Body, node: ast.AST, *_: Operand) -> Operand:
    raise body.error(node, "tail_call stands alone in a return", "write return tail_call(f, ...)")


def if_statement(body: Body, node: ast.If) -> None:
    truth = conditions.known(body, node.test)
    if truth is not None:
        body.suite(node.body if truth else node.orelse)
        return
    yes, no, end = body.label("then"), body.label("else"), body.label("end")
    conditions.branch(body, node.test, yes, no)
    for label, statements in ((yes, node.body), (no, node.orelse)):
        body.start(label)
        body.suite(statements)
        body.jump(end)
    body.start(end)


def match_statement(body: Body, node: ast.Match) -> None:
    """A switch on a word."""
    subject = body.expression(node.subject)
    if isinstance(subject, Const) or not is_word(subject.kind):
        raise body.error(node, f"match on {describe(subject)}", "match a run-time word, or use if")
    end = body.label("end")
    default, cases = end, [(body.label("case"), case) for case in node.cases]
    choices: list[tuple[str, Label]] = []
    for label, case in cases:
        if default is not end or case.guard is not None:
            raise body.error(case.pattern, "`_` comes last, and a case has no guard")
        for pattern in alternatives(case.pattern):
            if isinstance(pattern, ast.MatchAs) and pattern.name is None:
                default = label
            else:
                choices.append((choice(body, pattern, subject), label))
    switch(body, subject, choices, default)
    for label, case in cases:
        body.start(label)
        body.suite(case.body)
        body.jump(end)
    body.start(end)


def switch(body: Body, subject: Value, choices: list[tuple[str, Label]], default: Label) -> None:
    for label in dict.fromkeys([default, *(label for _, label in choices)]):
        body.reach(label)
    kind = llvm(subject.kind)
    arms = " ".join(f"{kind} {text}, label %{label.name}" for text, label in choices)
    body.put(f"switch {kind} {subject.text}, label %{default.name} [ {arms} ]")
    body.open = False


def alternatives(pattern: ast.pattern) -> list[ast.pattern]:
    return pattern.patterns if isinstance(pattern, ast.MatchOr) else [pattern]


def choice(body: Body, pattern: ast.pattern, subject: Value) -> str:
    if not isinstance(pattern, ast.MatchValue):
        raise body.error(pattern, "a case is a constant, constants joined by |, or _")
    return adapted(body, body.expression(pattern.value), subject.kind, pattern).text


STATEMENTS: dict[type[ast.stmt], Callable[[Body, Any], None]] = {
    ast.AnnAssign: annotated,
    ast.Assert: nothing,
    ast.Assign: assignment,
    ast.AugAssign: augmented,
    ast.Break: loops.break_statement,
    ast.Continue: loops.continue_statement,
    ast.Expr: expression_statement,
    ast.For: loops.for_statement,
    ast.If: if_statement,
    ast.Match: match_statement,
    ast.Pass: nothing,
    ast.Raise: traps.raise_statement,
    ast.Return: return_statement,
    ast.Try: traps.try_statement,
    ast.While: loops.while_statement,
}
