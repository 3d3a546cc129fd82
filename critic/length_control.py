"""What length has to do with a preference, and what is left of a preference when length is taken out."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from critic.agreement import bootstrap, draws
from solon.intervals import Interval

_RESAMPLES = 200
_RIDGE = (1e-2, 1.0)
"""Of the intercept, so that a clean sweep has a finite one, and of the length term."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LengthControlled:
    """A win rate with and without what length explains of it."""

    win_rate: float
    controlled: Interval
    """The win rate between completions of equal length, according to the model."""
    length_effect: float
    """Log-odds gained by a completion that is much longer than the other; 0 is none."""


def length_controlled(
    wins: Sequence[float], longer_by: Sequence[float], groups: Sequence[Hashable] | None = None, *, seed: int = 0
) -> LengthControlled | None:
    """The win rate under logit P(win) = theta + gamma * tanh(longer_by / sd), read at longer_by = 0.

    The instruction-difficulty term of the source needs many models on the same prompts and is left out.

    Args:
        wins: in [0, 1]; a half is a tie.
        longer_by: length of the winner-to-be less that of the other, in words.

    Source: Dubois et al. 2024, Length-Controlled AlpacaEval, arXiv:2404.04475.
    """
    if not wins:
        return None
    outcomes, differences = np.asarray(wins, dtype=np.float64), np.asarray(longer_by, dtype=np.float64)
    spread = float(differences.std()) or 1.0
    design = np.column_stack([np.ones(len(outcomes)), np.tanh(differences / spread)])
    names = list(groups) if groups is not None else list(range(len(outcomes)))
    places = {name: place for place, name in enumerate(dict.fromkeys(names))}
    resampled = draws(len(places), _RESAMPLES, seed)[:, [places[name] for name in names]]
    fits = _fit(design, outcomes, np.vstack([np.ones(len(outcomes)), resampled]))
    theta, gamma = fits[0]
    low, high = np.percentile(_sigmoid(fits[1:, 0]), (2.5, 97.5))
    value = float(_sigmoid(theta))
    return LengthControlled(
        float(outcomes.mean()), Interval(value, float(low), float(high), len(outcomes)), float(gamma)
    )


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Spearman's, with mean ranks for ties; None where one of them does not vary."""
    if len(x) < 2 or len(set(x)) < 2 or len(set(y)) < 2:
        return None
    return float(np.corrcoef(_ranks(x), _ranks(y))[0, 1])


def longer_share(chosen: Sequence[bool], longer_by: Sequence[float], groups: Sequence[Hashable]) -> Interval | None:
    """How often the longer one was chosen, among those of different length.

    Args:
        chosen: whether the completion that `longer_by` is about was chosen.
    """
    kept = [i for i, by in enumerate(longer_by) if by != 0]
    return bootstrap([float(chosen[i] == (longer_by[i] > 0)) for i in kept], [groups[i] for i in kept])


def _fit(design: Array, outcomes: Array, weights: Array) -> Array:
    """Ridge logistic regressions by Newton's method, one per row of weights: theta and gamma in each row."""
    ridge = np.diag(_RIDGE)
    found = np.zeros((len(weights), 2))
    for _ in range(50):
        p = _sigmoid(found @ design.T)
        gradient = (weights * (outcomes - p)) @ design - found @ ridge
        curvature = np.einsum("rn,ni,nj->rij", weights * p * (1 - p), design, design) + ridge
        step = np.linalg.solve(curvature, gradient[:, :, None])[:, :, 0]
        found = found + np.clip(step, -2.0, 2.0)
        if float(np.abs(step).max()) < 1e-9:
            break
    return found


def _sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-np.clip(z, -60, 60)))


def _ranks(values: Sequence[float]) -> Array:
    _, inverse, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last - counts + 1 + last) / 2.0)[inverse]
