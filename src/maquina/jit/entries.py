"""How CPython enters native code: small C functions, generated beside each exported one.

A function whose parameters and result fit in 64 bits, and which no trap leaves, gets a direct
entry that takes and gives integers. Any other one gets an entry that reads its arguments from a
frame in memory and writes its results there.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

from maquina.bits import align_up
from maquina.jit.compiler import flow
from maquina.jit.compiler.calls import signature
from maquina.jit.compiler.operands import is_float, is_word, llvm
from maquina.jit.layout import plain, size_of, typed
from maquina.jit.names import PREFIX
from maquina.jit.native import Native
from maquina.jit.traps import Trap
from maquina.jit.words import u64


def is_direct(function: Native[..., Any]) -> bool:
    """Whether integers of 64 bits carry all that goes in and out."""
    kinds = [*function.parameters.values()]
    kinds += [] if function.result is None else [function.result]
    narrow = not any(isinstance(kind, tuple) or width(kind) > 8 for kind in kinds)
    return narrow and not flow.raises(function)


def width(kind: Any) -> int:
    """Bytes that a machine type takes in a frame."""
    return 1 if kind is bool else 8 if llvm(kind) == "ptr" else size_of(kind)


def results(function: Native[..., Any]) -> tuple[Any, ...]:
    result = function.result
    return result if isinstance(result, tuple) else () if result is None else (result,)


def entry(function: Native[..., Any], symbol: str) -> str:
    """LLVM text of a function's entry."""
    return direct_entry(function, symbol) if is_direct(function) else frame_entry(function, symbol)


def direct_entry(function: Native[..., Any], symbol: str) -> str:
    lines: list[str] = []
    passed: list[str] = []
    for i, kind in enumerate(function.parameters.values()):
        lines += narrowed(kind, i)
        passed.append(f"{llvm(kind)} %a{i}")
    convention, result = signature(function)
    call = f'call {convention}{result} @"{symbol}"({", ".join(passed)}) noinline'
    if result == "void":
        lines += [f"  {call}", "  ret void"]
    else:
        lines += [f"  %r = {call}", *widened(function.result)]
    head = ", ".join(f"i64 %p{i}" for i in range(len(passed)))
    kind = "void" if result == "void" else "i64"
    return "\n".join([f'define {kind} @"{PREFIX}{symbol}"({head}) nounwind {{', *lines, "}", ""])


def narrowed(kind: Any, i: int) -> list[str]:
    """From the integer parameter i to a value of its machine type."""
    name = llvm(kind)
    if name == "ptr":
        return [f"  %a{i} = inttoptr i64 %p{i} to ptr"]
    if is_float(kind):
        bits = f"i{kind.bits}"
        return [
            f"  %n{i} = {cut('i64', bits, f'%p{i}')}",
            f"  %a{i} = bitcast {bits} %n{i} to {name}",
        ]
    return [f"  %a{i} = {cut('i64', name, f'%p{i}')}"]


def cut(wide: str, narrow: str, text: str) -> str:
    same = wide == narrow
    return f"add {wide} {text}, 0" if same else f"trunc {wide} {text} to {narrow}"


def widened(kind: Any) -> list[str]:
    """From the result %r of a machine type to 64 bits."""
    name = llvm(kind)
    if name == "ptr":
        return ["  %w = ptrtoint ptr %r to i64", "  ret i64 %w"]
    lines = []
    text, bits = "%r", name
    if is_float(kind):
        bits, text = f"i{kind.bits}", "%b"
        lines.append(f"  %b = bitcast {name} %r to {bits}")
    if bits == "i64":
        return [*lines, f"  ret i64 {text}"]
    how = "sext" if is_word(kind) and kind.signed else "zext"
    return [*lines, f"  %w = {how} {bits} {text} to i64", "  ret i64 %w"]


def offsets(function: Native[..., Any]) -> tuple[list[int], list[int], int]:
    """Where in its frame a function's arguments, and its results, lie; and the frame's size."""
    kinds = [*function.parameters.values(), *results(function)]
    kinds += [u64, u64] if flow.raises(function) else []
    places, at = [], 0
    for kind in kinds:
        places.append(at)
        at += align_up(width(kind), 8)
    count = len(function.parameters)
    return places[:count], places[count:], max(at, 8)


