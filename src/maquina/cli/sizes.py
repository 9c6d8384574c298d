"""Sizes as people write them: 512M, 1G, 1.5G."""

from __future__ import annotations

import re

import click

UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}
SYNTAX = re.compile(r"(\d+(?:\.\d+)?)([kmgt]?)(?:i?b)?", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Bytes; ValueError if it is no size. Units are binary."""
    match = SYNTAX.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no size")
    return int(float(match[1]) * (1 << UNITS[match[2].lower()]))


class Size(click.ParamType):  # type: ignore[type-arg]
    """A click parameter in bytes."""

    name = "size"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        if isinstance(value, int):
            return value
        try:
            return parse_size(value)
        except ValueError:
            self.fail(f"{value!r} is no size; write 512M or 2G", param, ctx)
