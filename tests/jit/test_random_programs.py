"""Random functions of the subset: CPython and machine code agree on value, type and trap.

A failure names the seed, which makes the same program again, and prints the function.
"""

import importlib.util
import random
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from maquina import jit
from maquina.jit import Library, Trap

UNSIGNED = ["u8", "u16", "u32", "u64", "u128", "u256"]
SIGNED = ["s8", "s16", "s32", "s64", "s128", "s256"]
KINDS = UNSIGNED + SIGNED
FUNCTIONS = 30
INPUTS = 60
HEADER = "from maquina.jit import *\n\n"
Names = dict[str, str]


def width(kind: str) -> int:
    return int(kind[1:])


class Program:
    """Source text of random functions that always end and mostly avoid undefined operations."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.serial = 0

    def fresh(self, hint: str) -> str:
        self.serial += 1
        return f"{hint}{self.serial}"

    def literal(self, kind: str) -> str:
        word = getattr(jit, kind)
        choices = [0, 1, 2, 7, word.maximum, word.maximum - 1]
        return str(self.random.choice(choices + ([-1, word.minimum] if word.signed else [])))

    def leaf(self, kind: str, names: Names) -> str:
        own = [name for name, other in names.items() if other == kind]
        if own and self.random.random() < 0.8:
            return self.random.choice(own)
        if not names or self.random.random() < 0.5:
            return f"{kind}({self.literal(kind)})"
        return f"{kind}({self.random.choice(list(names))})"

    def expression(self, kind: str, names: Names, depth: int) -> str:
        if depth == 0 or self.random.random() < 0.12:
            return self.leaf(kind, names)
        makers = [
            self.arithmetic,
            self.arithmetic,
            self.arithmetic,
            self.shift,
            self.unary,
            self.conditional,
            self.conversion,
            self.of_test,
            self.division,
            self.counting,
        ]
        return self.random.choice(makers)(kind, names, depth - 1)

    def arithmetic(self, kind: str, names: Names, depth: int) -> str:
        parts = [self.expression(kind, names, depth) for _ in range(2)]
        if self.random.random() < 0.2:
            parts[self.random.randrange(2)] = self.literal(kind)
        return f"({parts[0]} {self.random.choice('+-*&|^')} {parts[1]})"

    def shift(self, kind: str, names: Names, depth: int) -> str:
        left, right = (self.expression(kind, names, depth) for _ in range(2))
        return f"({left} {self.random.choice(['<<', '>>'])} ({right} & {width(kind) - 1}))"

    def unary(self, kind: str, names: Names, depth: int) -> str:
        return f"({self.random.choice('-~')}{self.expression(kind, names, depth)})"

    def conditional(self, kind: str, names: Names, depth: int) -> str:
        left, right = (self.expression(kind, names, depth) for _ in range(2))
        return f"({left} if {self.test(names, depth)} else {right})"

    def conversion(self, kind: str, names: Names, depth: int) -> str:
        return f"{kind}({self.expression(self.random.choice(KINDS), names, depth)})"

    def of_test(self, kind: str, names: Names, depth: int) -> str:
        return f"{kind}({self.test(names, depth)})"

    def division(self, kind: str, names: Names, depth: int) -> str:
        left, right = (self.expression(kind, names, depth) for _ in range(2))
        if kind in UNSIGNED:
            return f"({left} {self.random.choice(['//', '%'])} ({right} | 1))"
        positive = getattr(jit, kind).maximum
        name = self.random.choice(["quotient", "remainder"])
        return f"{name}({left}, ({right} & {positive} | 1))"

    def counting(self, kind: str, names: Names, depth: int) -> str:
        inside = self.expression(kind, names, depth)
        if self.random.random() < 0.3:
            amount = self.expression(self.random.choice(UNSIGNED), names, depth)
            return f"{self.random.choice(['rotate_left', 'rotate_right'])}({inside}, {amount})"
        functions = ["leading_zeros", "trailing_zeros", "population"]
        functions += ["byte_swap"] if width(kind) > 8 else []
        return f"{self.random.choice(functions)}({inside})"

    def test(self, names: Names, depth: int) -> str:
        kind, choice = self.random.choice(KINDS), self.random.randrange(6)
        if depth > 0 and choice == 0:
            parts = [self.test(names, depth - 1) for _ in range(2)]
            return f"({parts[0]} {self.random.choice(['and', 'or'])} {parts[1]})"
        if depth > 0 and choice == 1:
            return f"(not {self.test(names, depth - 1)})"
        deeper = max(0, depth - 1)
        middle, ends = self.expression(kind, names, deeper), [self.leaf(kind, names)] * 2
        if choice == 2:
            return f"({ends[0]} < {middle} {self.random.choice(['<', '<=', '!='])} {ends[1]})"
        right = self.literal(kind) if self.random.random() < 0.3 else ends[0]
        return f"({middle} {self.random.choice(['==', '!=', '<', '<=', '>', '>='])} {right})"

    def block(self, names: Names, depth: int) -> list[str]:
        lines: list[str] = []
        for _ in range(self.random.randrange(1, 4)):
            simple = depth == 0 or self.random.random() < 0.4
            makers = [self.branch, self.branch, self.loop, self.repeat, self.guard, self.choice]
            lines += (self.assign if simple else self.random.choice(makers))(names, depth - 1)
        return lines

    def nested(self, names: Names, depth: int) -> list[str]:
        return [f"    {line}" for line in self.block(dict(names), depth)]

    def assign(self, names: Names, _: int) -> list[str]:
        if self.random.random() < 0.15:
            value = self.expression("u64", names, 1)
            trap = f"raise Trap(u64({self.random.randrange(9)}), {value})"
            return [f"if {self.test(names, 1)}:", f"    {trap}"]
        name = self.random.choice(list(names))
        if self.random.random() < 0.4:
            name, kind = self.fresh("v"), self.random.choice(KINDS)
            value = self.expression(kind, names, 3)
            names[name] = kind
            return [f"{name} = {value}"]
        kind = names[name]
        operator = self.random.choice(["", "", "+", "-", "*", "&", "^"])
        return [f"{name} {operator}= {self.expression(kind, names, 3)}"]

    def branch(self, names: Names, depth: int) -> list[str]:
        yes, no = self.nested(names, depth), self.nested(names, depth)
        return [f"if {self.test(names, 2)}:", *yes, "else:", *no]

    def loop(self, names: Names, depth: int) -> list[str]:
        counter = self.fresh("i")
        inside = self.nested({**names, counter: "u8"}, depth)
        out = [
            f"    if {self.test(names, 1)}:",
            f"        {self.random.choice(['break', 'continue'])}",
        ]
        return [f"for {counter} in span(u8({self.random.randrange(1, 5)})):", *inside, *out]

    def repeat(self, names: Names, depth: int) -> list[str]:
        item = self.fresh("n")
        inside = self.nested({**names}, depth)
        name = self.random.choice(list(names))
        out = [f"    {name} += {item}", f"    if {self.test(names, 1)}:", "        continue"]
        return [f"for {item} in unrolled((3, 5)):", *out, *inside]

    def guard(self, names: Names, depth: int) -> list[str]:
        target = self.random.choice([name for name, kind in names.items() if kind == "u64"])
        inside = self.nested(names, depth)
        return ["try:", *inside, "except Trap as trap:", f"    {target} = trap.value + trap.cause"]

    def choice(self, names: Names, depth: int) -> list[str]:
        name = self.random.choice([name for name, kind in names.items() if kind == "u64"])
        arms = [self.nested(names, depth) for _ in range(3)]
        arms = [[f"    {line}" for line in arm] for arm in arms]
        cases = ["    case 0 | 7:", *arms[0], "    case 1:", *arms[1], "    case _:", *arms[2]]
        return [f"match {name} & 7:", *cases]

    def call(self, index: int, names: Names) -> list[str]:
        """Call an earlier function, if there is one, with its own parameter types."""
        if index == 0 or self.random.random() < 0.5:
            return []
        kinds = self.signatures[self.random.randrange(index)]
        name = self.fresh("w")
        arguments = ", ".join(self.expression(kind, names, 1) for kind in kinds[2:])
        names[name] = kinds[1]
        return [f"{name} = {kinds[0]}({arguments})"]

    def source(self) -> str:
        self.signatures: list[list[str]] = []
        text = [HEADER]
        for index in range(FUNCTIONS):
            kinds = ["u64", *(self.random.choice(KINDS) for _ in range(3))]
            names = dict(zip("abcd", kinds, strict=True))
            result = self.random.choice(KINDS)
            parameters = ", ".join(f"{name}: {kind}" for name, kind in names.items())
            given = dict(names)
            body = [*self.call(index, given), *self.block(given, 2)]
            body.append(f"return {self.expression(result, names, 2)}")
            decorator = self.random.choice(["@native", "@native(inline=True)"])
            text += [decorator, f"def f{index}({parameters}) -> {result}:"]
            text += [*(f"    {line}" for line in body), ""]
            self.signatures.append([f"f{index}", result, *kinds])
        return "\n".join(text)

    def arguments(self, function: jit.Native[..., Any]) -> list[Any]:
        found = []
        for kind in function.parameters.values():
            special = [0, 1, -1, kind.minimum, kind.maximum]
            number = self.random.getrandbits(self.random.choice([3, 8, kind.bits]))
            found.append(kind(self.random.choice([*special, number, number])))
        return found


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def outcome(function: Callable[..., Any], arguments: list[Any]) -> Any:
    try:
        return function(*arguments)
    except Trap as trap:
        return "trap", int(trap.cause), int(trap.value)


@pytest.mark.parametrize("seed", range(12))
def test_both_modes_agree(seed: int, tmp_path: Path) -> None:
    """Invariant: where the reference has an outcome, machine code has the same one."""
    program = Program(seed)
    path = tmp_path / f"random_{seed}.py"
    path.write_text(program.source())
    module = loaded(path)
    functions = [getattr(module, f"f{index}") for index in range(FUNCTIONS)]
    library = Library(functions)
    compared = 0
    for function in functions:
        compiled: Callable[..., Any] = library(function)
        for _ in range(INPUTS):
            arguments = program.arguments(function)
            try:
                expected = outcome(function, arguments)
            except (OverflowError, ZeroDivisionError):
                continue  # undefined natively
            found = outcome(compiled, arguments)
            assert (type(found), found) == (type(expected), expected), (
                f"seed {seed}: {function.name}{tuple(arguments)}"
            )
            compared += 1
    assert compared > FUNCTIONS * INPUTS // 2, f"seed {seed}: too few comparisons"
