"""What the functions of `floats` and `fenv` become: one host instruction where there is one.

Operations are LLVM's constrained intrinsics with dynamic rounding and strict exceptions, so that
they are neither folded nor moved across a read or a change of the environment, nor dropped where
only their flags are used. A function that has one of them is marked `strictfp`.
"""

from __future__ import annotations

import ast
from functools import cache
from typing import Any

from maquina.jit import fenv, floats, hostfloats, mxcsr
from maquina.jit.compiler.body import Body, Lowering
from maquina.jit.compiler.calls import call
from maquina.jit.compiler.conversions import convert as converted
from maquina.jit.compiler.conversions import run_time, value
from maquina.jit.compiler.operands import (
    Const,
    Operand,
    Value,
    describe,
    is_float,
    literal,
    llvm,
    spelled,
)
from maquina.jit.words import f32, f64, s64, u32, u64

SIGNALING, NAN = 1, 3  # classes of llvm.is.fpclass
UNLIKELY = ", !prof !1"


def float_operands(body: Body, node: ast.AST, *operands: Operand) -> list[Value]:
    """Operands of one float type."""
    first = run_time(body, operands[0], node)
    if not is_float(first.kind):
        raise body.error(node, f"this is {describe(first)} where a float is needed")
    return [first, *(value(body, operand, first.kind, node) for operand in operands[1:])]


def constrained(
    body: Body, result: Any, name: str, operands: list[Value], extra: tuple[str, ...] = ()
) -> Value:
    """A call of a constrained intrinsic."""
    kinds = [llvm(operand.kind) for operand in operands]
    suffix = name_suffix(result, operands)
    metadata = [f'metadata !"{word}"' for word in (*extra, "fpexcept.strict")]
    types = [*kinds, *["metadata"] * len(metadata)]
    called = body.module.intrinsic(
        llvm(result), f"llvm.experimental.constrained.{name}{suffix}", *types
    )
    passed = [f"{llvm(operand.kind)} {operand.text}" for operand in operands]
    body.attributes.add("strictfp")
    line = f"call {llvm(result)} {called}({', '.join([*passed, *metadata])}) strictfp"
    return body.new(result, line)


def name_suffix(result: Any, operands: list[Value]) -> str:
    """What overloaded intrinsics carry in their names: the types that differ."""
    kinds = [operands[0].kind] if result is bool else [result]
    if operands[0].kind not in kinds:
        kinds.append(operands[0].kind)
    return "".join(f".f{kind.bits}" if is_float(kind) else f".i{kind.bits}" for kind in kinds)


def with_canonical_nan(body: Body, result: Value) -> Value:
    """The result, or the canonical NaN for any NaN.

    A branch costs a chain of operations nothing where a select would add its latency to each.
    """
    test = constrained(body, bool, "fcmp", [result, result], ("uno",))
    nan, end = body.label("nan"), body.label("number")
    arms = [(result.text, body.block)]
    body.fork(test.text, nan, end, UNLIKELY)
    body.start(nan)
    arms.append((literal(floats.canonical_nan(result.kind)), body.block))
    body.jump(end)
    body.start(end)
    return body.join(result.kind, arms)


def operation(name: str) -> Lowering:
    """Arithmetic on floats of one type."""

    def lower(body: Body, node: ast.AST, *operands: Operand) -> Operand:
        values = float_operands(body, node, *operands)
        result = constrained(body, values[0].kind, name, values, ("round.dynamic",))
        return with_canonical_nan(body, result)

    return lower


def comparison(name: str, predicate: str) -> Lowering:
    def lower(body: Body, node: ast.AST, *operands: Operand) -> Operand:
        return constrained(body, bool, name, float_operands(body, node, *operands), (predicate,))

    return lower


def classification(classes: int) -> Lowering:
    """A test of the bits, which raises nothing."""

    def lower(body: Body, node: ast.AST, operand: Operand) -> Operand:
        (a,) = float_operands(body, node, operand)
        body.attributes.add("strictfp")
        name = f"llvm.is.fpclass.f{a.kind.bits}"
        called = body.module.intrinsic("i1", name, llvm(a.kind), "i32")
        return body.new(bool, f"call i1 {called}({llvm(a.kind)} {a.text}, i32 {classes})")

    return lower


def negate(body: Body, node: ast.AST, operand: Operand) -> Operand:
    (a,) = float_operands(body, node, operand)
    return body.new(a.kind, f"fneg {llvm(a.kind)} {a.text}")


# ---- conversions ----
def type_argument(body: Body, node: ast.AST, operand: Operand, kinds: tuple[Any, ...]) -> Any:
    kind = operand.value if isinstance(operand, Const) else None
    if kind not in kinds:
        raise body.error(node, "the first argument is one of " + ", ".join(map(spelled, kinds)))
    return kind


