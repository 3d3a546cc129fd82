"""How much each of several opinions weighs in a choice: logistic regression, with its uncertainty.

    P(a is chosen) = s(w_1 x_1 + ... + w_d x_d),   w_k ~ N(0, prior_sd^2)

With log-odds as features this is the form in which `logit_sum` combines principles, so a fitted weight is in the unit
of a constitution's weights. There is no intercept: which completion is listed first says nothing.

Bounds come from the profile of the posterior, not from its curvature at the top: labels that some principles explain
without exception are common here, and for them curvature says the more nearly nothing, the stronger the evidence is
(Hauck and Donner 1977, Journal of the American Statistical Association 72:851).
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Choices = NDArray[np.bool_]

PRIOR_SD: Final = 2.0
"""A weight of 2 is a strong one in a constitution; keeps weights finite where an opinion explains every choice."""
_STEPS: Final = 50
_CLOSE: Final = 1e-9
_FINE: Final = 1e-3
"""Width to which a bound is found."""


@dataclass(frozen=True)
class Estimate:
    """A weight, and bounds that hold it with the confidence that was asked for."""

    value: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """1 or -1 where the bounds exclude 0, else 0."""
        return (self.low > 0) - (self.high < 0)


@dataclass(frozen=True)
class Fit:
    """The most probable weights."""

    weights: Matrix
    """Shape [feature]."""
    log_posterior: float
    """There, in nats, up to a constant."""


def fit(features: Matrix, chose_a: Choices, *, known: Matrix | None = None) -> Fit:
    """The weights under which the choices are most probable, by Newton's method with halved steps.

    Args:
        features: shape [choice, feature]; positive speaks for a.
        chose_a: shape [choice].
        known: shape [choice]; log-odds that are there already.
    """
    side = np.where(chose_a, 1.0, -1.0)
    signed, offset = side[:, None] * features, side * (known if known is not None else 0.0)
    precision = np.eye(features.shape[1]) / PRIOR_SD**2
    weights = np.zeros(features.shape[1])
    value = _loss(signed, offset, weights, precision)
    for _ in range(_STEPS):
        p_wrong = 1 / (1 + np.exp(np.clip(signed @ weights + offset, -500, 500)))
        gradient = precision @ weights - signed.T @ p_wrong
        curvature = (signed * (p_wrong * (1 - p_wrong))[:, None]).T @ signed + precision
        step, size = np.linalg.solve(curvature, gradient), 1.0
        while (tried := _loss(signed, offset, weights - size * step, precision)) > value and size > _CLOSE:
            size /= 2
        if value - tried < _CLOSE:
            break
        weights, value = weights - size * step, tried
    return Fit(weights, -value)


def estimate(features: Matrix, chose_a: Choices, feature: int, *, comparisons: int = 1) -> Estimate:
    """The weight of one feature beside the others, with profile bounds.

    Args:
        comparisons: the bounds hold at 95 %, or so that all of so many such bounds hold at 95 % (Bonferroni).
    """
    best = fit(features, chose_a)
    value = float(best.weights[feature])
    z = NormalDist().inv_cdf(1 - 0.025 / comparisons)
    others = np.delete(features, feature, axis=1)

    def inside(weight: float) -> bool:
        """Whether the best fit with this weight is not too much worse."""
        there = fit(others, chose_a, known=weight * features[:, feature])
        return best.log_posterior - (there.log_posterior - (weight / PRIOR_SD) ** 2 / 2) <= z * z / 2

    return Estimate(value, _bound(inside, value, -1.0), _bound(inside, value, 1.0))


def _bound(inside: Callable[[float], bool], value: float, direction: float) -> float:
    """The last weight in one direction that is inside, by doubling and halving."""
    reach = 0.1
    while inside(value + direction * reach):
        reach *= 2
    near, far = 0.0, reach
    while far - near > _FINE:
        middle = (near + far) / 2
        near, far = (middle, far) if inside(value + direction * middle) else (near, middle)
    return value + direction * near


def _loss(signed: Matrix, offset: Matrix, weights: Matrix, precision: Matrix) -> float:
    return float(np.logaddexp(0.0, -(signed @ weights + offset)).sum() + weights @ precision @ weights / 2)
