"""Sizes and times as people write them: 512M, 1G, 1.5G; 90, 0.5."""

from __future__ import annotations

import re

import click

MAX_SECONDS = 100 * 365 * 86_400.0  # what a host's clocks can wait for has an end
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


class Seconds(click.FloatRange):
    """A click parameter in seconds: more than none, and an end in sight."""

    def __init__(self) -> None:
        super().__init__(min=0, min_open=True, max=MAX_SECONDS)

    def convert(
        self, value: str | float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if str(value).strip().lower() in ("nan", "-nan"):  # which is in any range
            self.fail(f"{value!r} is no time; write seconds", param, ctx)
        return float(super().convert(value, param, ctx))  # type: ignore[arg-type]  # text too
