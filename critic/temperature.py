"""Calibration of a judge: the temperature that makes its probabilities mean what they say, fitted on people's verdicts.

    p_cal = s(logit(p) / T)         T > 1: the judge was too sure; T < 1: not sure enough

T is fitted by the negative log-likelihood of people's decided verdicts. Only T is applied: 0.5 stays 0.5, and
exchanging the completions still mirrors a verdict. A second fit adds a shift c; after averaging both orders it should be 0, and
what it is tells whether the position still matters.

Source: Guo et al. 2017, arXiv:1706.04599 (temperature scaling).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from critic.averaging import logit, sigmoid
from solon.errors import InvalidInput

Judged = tuple[float, bool]
"""(P(a is better), whether people say that a is better)."""

LEAST_PAIRS: Final = 30
"""With fewer, T says more about the sample than about the judge."""
_RANGE: Final = (1 / 20, 20.0)
"""Bounds of T: a judge that is always right would have T = 0."""
_STEPS: Final = 60


@dataclass(frozen=True)
class Calibration:
    """What a fit found; losses are mean negative log-likelihoods in nats."""

    n: int
    temperature: float
    loss_before: float
    loss_after: float
    shift: float
    """c of s(logit(p) / T + c), fitted together with a T of its own; log-odds, 0 where the position does not matter."""


def fit_temperature(judged: Sequence[Judged]) -> Calibration:
    """The calibration on decided pairs; raises InvalidInput with fewer than 30."""
    if len(judged) < LEAST_PAIRS:
        raise InvalidInput(
            f"{len(judged)} pairs that people and judge looked at are too few to calibrate on",
            remedy=f"give at least {LEAST_PAIRS} rows with `label` or `votes`, or `chosen` and `rejected`",
        )
    odds = [(logit(p), 1.0 if first else 0.0) for p, first in judged]
    low, high = (math.log(bound) for bound in _RANGE)
    temperature = math.exp(_least(lambda t: _loss(odds, math.exp(-t), 0.0), low, high))
    return Calibration(
        n=len(odds),
        temperature=temperature,
        loss_before=_loss(odds, 1.0, 0.0),
        loss_after=_loss(odds, 1 / temperature, 0.0),
        shift=_shift(odds),
    )


def _loss(odds: Sequence[tuple[float, float]], scale: float, shift: float) -> float:
    return sum(_log1pexp(z) - y * z for z, y in ((scale * x + shift, y) for x, y in odds)) / len(odds)


def _shift(odds: Sequence[tuple[float, float]]) -> float:
    """c by Newton's method on (1/T, c), a convex problem; a ridge keeps it finite on separable pairs."""
    scale, shift, ridge = 1.0, 0.0, 1e-3
    for _ in range(_STEPS):
        g0, g1 = ridge * scale, ridge * shift
        h00 = h11 = ridge
        h01 = 0.0
        for x, y in odds:
            p = sigmoid(scale * x + shift)
            w = p * (1 - p) / len(odds)
            g0, g1 = g0 + (p - y) * x / len(odds), g1 + (p - y) / len(odds)
            h00, h01, h11 = h00 + w * x * x, h01 + w * x, h11 + w
        determinant = h00 * h11 - h01 * h01
        step0, step1 = (h11 * g0 - h01 * g1) / determinant, (h00 * g1 - h01 * g0) / determinant
        damping = min(1.0, 2.0 / max(abs(step0), abs(step1), 1e-12))
        scale, shift = scale - damping * step0, shift - damping * step1
    return shift


def _least(loss: Callable[[float], float], low: float, high: float) -> float:
    """Where a unimodal function is least, by golden section."""
    ratio = (math.sqrt(5) - 1) / 2
    a, b = low, high
    c, d = b - ratio * (b - a), a + ratio * (b - a)
    at_c, at_d = loss(c), loss(d)
    for _ in range(_STEPS):
        if at_c < at_d:
            b, d, at_d = d, c, at_c
            c = b - ratio * (b - a)
            at_c = loss(c)
        else:
            a, c, at_c = c, d, at_d
            d = a + ratio * (b - a)
            at_d = loss(d)
    return (a + b) / 2


def _log1pexp(z: float) -> float:
    """ln(1 + exp(z)), without overflow."""
    return max(z, 0.0) + math.log1p(math.exp(-abs(z)))
