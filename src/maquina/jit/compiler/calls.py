"""Calls: of native functions, inlined or not, by address, and jumps to them."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

from maquina.jit import forms
from maquina.jit.compiler import flow, memory
from maquina.jit.compiler.body import Body, End, Frame
from maquina.jit.compiler.conditions import static
from maquina.jit.compiler.conversions import aggregate, convert, parts, run_time, to_pointer, value
from maquina.jit.compiler.operands import (
    Const,
    Operand,
    Value,
    describe,
    is_float,
    is_pointer,
    is_word,
    llvm,
    spelled,
)
from maquina.jit.compiler.traps import throw
from maquina.jit.layout import Struct
from maquina.jit.native import Native
from maquina.jit.words import u64

CONVENTIONS = {"c": "", "preserve_none": "preserve_nonecc ", "preserve_most": "preserve_mostcc "}


def signature(function: Native[..., Any]) -> tuple[str, str]:
    """Calling convention and result type, as they stand in definitions and in calls.

    A function that raises gives back two words more: the cause plus 1, or 0, and the value.
    """
    result = llvm(function.result)
    if flow.raises(function):
        result = "{ i64, i64 }" if result == "void" else f"{{ {result}, i64, i64 }}"
    return CONVENTIONS[function.convention], result


def call_expression(body: Body, node: ast.Call) -> Operand:
    if node.keywords:
        raise body.error(node, "keyword arguments are not in the native subset", "use positions")
    if isinstance(node.func, ast.Attribute) and node.func.attr == "shifted":
        return memory.sibling(body, node)
    callee = body.expression(node.func)
    if not isinstance(callee, Const):
        remedy = "for an address use tail_call or call_address"
        raise body.error(node, "only names of functions can be called", remedy)
    function = callee.value
    operands = arguments(body, node.args)
    if isinstance(function, Native):
        return call(body, function, operands, node)
    kind = getattr(function, "__self__", None) if _is_at(function) else function
    if isinstance(kind, type) and (is_word(kind) or is_float(kind) or _is_view(kind)):
        return made(body, kind, operands, node)
    return call_python(body, function, operands, node)


def _is_at(function: Any) -> bool:
    at: Any = Struct.at
    return getattr(function, "__func__", None) is at.__func__


def _is_view(kind: Any) -> bool:
    return is_pointer(kind) or memory.is_struct(kind)


def made(body: Body, kind: Any, operands: list[Operand], node: ast.Call) -> Operand:
    """`kind(x)`: a conversion, a reinterpretation of bits, or a pointer from an address."""
    if len(operands) != 1:
        raise body.error(node, f"{spelled(kind)} takes one argument")
    if _is_view(kind):
        return to_pointer(body, kind, operands[0], node)
    if is_float(kind):
        pattern = value(body, operands[0], kind.word, node)
        return body.new(kind, f"bitcast {llvm(kind.word)} {pattern.text} to {llvm(kind)}")
    if isinstance(operands[0], Const):
        return _called(body, kind, operands, node)
    return convert(body, operands[0], kind, node)


def call_python(body: Body, function: Any, operands: list[Operand], node: ast.Call) -> Operand:
    """A form with a lowering of its own, or a compile-time call of plain Python."""
    try:
        lowering = body.module.language.intrinsics.get(function)
    except TypeError:  # unhashable
        lowering = None
    if lowering is not None:
        return lowering(body, node, *operands)
    name = getattr(function, "__name__", repr(function))
    if not callable(function):
        raise body.error(node, f"{name} cannot be called")
    if not all(isinstance(operand, Const) for operand in operands):
        remedy = "make it @native, or call it with compile-time constants only"
        raise body.error(node, f"{name} is not a native function", remedy)
    return _called(body, function, operands, node)


def _called(body: Body, function: Any, operands: Sequence[Operand], node: ast.AST) -> Const:
    try:
        return Const(function(*(part.value for part in operands if isinstance(part, Const))))
    except Exception as error:
        raise body.error(node, f"at compile time: {type(error).__name__}: {error}") from error


def arguments(body: Body, nodes: list[ast.expr]) -> list[Operand]:
    """The operands of a call, with starred ones spread."""
    operands: list[Operand] = []
    for node in nodes:
        if isinstance(node, ast.Starred):
            operands += spread(body, node.value)
        else:
            operands.append(body.expression(node))
    return operands


def spread(body: Body, node: ast.expr) -> list[Operand]:
    """The members of `*node`: a gather, a compile-time tuple or a tuple value."""
    if isinstance(node, ast.Call) and static(body, node.func) is forms.gather:
        return gathered(body, node, *arguments(body, node.args))
    operand = body.expression(node)
    if isinstance(operand, Value) and isinstance(operand.kind, tuple):
        return list(parts(body, operand))
    if isinstance(operand, Const) and isinstance(operand.value, tuple):
        return [Const(part) for part in operand.value]
    raise body.error(node, f"{describe(operand)} cannot be spread", "only tuples can")


def gathered(body: Body, node: ast.AST, functions: Operand, *operands: Operand) -> list[Operand]:
    """The results of calling each of a compile-time sequence of functions."""
    found = functions.value if isinstance(functions, Const) else None
    if not isinstance(found, tuple | list) or not all(isinstance(f, Native) for f in found):
        raise body.error(node, "gather takes a compile-time tuple of native functions first")
    return [call(body, function, list(operands), node) for function in found]


def checked(
    body: Body, function: Native[..., Any], operands: list[Operand], node: ast.AST
) -> list[Value]:
    """The operands as values of the function's parameter types."""
    kinds = list(function.parameters.values())
    if len(operands) != len(kinds):
        message = f"{function.name} takes {len(kinds)} arguments, not {len(operands)}"
        raise body.error(node, message)
    return [value(body, part, kind, node) for part, kind in zip(operands, kinds, strict=True)]


