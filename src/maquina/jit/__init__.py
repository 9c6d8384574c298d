"""Native Python: typed functions that CPython runs as the definition and LLVM as the product.

    @native
    def div(a: s64, b: s64) -> s64:
        if b == 0:
            return s64(-1)
        return a if a == S64_MIN and b == -1 else quotient(a, b)

    div(s64(7), s64(-2))                        # CPython runs it
    Library([div])(div)(s64(7), s64(-2))        # machine code does

Reading order: `words` and `integers` (numbers), `layout` (views of memory), `traps`, `native`
(the decorator), `forms` (calls with a meaning of their own), `atomics`, `compiler` (to LLVM text),
`division` (what hosts lack), `entries`, `names`, `fingerprint`, `cache`, `link`, `library` (to
machine code, kept on disk), `program` (the same by name, without imports), `profile`. Floating
point: `floats` (operations), `fenv` (flags and
rounding), and what they need beyond a host's instructions: `softfloat`, `hostfloats`, `mxcsr`.
The guide for writers is docs/native.md. Nothing here knows a processor that is emulated;
importing this package does not import LLVM.
"""

from maquina.jit.atomics import (
    atomic_add,
    atomic_and,
    atomic_load,
    atomic_max,
    atomic_min,
    atomic_or,
    atomic_store,
    atomic_sub,
    atomic_swap,
    atomic_xor,
    compare_exchange,
    fence,
)
from maquina.jit.forms import (
    Table,
    address_of,
    call_address,
    gather,
    likely,
    span,
    tail_call,
    unlikely,
    unrolled,
)
from maquina.jit.integers import (
    byte_swap,
    divide_wide,
    leading_zeros,
    population,
    quotient,
    remainder,
    rotate_left,
    rotate_right,
    trailing_zeros,
)
from maquina.jit.layout import (
    Array,
    Ptr,
    Struct,
    array,
    field,
    local_array,
    pointer,
    size_of,
)
from maquina.jit.library import Library
from maquina.jit.native import Native, native
from maquina.jit.program import Program
from maquina.jit.traps import Trap
from maquina.jit.words import (
    Float,
    W,
    Word,
    f32,
    f64,
    s8,
    s16,
    s32,
    s64,
    s128,
    s256,
    u8,
    u16,
    u32,
    u64,
    u128,
    u256,
    u320,
    u512,
)

__all__ = [
    "Array",
    "Float",
    "Library",
    "Native",
    "Program",
    "Ptr",
    "Struct",
    "Table",
    "Trap",
    "W",
    "Word",
    "address_of",
    "array",
    "atomic_add",
    "atomic_and",
    "atomic_load",
    "atomic_max",
    "atomic_min",
    "atomic_or",
    "atomic_store",
    "atomic_sub",
    "atomic_swap",
    "atomic_xor",
    "byte_swap",
    "call_address",
    "compare_exchange",
    "divide_wide",
    "f32",
    "f64",
    "fence",
    "field",
    "gather",
    "leading_zeros",
    "likely",
    "local_array",
    "native",
    "pointer",
    "population",
    "quotient",
    "remainder",
    "rotate_left",
    "rotate_right",
    "s8",
    "s16",
    "s32",
    "s64",
    "s128",
    "s256",
    "size_of",
    "span",
    "tail_call",
    "trailing_zeros",
    "u8",
    "u16",
    "u32",
    "u64",
    "u128",
    "u256",
    "u320",
    "u512",
    "unlikely",
    "unrolled",
]
