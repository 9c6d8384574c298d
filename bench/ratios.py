"""Alternating measurements of two contenders, and what comes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median


class Missing(Exception):
    """A peer or a material that is not on this host; the message says which."""


@dataclass(frozen=True)
class Sample:
    """One run: what was measured, and the user CPU time it took in seconds, if that is known."""

    value: float
    cpu_s: float | None = None


@dataclass(frozen=True)
class Result:
    """Ours against a peer. Ratios are ours by theirs, medians over the pairs of a run.

    `promise` is what SPECIFICATION.md says, and `is_kept` whether it holds; both empty where the
    figure is for information.
    """

    name: str
    unit: str
    peer: str
    ours: float
    theirs: float
    ratio: float
    cpu_ratio: float | None
    pairs: int
    promise: str = ""
    is_kept: bool | None = None

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True)
class Promise:
    """A bound on our figure (`value`) or on the ratio (`ratio`)."""

    text: str
    is_kept: Callable[[float, float], bool]  # of our figure and the ratio

    @classmethod
    def ratio_below(cls, bound: float) -> Promise:
        return cls(f"at most {bound:g} x", lambda _, ratio: ratio <= bound)

    @classmethod
    def value_below(cls, bound: float, unit: str) -> Promise:
        return cls(f"under {bound:g} {unit}", lambda value, _: value < bound)

    @classmethod
    def value_above(cls, bound: float, unit: str) -> Promise:
        return cls(f"at least {bound:g} {unit}", lambda value, _: value >= bound)


def alternate(
    ours: Callable[[], Sample], theirs: Callable[[], Sample], pairs: int
) -> list[tuple[Sample, Sample]]:
    """Run both, one after the other, so many times; what drifts on the host meets both."""
    return [(ours(), theirs()) for _ in range(pairs)]


def compare(
    name: str,
    unit: str,
    peer: str,
    samples: list[tuple[Sample, Sample]],
    promise: Promise | None = None,
) -> Result:
    """The medians of pairs."""
    ours = median(a.value for a, _ in samples)
    theirs = median(b.value for _, b in samples)
    ratio = median(a.value / b.value for a, b in samples)
    return Result(
        name=name,
        unit=unit,
        peer=peer,
        ours=ours,
        theirs=theirs,
        ratio=ratio,
        cpu_ratio=_cpu_ratio(samples),
        pairs=len(samples),
        promise=promise.text if promise else "",
        is_kept=promise.is_kept(ours, ratio) if promise else None,
    )


def _cpu_ratio(samples: list[tuple[Sample, Sample]]) -> float | None:
    """None if it was not measured, or was too short to be."""
    ratios = [a.cpu_s / b.cpu_s for a, b in samples if a.cpu_s is not None and b.cpu_s]
    return median(ratios) if len(ratios) == len(samples) else None
