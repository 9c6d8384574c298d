"""`python -m maquina.jit module:function`: what a native function compiles to."""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import Any

from maquina.errors import MaquinaError, UsageError
from maquina.jit import link
from maquina.jit.compiler.module import Module
from maquina.jit.native import Native


def main(arguments: list[str]) -> int:
    """Print LLVM text or assembly; 1 if the function is not in the subset or not there."""
    parser = argparse.ArgumentParser(prog="python -m maquina.jit", description=__doc__)
    parser.add_argument("function", help="as module:function, or module:table[3] and the like")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--text", action="store_true", help="the LLVM text the compiler writes")
    form.add_argument("--optimised", action="store_true", help="the LLVM text after its passes")
    parser.add_argument("--lines", action="store_true", help="keep the line information")
    chosen = parser.parse_args(arguments)
    try:
        text = Module([found(chosen.function)], has_lines=chosen.lines).text()
    except MaquinaError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(shown(text, chosen))
    return 0


def found(name: str) -> Native[..., Any]:
    """The native function that `module:expression` names."""
    module_name, _, expression = name.partition(":")
    try:
        function = eval(expression, vars(importlib.import_module(module_name)))
    except (ImportError, SyntaxError, NameError, AttributeError, LookupError) as error:
        message = f"no function {name} ({error})"
        raise UsageError(
            message, "write module:function, e.g. maquina.jit.division:divide_128"
        ) from error
    if not isinstance(function, Native):
        raise UsageError(f"{name} is not a @native function", "name one")
    return function


def shown(text: str, chosen: argparse.Namespace) -> str:
    """The text at the stage that was asked for; assembly by default."""
    if chosen.text:
        return text
    module = link.optimised(text)
    return str(module) if chosen.optimised else str(link.target().emit_assembly(module))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