def frame_entry(function: Native[..., Any], symbol: str) -> str:
    inputs, outputs, _ = offsets(function)
    lines: list[str] = []
    passed: list[str] = []
    for i, (kind, at) in enumerate(zip(function.parameters.values(), inputs, strict=True)):
        lines += [
            f"  %p{i} = getelementptr i8, ptr %frame, i64 {at}",
            f"  %a{i} = load {llvm(kind)}, ptr %p{i}, align 8",
        ]
        passed.append(f"{llvm(kind)} %a{i}")
    convention, result = signature(function)
    call = f'call {convention}{result} @"{symbol}"({", ".join(passed)}) noinline'
    lines.append(f"  {call}" if result == "void" else f"  %r = {call}")
    for i, (kind, path, at) in enumerate(stored(function, outputs)):
        value = f"%v{i}" if path else "%r"
        if path:
            lines.append(f"  {value} = extractvalue {result} %r, {path}")
        lines += [
            f"  %q{i} = getelementptr i8, ptr %frame, i64 {at}",
            f"  store {llvm(kind)} {value}, ptr %q{i}, align 8",
        ]
    head = f'define void @"{PREFIX}{symbol}"(ptr %frame) nounwind {{'
    return "\n".join([head, *lines, "  ret void", "}", ""])


def stored(function: Native[..., Any], outputs: list[int]) -> list[tuple[Any, str, int]]:
    """Type, path in the LLVM result, and frame offset of each result, then of a trap."""
    kinds, raising = results(function), flow.raises(function)
    if isinstance(function.result, tuple):
        paths = [f"0, {i}" if raising else str(i) for i in range(len(kinds))]
    else:
        paths = ["0" if raising else ""] * len(kinds)
    if raising:
        first = 0 if function.result is None else 1
        paths += [str(first), str(first + 1)]
        kinds = (*kinds, u64, u64)
    return list(zip(kinds, paths, outputs, strict=True))


def integer_call(function: Native[..., Any], address: int) -> Callable[..., Any]:
    """A ctypes function on integers, for a function that has a direct entry."""
    kind = function.result
    signed = is_word(kind) and kind.signed
    answer = None if kind is None else ctypes.c_int64 if signed else ctypes.c_uint64
    return ctypes.CFUNCTYPE(answer, *[ctypes.c_uint64] * len(function.parameters))(address)


def word_call(function: Native[..., Any], address: int) -> Callable[..., Any]:
    """A Python function on words, pointers and structs; a Trap is raised as in the reference."""
    kinds = list(function.parameters.values())
    perform = direct_call if is_direct(function) else frame_call
    invoke = perform(function, address)

    def run(*arguments: Any) -> Any:
        for argument, kind in zip(arguments, kinds, strict=True):
            if type(argument) is not kind:
                raise TypeError(f"{function.name}: {argument!r} where {kind.__name__} is needed")
        return invoke(arguments)

    return run


def direct_call(function: Native[..., Any], address: int) -> Callable[[Sequence[Any]], Any]:
    call, kind = integer_call(function, address), function.result

    def invoke(arguments: Sequence[Any]) -> Any:
        answer = call(*map(plain, arguments))
        return None if kind is None else typed(kind, answer)

    return invoke


def frame_call(function: Native[..., Any], address: int) -> Callable[[Sequence[Any]], Any]:
    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)
    inputs, outputs, size = offsets(function)
    widths = [width(kind) for kind in function.parameters.values()]
    kinds, raising, is_tuple = (
        results(function),
        flow.raises(function),
        type(function.result) is tuple,
    )

    def invoke(arguments: Sequence[Any]) -> Any:
        frame = bytearray(size)
        for argument, at, length in zip(arguments, inputs, widths, strict=True):
            frame[at : at + length] = plain(argument).to_bytes(length, "little")
        memory = (ctypes.c_uint8 * size).from_buffer(frame)
        call(ctypes.addressof(memory))
        if raising:
            code, value = (int.from_bytes(frame[at : at + 8], "little") for at in outputs[-2:])
            if code:
                raise Trap(u64(code - 1), u64(value))
        answers = [
            typed(kind, int.from_bytes(frame[at : at + width(kind)], "little"))
            for kind, at in zip(kinds, outputs[: len(kinds)], strict=True)
        ]
        return tuple(answers) if is_tuple else answers[0] if answers else None

    return invoke