def passed(values: list[Value], function: Native[..., Any]) -> str:
    """The arguments of a call as LLVM text."""
    kinds = [llvm(part.kind) + extension(function, part.kind) for part in values]
    return ", ".join(f"{kind} {part.text}" for kind, part in zip(kinds, values, strict=True))


def call(
    body: Body, function: Native[..., Any], operands: list[Operand], node: ast.AST
) -> Operand:
    function = body.module.replaced(function)
    values = checked(body, function, operands, node)
    if function.inline:
        return inlined(body, function, values, node)
    symbol = body.module.use(function)
    body.module.called(body.outer, function, f"{body.frame.function.file}:{node.lineno}")  # type: ignore[attr-defined]
    return invoked(body, function, f'@"{symbol}"', values, node)


def invoked(
    body: Body, function: Native[..., Any], target: str, values: list[Value], node: ast.AST
) -> Operand:
    """A call of the code at `target` with the function's types; a trap goes on to our handler."""
    convention, result = signature(function)
    line = f"call {convention}{result} {target}({passed(values, function)})"
    if result == "void":
        body.put(line)
        return Const(None)
    if not flow.raises(function):
        return body.new(function.result, line)
    kinds = [*([] if function.result is None else [function.result]), u64, u64]
    *results, code, reason = parts(body, body.new(tuple(kinds), line))
    failed, fine = body.label("raised"), body.label("returned")
    test = body.new(bool, f"icmp eq i64 {code.text}, 0")
    body.fork(test.text, fine, failed, ", !prof !0")
    body.start(failed)
    throw(body, code, reason, node)
    body.start(fine)
    return results[0] if results else Const(None)


def enter(body: Body, function: Native[..., Any], end: End | None, node: ast.AST) -> Frame:
    """Begin reading an inlined function; the frame to go back to is the answer."""
    if function in body.inlining:
        raise body.error(node, f"{function.name} is inline and calls itself", "write a loop")
    caller, lines = body.frame, body.module.lines
    call_site = lines.call(body.line, caller.scope, caller.inlined_at)
    scope = lines.function(function, function.name)
    body.frame = Frame(function, end, scope=scope, inlined_at=call_site)
    body.inlining.append(function)
    body.at(function.python.__code__.co_firstlineno)
    return caller


def leave(body: Body, caller: Frame, line: int) -> None:
    body.inlining.pop()
    body.frame = caller
    body.at(line)


def inlined(body: Body, function: Native[..., Any], values: list[Value], node: ast.AST) -> Operand:
    """The callee's body in place: its traps go to our handlers, its returns to the end label."""
    end = End(body.label("return"))
    line, caller = body.line, enter(body, function, end, node)
    body.bind_parameters(dict(zip(function.parameters, values, strict=True)))
    body.suite(function.node.body)
    if body.open:
        give(body, None, function.node)
    leave(body, caller, line)
    body.start(end.label)
    if function.result is None:
        return Const(None)
    return body.join(function.result, [(part.text, block) for part, block in end.values])


def give(body: Body, operand: Operand | None, node: ast.AST) -> None:
    """Return from the function being read."""
    frame = body.frame
    kind = frame.function.result
    if kind is None:
        if operand is not None and operand != Const(None):
            raise body.error(
                node, f"{frame.function.name} returns nothing, not {describe(operand)}"
            )
        result = None
    elif operand is None:
        raise body.error(node, f"{frame.function.name} can end without a return")
    else:
        result = value(body, operand, kind, node)
    if frame.end is None:
        leave_function(body, result)
        return
    if result is not None and body.open:
        frame.end.values.append((result, body.block))
    body.jump(frame.end.label)


