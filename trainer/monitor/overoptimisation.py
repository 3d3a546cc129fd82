"""Gold reward over the distance from the reference, d = sqrt(KL), as laws of overoptimisation. Torch-free.

    reinforcement learning    R(d) = d (a - b ln d)     peak at d = exp(a / b - 1)
    best of n                 R(d) = d (a - b d)        peak at d = a / (2 b)

R is the gold reward above that of the reference. Source: Gao et al. 2022, arXiv:2210.10760, section 3.
"""

import math
from collections.abc import Sequence
from typing import Literal

from solon.records import Record

Law = Literal["rl", "best_of_n"]


class Fit(Record):
    """A law fitted by least squares."""

    law: Law
    a: float
    b: float
    peak: float | None
    """The distance at which gold is highest, sqrt(nats); None where the law has no peak (b <= 0) or it lies at 0."""
    r_squared: float | None
    """Share of the variance of gold that the law explains; None where gold does not vary."""
    points: int

    def at(self, distance: float) -> float:
        """The law's gold above the reference."""
        return self.a * distance - self.b * _second(self.law, distance)


def fitted(points: Sequence[tuple[float, float]], law: Law = "rl") -> Fit | None:
    """The law through (distance, gold above the reference); None where fewer than three points are away from 0."""
    away = [(d, gold) for d, gold in points if d > 0]
    if len(away) < 3:
        return None
    x, z, y = [d for d, _ in away], [-_second(law, d) for d, _ in away], [gold for _, gold in away]
    xx, xz, zz = _dot(x, x), _dot(x, z), _dot(z, z)
    determinant = xx * zz - xz * xz
    if determinant <= 1e-12 * xx * zz:
        return None
    a = (zz * _dot(x, y) - xz * _dot(z, y)) / determinant
    b = (xx * _dot(z, y) - xz * _dot(x, y)) / determinant
    return Fit(law=law, a=a, b=b, peak=_peak(law, a, b), r_squared=_r_squared(away, law, a, b), points=len(away))


def _second(law: Law, d: float) -> float:
    """What b is multiplied with."""
    if d <= 0:
        return 0.0
    return d * math.log(d) if law == "rl" else d * d


def _peak(law: Law, a: float, b: float) -> float | None:
    if b <= 0:
        return None
    if law == "rl":
        return math.exp(min(a / b - 1, 100.0))
    return a / (2 * b) if a > 0 else None


def _r_squared(points: Sequence[tuple[float, float]], law: Law, a: float, b: float) -> float | None:
    mean = sum(gold for _, gold in points) / len(points)
    spread = sum((gold - mean) ** 2 for _, gold in points)
    left = sum((gold - a * d + b * _second(law, d)) ** 2 for d, gold in points)
    return 1 - left / spread if spread > 0 else None


def _dot(x: Sequence[float], y: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(x, y, strict=True))
