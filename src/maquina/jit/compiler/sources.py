"""The syntax trees of the files that native functions are written in."""

from __future__ import annotations

import ast
import linecache
from functools import cache


@cache
def definitions(file: str, _stamp: int | None) -> dict[tuple[int, str], ast.FunctionDef]:
    """The functions of a file by first line (a decorator's counts) and name.

    The stamp tells versions of the file apart.
    """
    linecache.checkcache(file)
    tree = ast.parse("".join(linecache.getlines(file)), file)
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return {(min([n.lineno, *(d.lineno for d in n.decorator_list)]), n.name): n for n in found}
