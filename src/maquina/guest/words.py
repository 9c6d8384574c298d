"""Arguments as words of a shell's line: any bytes, and the line stays one line.

A word that is not plain is written $'...', every byte of it that is not a letter or digit as an
octal escape, so nothing in it can end the quotes, the word or the line.
"""

from __future__ import annotations

import os
import re

from maquina.errors import UsageError

PLAIN = re.compile(rb"[A-Za-z0-9_./:,@%+-]+")
NOT_ALPHANUMERIC = re.compile(rb"[^A-Za-z0-9]")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def quote(word: str | bytes) -> bytes:
    """A word as a shell with $'...' reads it back. UsageError if it has a NUL."""
    data = os.fsencode(word)
    if b"\0" in data:
        raise UsageError(f"{word!r} has a NUL byte, which no argument can have", "leave it out")
    if PLAIN.fullmatch(data):
        return data
    return b"$'" + NOT_ALPHANUMERIC.sub(lambda match: b"\\%03o" % match[0][0], data) + b"'"


def line(*words: str | bytes | int) -> bytes:
    """A line that calls the first word with the others."""
    return b" ".join(quote(str(word) if isinstance(word, int) else word) for word in words) + b"\n"


def assignments(variables: dict[str, str]) -> list[str]:
    """Variables as words NAME=VALUE. UsageError if a name cannot be one."""
    for name in variables:
        if not VARIABLE.fullmatch(name):
            raise UsageError(f"{name!r} is no name of a variable", "use letters, digits and _")
    return [f"{name}={value}" for name, value in variables.items()]