def convert(body: Body, node: ast.AST, wanted: Operand, operand: Operand) -> Operand:
    kind = type_argument(body, node, wanted, hostfloats.KINDS)
    a = run_time(body, operand, node)
    if a.kind == kind:
        return a
    if a.kind is f64:
        return with_canonical_nan(
            body, constrained(body, kind, "fptrunc", [a], ("round.dynamic",))
        )
    if a.kind is f32:
        return with_canonical_nan(body, constrained(body, kind, "fpext", [a]))
    if a.kind not in hostfloats.INTEGERS:
        raise body.error(node, f"{describe(a)} does not become a {spelled(kind)}")
    if a.kind is u64:
        return call(body, hostfloats.FROM_U64[kind], [a], node)
    return constrained(body, kind, "sitofp", [converted(body, a, s64, node)], ("round.dynamic",))


def to_integer(functions: dict[Any, Any]) -> Lowering:
    def lower(body: Body, node: ast.AST, wanted: Operand, operand: Operand) -> Operand:
        kind = type_argument(body, node, wanted, hostfloats.INTEGERS)
        (a,) = float_operands(body, node, operand)
        return call(body, functions[kind, a.kind], [a], node)

    return lower


def host_truncate(body: Body, node: ast.AST, operand: Operand) -> Operand:
    return constrained(body, s64, "fptosi", float_operands(body, node, operand))


def host_round(body: Body, node: ast.AST, operand: Operand) -> Operand:
    (a,) = float_operands(body, node, operand)
    whole = constrained(body, a.kind, "rint", [a], ("round.dynamic",))
    return constrained(body, s64, "fptosi", [whole])


def fused(body: Body, node: ast.AST, *operands: Operand) -> Operand:
    values = float_operands(body, node, *operands)
    functions = hostfloats.FUSED_IN_INTEGERS
    if has_fused(body.module.machine):
        functions = hostfloats.FUSED_ON_HOST
    return call(body, functions[values[0].kind], list(values), node)


@cache
def has_fused(machine: str) -> bool:
    """Whether the host has the instruction. LLVM would call libm's fma, at libm's word."""
    import llvmlite.binding as llvm

    return machine != "x86_64" or bool(llvm.get_host_cpu_features().get("fma"))


# ---- environment ----
def expanded(function: Any) -> Lowering:
    """A call of a native function."""

    def lower(body: Body, node: ast.AST, *operands: Operand) -> Operand:
        return call(body, function, list(operands), node)

    return lower


def check_host(body: Body, node: ast.AST) -> None:
    if body.module.machine != "x86_64":
        what = f"the floating-point environment of {body.module.machine}"
        raise body.error(node, f"{what} is not known", "write what `mxcsr` is for this host")


def read_mxcsr(body: Body, node: ast.AST) -> Operand:
    check_host(body, node)
    place = body.slot(u32, "mxcsr")
    body.put(f'call void asm sideeffect "stmxcsr $0", "=*m,~{{memory}}"({pointer(place.text)})')
    return body.new(u32, f"load i32, ptr {place.text}")


def write_mxcsr(body: Body, node: ast.AST, operand: Operand) -> Operand:
    check_host(body, node)
    new = value(body, operand, u32, node)
    place = body.slot(u32, "mxcsr")
    body.put(f"store i32 {new.text}, ptr {place.text}")
    body.put(f'call void asm sideeffect "ldmxcsr $0", "*m,~{{memory}}"({pointer(place.text)})')
    return Const(None)


def pointer(text: str) -> str:
    return f"ptr elementtype(i32) {text}"


ENVIRONMENT = (
    "get_flags",
    "set_flags",
    "raise_flags",
    "get_rounding",
    "set_rounding",
    "enter_environment",
    "leave_environment",
)

FLOATS: dict[object, Lowering] = {
    floats.add: operation("fadd"),
    floats.subtract: operation("fsub"),
    floats.multiply: operation("fmul"),
    floats.divide: operation("fdiv"),
    floats.square_root: operation("sqrt"),
    floats.fused: fused,
    floats.negate: negate,
    floats.is_nan: classification(NAN),
    floats.is_signaling: classification(SIGNALING),
    floats.equal: comparison("fcmp", "oeq"),
    floats.less: comparison("fcmps", "olt"),
    floats.less_equal: comparison("fcmps", "ole"),
    floats.convert: convert,
    floats.round_to: to_integer(hostfloats.ROUND),
    floats.truncate_to: to_integer(hostfloats.TRUNCATE),
    hostfloats.host_round: host_round,
    hostfloats.host_truncate: host_truncate,
    hostfloats.host_fused: operation("fma"),
    mxcsr.read_mxcsr: read_mxcsr,
    mxcsr.write_mxcsr: write_mxcsr,
    **{getattr(fenv, name): expanded(getattr(mxcsr, name)) for name in ENVIRONMENT},
}
