"""Calibration of a judge: the temperature that makes its probabilities mean what they say, fitted on people's verdicts.

    p_cal = s(logit(p) / T)         T > 1: the judge was too sure; T < 1: not sure enough

T is fitted by the negative log-likelihood of people's decided verdicts. Only T is applied: 0.5 stays 0.5, and
exchanging the completions still mirrors a verdict. A second fit adds a shift c; after averaging both orders it should
be 0, and what it is tells whether the position still matters.

Source: Guo et al. 2017, arXiv:1706.04599 (temperature scaling).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from critic.averaging import logit
from solon.errors import InvalidInput

Vector = npt.NDArray[np.float64]
Judged = tuple[float, bool]
"""(P(a is better), whether people say that a is better)."""

LEAST_PAIRS: Final = 30
"""With fewer, T says more about the sample than about the judge."""
_RANGE: Final = (1 / 20, 20.0)
"""Bounds of T: a judge that is always right would have T = 0."""
_STEPS: Final = 60
_RIDGE: Final = 1e-3


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
    odds = np.array([logit(p) for p, _ in judged])
    wins = np.array([1.0 if first else 0.0 for _, first in judged])
    low, high = (math.log(bound) for bound in _RANGE)
    temperature = math.exp(_least(lambda t: _loss(odds / math.exp(t), wins), low, high))
    return Calibration(
        n=len(judged),
        temperature=temperature,
        loss_before=_loss(odds, wins),
        loss_after=_loss(odds / temperature, wins),
        shift=_shift(odds, wins),
    )


def _loss(odds: Vector, wins: Vector) -> float:
    """Mean negative log-likelihood of the wins under these log-odds, in nats."""
    return float(np.mean(np.logaddexp(0.0, odds) - wins * odds))


def _shift(odds: Vector, wins: Vector) -> float:
    """c by Newton's method on (1/T, c), a convex problem; a ridge keeps it finite on separable pairs."""
    features = np.stack([odds, np.ones_like(odds)], axis=1)
    weights = np.array([1.0, 0.0])
    for _ in range(_STEPS):
        p = 0.5 * (1 + np.tanh(features @ weights / 2))
        gradient = features.T @ (p - wins) / len(wins) + _RIDGE * weights
        curvature = (features.T * (p * (1 - p))) @ features / len(wins) + _RIDGE * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        weights = weights - step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
    return float(weights[1])


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
