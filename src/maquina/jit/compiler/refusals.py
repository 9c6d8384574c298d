"""What to write instead of what the subset does not have."""

from __future__ import annotations

import ast

INSTEAD: dict[type[ast.AST], str] = {
    ast.Div: "use // on unsigned words, or quotient(a, b)",
    ast.Pow: "use a loop, or a constant computed outside the function",
    ast.MatMult: "use a call",
    ast.ListComp: "use a loop over a local_array",
    ast.GeneratorExp: "use a loop",
    ast.SetComp: "use a loop",
    ast.DictComp: "use match, or a Table",
    ast.List: "use local_array(kind, count)",
    ast.Set: "use comparisons joined by `or`",
    ast.Dict: "use match, or a Table",
    ast.Lambda: "use a @native function",
    ast.With: "use explicit calls",
    ast.Yield: "use a loop",
    ast.YieldFrom: "use a loop",
    ast.Await: "native code does not wait; use a loop",
    ast.JoinedStr: "use raise Trap(cause, value)",
    ast.Global: "keep what lasts in a Struct",
    ast.Nonlocal: "keep what lasts in a Struct",
    ast.FunctionDef: "put the @native function outside this one",
    ast.ClassDef: "put the Struct outside the function",
    ast.Import: "import at the top of the file",
    ast.ImportFrom: "import at the top of the file",
    ast.Delete: "leave the name alone",
    ast.NamedExpr: "use an assignment of its own",
    ast.Is: "use ==",
    ast.IsNot: "use !=",
    ast.In: "use comparisons joined by `or`",
    ast.NotIn: "use comparisons joined by `and`",
    ast.Slice: "use a pointer and a length",
    ast.Starred: "use it in tuples and in the arguments of calls",
}


def instead_of(kind: type[ast.AST]) -> str:
    """The remedy for a kind of syntax node."""
    if issubclass(kind, ast.stmt):
        return INSTEAD.get(kind, "use assignments, if, while, for, match, try, raise and return")
    return INSTEAD.get(kind, "use plain arithmetic, comparisons and calls")
