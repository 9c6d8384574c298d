"""Every function with an LLVM form of its own, file by file.

A lowering takes the body being compiled, the syntax node of the call (for messages) and the
operands, emits instructions with `body.new` or `body.put`, and gives back the result.
"""

from __future__ import annotations

from maquina.jit.compiler.body import Lowering
from maquina.jit.compiler.lowering_atomics import ATOMICS
from maquina.jit.compiler.lowering_floats import FLOATS
from maquina.jit.compiler.lowering_forms import FORMS
from maquina.jit.compiler.lowering_integers import INTEGERS

INTRINSICS: dict[object, Lowering] = {**ATOMICS, **FLOATS, **FORMS, **INTEGERS}
