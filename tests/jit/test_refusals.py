"""What the compiler says about source outside the subset: file, line, what is wrong, what to do.

The refused line is marked `# <-`; for the function as a whole that is its first line.
"""

import importlib.util
import textwrap
from pathlib import Path

import pytest

from maquina.errors import NativeError
from maquina.jit.compiler.module import Module

HEADER = """\
from maquina.jit import *

LIST = [1, 2, 3]

class Cpu(Struct):
    x: Array[u64] = array(4)
    pc: u64
    half: f32

@native(external=True)
def elsewhere(a: u64) -> u64: return a

@native(inline=True)
def jumps(a: u64) -> u64:
    return tail_call(plain, a)

@native
def plain(a: u64) -> u64: return a

@native
def other(a: u64, b: u64) -> u64: return a

@native
def bare(a: u64) -> None: return

@native(convention="preserve_none")
def chained(a: u64) -> u64: return a

@native
def trapping(a: u64) -> u64: raise Trap(a, a)

@native
"""

REFUSED = {
    "mixed types": (
        """
        def f(a: u64, b: s64) -> u64:
            return a + b  # <-
        """,
        "u64 with s64",
        "convert one side, e.g. u64(x)",
    ),
    "signed floor division": (
        """
        def f(a: s64, b: s64) -> s64:
            return a // b  # <-
        """,
        "// and % on s64",
        "write quotient(a, b) or remainder(a, b), which truncate",
    ),
    "true division": (
        """
        def f(a: u64) -> u64:
            return a / 2  # <-
        """,
        "Div is not in the native subset",
        "use // on unsigned words, or quotient(a, b)",
    ),
    "truth of a word": (
        """
        def f(a: u64) -> u64:
            if a:  # <-
                return a
            return a
        """,
        "u64 is no truth value",
        "write x != 0",
    ),
    "an int local": (
        """
        def f(a: u64) -> u64:
            x = 0  # <-
            return a + x
        """,
        "0 has no machine type",
        "write e.g. u64(0)",
    ),
    "an int result": (
        """
        def f(a: u64) -> u64:
            return 0  # <-
        """,
        "0 has no machine type",
        "write e.g. u64(0)",
    ),
    "an int argument": (
        """
        def f(a: u64) -> u64:
            return plain(5)  # <-
        """,
        "5 has no machine type",
        "write e.g. u64(5)",
    ),
    "a literal that does not fit": (
        """
        def f(a: u8) -> u8:
            return a + 256  # <-
        """,
        "256 does not fit in u8",
        "",
    ),
    "a comparison that never holds": (
        """
        def f(a: u64) -> bool:
            return a == -1  # <-
        """,
        "u64 compared with -1, never equal to it",
        "write u64(-1)",
    ),
    "an int shifted": (
        """
        def f(a: u64) -> u64:
            return 1 << a  # <-
        """,
        "1 has no machine type",
        "write e.g. u64(1)",
    ),
    "a shift too far": (
        """
        def f(a: u64) -> u64:
            return a << 64  # <-
        """,
        "u64 shifted by 64: undefined natively",
        "",
    ),
    "wrong result type": (
        """
        def f(a: u64) -> s64:
            return a  # <-
        """,
        "this is u64 where s64 is needed",
        "write s64(...)",
    ),
    "no result": (
        """
        def f(a: u64) -> u64:  # <-
            if a == 1:
                return a
        """,
        "f can end without a return",
        "",
    ),
    "a result too many": (
        """
        def f(a: u64) -> None:
            return a  # <-
        """,
        "f returns nothing, not u64",
        "",
    ),
    "a local of two types": (
        """
        def f(a: u64) -> u64:
            x = u8(1)
            x = a  # <-
            return a
        """,
        "x is already u8 and cannot also hold u64",
        "convert it, or use another name",
    ),
    "a local without a value": (
        """
        def f(a: u64) -> u64:
            if a == 1:
                x = a
            return x  # <-
        """,
        "x may have no value here",
        "assign it before, on every path",
    ),
    "a local of the last iteration": (
        """
        def f(a: u64) -> u64:
            for i in span(a):
                pass
            return i  # <-
        """,
        "i may have no value here",
        "assign it before, on every path",
    ),
    "a local that a raise skips": (
        """
        def f(a: u64) -> u64:
            try:
                trapping(a)
                x = a
            except Trap:
                pass
            return x  # <-
        """,
        "x may have no value here",
        "assign it before, on every path",
    ),
    "an unknown name": (
        """
        def f(a: u64) -> u64:
            return undefined + a  # <-
        """,
        "undefined is neither a local nor a name of the enclosing module",
        "",
    ),
    "no such field": (
        """
        def f(cpu: Cpu) -> u64:
            return cpu.pcc  # <-
        """,
        "Cpu has no field pcc",
        "it has x, pc, half",
    ),
    "a stray attribute": (
        """
        def f(cpu: Cpu) -> None:
            cpu.mode = u64(1)  # <-
        """,
        "Cpu has no field mode",
        "it has x, pc, half",
    ),
    "a store of another type": (
        """
        def f(cpu: Cpu) -> None:
            cpu.x[1] = u8(3)  # <-
        """,
        "this is u8 where u64 is needed",
        "write u64(...)",
    ),
    "an array replaced": (
        """
        def f(cpu: Cpu) -> None:
            cpu.x = cpu.x  # <-
        """,
        "a struct or array in place cannot be replaced",
        "store its parts",
    ),
    "a list at run time": (
        """
        def f(a: u64) -> u64:
            return a + LIST[a]  # <-
        """,
        "a list is indexed at run time",
        "make it a Table",
    ),
    "plain Python at run time": (
        """
        def f(a: u64) -> u64:
            return u64(max(a, a))  # <-
        """,
        "max is not a native function",
        "make it @native, or call it with compile-time constants only",
    ),
    "a method": (
        """
        def f(a: u64) -> u64:
            return a.bit_length()  # <-
        """,
        "u64 has no field bit_length",
        "",
    ),
    "a list": (
        """
        def f(a: u64) -> u64:
            return [a, a][0]  # <-
        """,
        "List is not in the native subset",
        "use local_array(kind, count)",
    ),
    "a lambda": (
        """
        def f(a: u64) -> u64:
            return (lambda: a)()  # <-
        """,
        "Lambda is not in the native subset",
        "use a @native function",
    ),
    "an f-string": (
        """
        def f(a: u64) -> u64:
            return f"{a}"  # <-
        """,
        "JoinedStr is not in the native subset",
        "use raise Trap(cause, value)",
    ),
    "identity": (
        """
        def f(a: u64) -> bool:
            return a is a  # <-
        """,
        "`Is` is not in the native subset",
        "use ==",
    ),
    "membership": (
        """
        def f(a: u64) -> bool:
            return a in (1, 2)  # <-
        """,
        "`In` is not in the native subset",
        "use comparisons joined by `or`",
    ),
    "range": (
        """
        def f(a: u64) -> u64:
            for i in range(10):  # <-
                a += 1
            return a
        """,
        "this loop is not in the native subset",
        "loop over span(first, stop) at run time, unrolled(constants) at compile time",
    ),
    "else of a loop": (
        """
        def f(a: u64) -> u64:
            while a != 0:  # <-
                a -= 1
            else:
                a += 1
            return a
        """,
        "`else` of a loop is not in the native subset",
        "use a flag",
    ),
    "finally": (
        """
        def f(a: u64) -> u64:
            try:  # <-
                a += 1
            finally:
                a += 2
            return a
        """,
        "write try: ... except Trap as trap: ..., without else or finally",
        "",
    ),
    "another exception": (
        """
        def f(a: u64) -> u64:
            raise ValueError("no")  # <-
        """,
        "the only exception of the native subset is raise Trap(cause, value)",
        "",
    ),
    "another handler": (
        """
        def f(a: u64) -> u64:
            try:
                return trapping(a)
            except ValueError:  # <-
                return a
        """,
        "Trap is the only exception of the native subset",
        "",
    ),
    "with": (
        """
        def f(a: u64) -> u64:
            with a:  # <-
                return a
        """,
        "With is not in the native subset",
        "use explicit calls",
    ),
    "a function inside": (
        """
        def f(a: u64) -> u64:
            def g() -> None: ...  # <-
            return a
        """,
        "FunctionDef is not in the native subset",
        "put the @native function outside this one",
    ),
    "keyword arguments": (
        """
        def f(a: u64) -> u64:
            return plain(a=a)  # <-
        """,
        "keyword arguments are not in the native subset",
        "use positions",
    ),
    "too few arguments": (
        """
        def f(a: u64) -> u64:
            return other(a)  # <-
        """,
        "other takes 2 arguments, not 1",
        "",
    ),
    "a jump to another signature": (
        """
        def f(a: u64) -> u64:
            return tail_call(other, a, a)  # <-
        """,
        "other and f have different parameter types",
        "tail_call needs the same ones: call it, or change them",
    ),
    "a jump to another convention": (
        """
        def f(a: u64) -> u64:
            return tail_call(chained, a)  # <-
        """,
        "chained and f have different conventions",
        "tail_call needs the same ones: call it, or change them",
    ),
    "a jump to another result": (
        """
        def f(a: u64) -> u64:
            return tail_call(bare, a)  # <-
        """,
        "bare and f have different results",
        "tail_call needs the same ones: call it, or change them",
    ),
    "a jump from the middle": (
        """
        def f(a: u64) -> u64:
            return jumps(a) + 1
        """,
        "jumps is inlined where it cannot end its caller",
        "use jumps only as `return tail_call(jumps, ...)`, or make it not inline",
    ),
    "a jump that is not returned": (
        """
        def f(a: u64) -> u64:
            x = tail_call(plain, a)  # <-
            return x
        """,
        "tail_call stands alone in a return",
        "write return tail_call(f, ...)",
    ),
    "recursion": (
        """
        def f(a: u64) -> u64:
            return f(a - 1)  # <-
        """,
        "f calls f",
        "recursion has no bound here; write a loop",
    ),
    "an external function called": (
        """
        def f(a: u64) -> u64:
            return elsewhere(a)
        """,
        "elsewhere is external: there is no code to link",
        "call it by address: call_address(signature, address, ...)",
    ),
    "arithmetic on floats": (
        """
        def f(a: f64, b: f64) -> f64:
            return a + b  # <-
        """,
        "f64 has no such operator",
        "use the functions of `floats`",
    ),
    "comparison of floats": (
        """
        def f(a: f64, b: f64) -> bool:
            return a < b  # <-
        """,
        "f64 compared",
        "use the comparisons of `floats`",
    ),
    "a float from a value": (
        """
        def f(a: u32) -> f64:
            return f64(a)  # <-
        """,
        "this is u32 where u64 is needed",
        "write u64(...)",
    ),
    "a word from a float": (
        """
        def f(a: f64) -> u64:
            return u64(a)  # <-
        """,
        "f64 cannot become a u64",
        "its bits are `.pattern`",
    ),
    "a word from a pointer": (
        """
        def f(a: Ptr[u8]) -> u64:
            return u64(a)  # <-
        """,
        "Ptr[u8] cannot become a u64",
        "its number is `.address`",
    ),
    "order of pointers": (
        """
        def f(a: Ptr[u8], b: Ptr[u8]) -> bool:
            return a < b  # <-
        """,
        "Ptr[u8] has no order",
        "",
    ),
    "a guard in match": (
        """
        def f(a: u64) -> u64:
            match a:
                case 1 if a == 2:  # <-
                    return a
                case _:
                    return a
        """,
        "`_` comes last, and a case has no guard",
        "",
    ),
    "a case that is no constant": (
        """
        def f(a: u64) -> u64:
            match a:
                case b:  # <-
                    return a
        """,
        "a case is a constant, constants joined by |, or _",
        "",
    ),
    "a huge local array": (
        """
        def f(a: u64) -> u64:
            return local_array(u64, 1 << 20)[a]  # <-
        """,
        "a local_array of 8388608 bytes",
        "at most 16384",
    ),
    "a division by zero at compile time": (
        """
        def f(a: u64) -> u64:
            return a + u64(7) // u64(0)  # <-
        """,
        "at compile time: ZeroDivisionError",
        "",
    ),
    "a parameter that is no machine type": (
        """
        def f(a: int) -> u64:
            return u64(1)
        """,
        "parameter a of f is <class 'int'>, which is no machine type",
        "annotate it with a word (u64, s32...), bool, f32, f64, Ptr[T] or a Struct",
    ),
    "a parameter with a default": (
        """
        def f(a: u64 = u64(1)) -> u64:
            return a
        """,
        "f has default, keyword or variable parameters",
        "give it plain parameters",
    ),
    "a name of an unrolled loop assigned": (
        """
        def f(a: u64) -> u64:
            for n in unrolled((1, 2)):
                n = a  # <-
            return a
        """,
        "n is the compile-time name of an unrolled loop",
        "",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str, tmp_path: Path) -> None:
    source, message, remedy = REFUSED[case]
    text = HEADER + textwrap.dedent(source).lstrip("\n")
    path = tmp_path / "refused.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location("refused", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises(NativeError) as caught:
        Module([module.f])
    place, _, said = caught.value.message.partition(": ")
    file, _, line = place.rpartition(":")
    assert (said[: len(message)], caught.value.remedy) == (message, remedy)
    assert file == str(path)
    marked = [n for n, one in enumerate(text.splitlines(), 1) if one.endswith("# <-")]
    assert not marked or int(line) in marked