def leave_function(body: Body, result: Value | None) -> None:
    kind = signature(body.outer)[1]
    members = [] if result is None else [result]
    if flow.raises(body.outer):
        body.put(f"ret {kind} {packed(body, kind, [*members, Value(u64, '0'), Value(u64, '0')])}")
    else:
        body.put(f"ret {kind} {members[0].text}" if members else "ret void")
    body.open = False


def packed(body: Body, kind: str, values: list[Value]) -> str:
    text = "poison"
    for i, part in enumerate(values):
        line = f"insertvalue {kind} {text}, {llvm(part.kind)} {part.text}, {i}"
        text = body.new(None, line).text
    return text


def tail(body: Body, node: ast.Call) -> None:
    """`return tail_call(target, ...)`."""
    if body.frame.end is not None:
        name = body.frame.function.name
        remedy = f"use {name} only as `return tail_call({name}, ...)`, or make it not inline"
        raise body.error(node, f"{name} is inlined where it cannot end its caller", remedy)
    target = body.expression(node.args[0]) if node.args else Const(None)
    operands = arguments(body, node.args[1:])
    if isinstance(target, Value):
        values = checked(body, body.outer, operands, node)
        where = to_pointer(body, None, target, node).text
        jump_to(body, where, values)
        return
    if not isinstance(target.value, Native):
        raise body.error(node, "tail_call takes a native function, or the address of one, first")
    function = body.module.replaced(target.value)
    values = checked(body, function, operands, node)
    if function.inline:
        tail_inlined(body, function, values, node)
        return
    check_same_signature(body, function, node)
    jump_to(body, f'@"{body.module.use(function)}"', values)


def jump_to(body: Body, where: str, values: list[Value]) -> None:
    convention, result = signature(body.outer)
    line = f"musttail call {convention}{result} {where}({passed(values, body.outer)})"
    if result == "void":
        body.put(line)
        body.put("ret void")
    else:
        body.put(f"ret {result} {body.new(None, line).text}")
    body.open = False


def tail_inlined(
    body: Body, function: Native[..., Any], values: list[Value], node: ast.AST
) -> None:
    """A jump to an inline function: its body, whose returns are ours."""
    if function.result != body.outer.result:
        raise body.error(node, f"{function.name} and {body.outer.name} have different results")
    line, caller = body.line, enter(body, function, None, node)
    handlers, body.handlers = body.handlers, []  # a jump leaves every `try`
    body.bind_parameters(dict(zip(function.parameters, values, strict=True)))
    body.suite(function.node.body)
    if body.open:
        give(body, None, function.node)
    body.handlers = handlers
    leave(body, caller, line)


def check_same_signature(body: Body, function: Native[..., Any], node: ast.AST) -> None:
    """A jump needs the caller's types and convention: both use the same registers and stack."""
    outer = body.outer
    mine = [llvm(kind) for kind in outer.parameters.values()]
    if mine != [llvm(kind) for kind in function.parameters.values()]:
        message = f"{function.name} and {outer.name} have different parameter types"
        raise body.error(node, message, "tail_call needs the same ones: call it, or change them")
    if signature(function) != signature(outer):
        what = "traps" if function.result == outer.result else "results"
        what = "conventions" if function.convention != outer.convention else what
        message = f"{function.name} and {outer.name} have different {what}"
        raise body.error(node, message, "tail_call needs the same ones: call it, or change them")


def by_address(body: Body, node: ast.AST, like: Operand, *operands: Operand) -> Operand:
    """`call_address(signature, target, ...)`."""
    if not (isinstance(like, Const) and isinstance(like.value, Native)) or not operands:
        raise body.error(node, "call_address takes a native function, an address, then arguments")
    where = to_pointer(body, None, operands[0], node)
    values = checked(body, like.value, list(operands[1:]), node)
    return invoked(body, like.value, where.text, values, node)


def extension(function: Native[..., Any], kind: Any) -> str:
    """What C expects of the register that a narrow argument is in."""
    if not function.external or llvm(kind) not in ("i1", "i8", "i16"):
        return ""
    return " signext" if getattr(kind, "signed", False) else " zeroext"


def tuple_gathered(body: Body, node: ast.AST, *operands: Operand) -> Operand:
    """`gather(...)` as a value."""
    results = gathered(body, node, *operands)
    return aggregate(body, [run_time(body, part, node) for part in results])
